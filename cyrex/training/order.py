"""A training as it is asked for: one form for HTTP, Python, the stream and schedules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from cyrex.adapters.base_model import require_served
from cyrex.adapters.gate import Promote
from cyrex.errors import UserError
from cyrex.training.check import check_config
from database.base import Json
from settings import get_settings

MAX_SEED = 2**31 - 1


def quantised_by_default() -> bool:
    """Whether training quantises the base model to 4 bits where nobody says: if serving does.

    An adapter that is trained on other weights than it is served on answers worse.
    """
    return get_settings().engine_dtype == "nf4"


@dataclass(frozen=True)
class TrainingOrder:
    """A training without its data; `cyrex.training.service.request_training` makes it a run.

    An order can be carried out: base model, seed and settings are checked when it is made, and
    `config` is under our names from then on. Raises `UserError`, which names the field.
    """

    company_id: str
    config: Json = field(default_factory=dict)
    use_qlora: bool | None = None  # None: as the base model is served (`quantised_by_default`)
    seed: int | None = None  # None: drawn
    base_model: str | None = None  # None: the one that is served
    # Train on the new rows alone, without those that the company sent before.
    replace: bool = False
    promote: Promote = "evidence"
    # An adapter of the company, by id or version, whose weights the training starts from.
    continue_from: str | int | None = None
    source: str = "api"
    # For people, as a part of "requested by ...": an event, or which schedule.
    asked_by: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    # Given for an outside publisher's event: the run takes them and is queued without a new event.
    request_id: str | None = None
    correlation_id: str | None = None

    def __post_init__(self) -> None:
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise UserError("invalid_seed", f"seed: must be from 0 to {MAX_SEED}", "seed")
        if self.base_model is not None:
            require_served(self.base_model, "; leave it out for the one that is")
        if self.promote not in get_args(Promote):
            known = " or ".join(map(repr, get_args(Promote)))
            raise UserError("invalid_promote", f"promote: must be {known}", "promote")
        object.__setattr__(self, "config", check_config(self.config))
        if self.use_qlora is None:
            object.__setattr__(self, "use_qlora", quantised_by_default())

    @property
    def is_an_event(self) -> bool:
        """Whether it came over the stream, where nobody has to be told of it any more."""
        return self.request_id is not None
