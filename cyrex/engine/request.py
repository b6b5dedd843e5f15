"""Requests as plain data. Nothing here imports a model library."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import NamedTuple

from cyrex.engine.errors import RequestRefused
from cyrex.engine.grammar import Grammar, require_utf8

MAX_STOP_STRINGS = 16
MAX_TEMPERATURE = 100.0
MAX_PENALTY = 2.0
MAX_REPETITION_PENALTY = 10.0
MAX_TOP_LOGPROBS = 20


class AdapterKey(NamedTuple):
    """The key of loaded adapter weights. The same id with another SHA-256 is another adapter."""

    company: str
    adapter_id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """An adapter of one company.

    sha256: of the package's manifest. The caller has verified the folder `path` against it.
    path: a folder in PEFT's format (adapter_config.json, adapter_model.safetensors).
    weights_sha256: SHA-256 of adapter_model.safetensors; the engine checks it when it loads.
    """

    company: str
    adapter_id: str
    sha256: str
    path: str
    weights_sha256: str

    @property
    def key(self) -> AdapterKey:
        return AdapterKey(self.company, self.adapter_id, self.sha256)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters. Raises RequestRefused naming a field that is wrong.

    temperature: 0 is greedy, whatever top_k, top_p, min_p and seed say.
    top_k: only the k likeliest tokens; 0 is all of them.
    top_p: only the smallest set of likeliest tokens whose probabilities sum to at least this.
    min_p: only tokens whose probability is at least this share of the likeliest one's.
    repetition_penalty: above 1 makes every token of prompt and answer less likely (1 is off).
    presence_penalty: subtracted from the logit of a token that is in the answer.
    frequency_penalty: subtracted once for every occurrence in the answer.
    seed: the same seed gives the same answer, whatever else is in the batch. None draws one.
    top_logprobs: number of likeliest tokens reported at every position.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise RequestRefused(f"temperature: must be from 0 to {MAX_TEMPERATURE:g}")
        if self.top_k < 0:
            raise RequestRefused("top_k: must not be negative")
        if not 0 < self.top_p <= 1:
            raise RequestRefused("top_p: must be above 0 and at most 1")
        if not 0 <= self.min_p <= 1:
            raise RequestRefused("min_p: must be from 0 to 1")
        if not 0 < self.repetition_penalty <= MAX_REPETITION_PENALTY:
            limit = f"{MAX_REPETITION_PENALTY:g}"
            raise RequestRefused(f"repetition_penalty: must be above 0 and at most {limit}")
        for name in ("presence_penalty", "frequency_penalty"):
            if not -MAX_PENALTY <= getattr(self, name) <= MAX_PENALTY:
                raise RequestRefused(f"{name}: must be from -{MAX_PENALTY:g} to {MAX_PENALTY:g}")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise RequestRefused("seed: must be from 0 to 2**63 - 1")
        if not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise RequestRefused(f"top_logprobs: must be from 0 to {MAX_TOP_LOGPROBS}")


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to complete. Raises RequestRefused naming a field that is wrong.

    adapter: None is the base model.
    prompt: token ids, or rendered text (no special tokens are added; those in the text count).
    stop: strings that end the answer and are not part of its text.
    deadline: on `time.monotonic()`'s clock, which the processes of one machine share.
    grammar: constrains the answer; None does not.
    stream: whether the handle has deltas.
    """

    company: str
    adapter: AdapterRef | None
    prompt: list[int] | str
    max_new_tokens: int = 256
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()
    deadline: float | None = None
    grammar: Grammar | None = None
    stream: bool = False

    def __post_init__(self) -> None:
        # Tenancy first: nothing else is checked for an adapter of another company.
        if self.adapter is not None and self.adapter.company != self.company:
            raise RequestRefused("adapter: it belongs to another company")
        if not self.company:
            raise RequestRefused("company: must not be empty")
        if not self.prompt:
            raise RequestRefused("prompt: must not be empty")
        if isinstance(self.prompt, str):
            require_utf8("prompt", self.prompt)
        if self.max_new_tokens < 1:
            raise RequestRefused("max_new_tokens: must be at least 1")
        if len(self.stop) > MAX_STOP_STRINGS or not all(self.stop):
            raise RequestRefused(f"stop: at most {MAX_STOP_STRINGS} strings, none of them empty")
        if self.deadline is not None and math.isnan(self.deadline):
            raise RequestRefused("deadline: must be a number")

    @property
    def key(self) -> AdapterKey | None:
        """The adapter's key; None is the base model."""
        return self.adapter.key if self.adapter is not None else None

    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline
