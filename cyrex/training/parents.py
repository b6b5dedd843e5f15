"""The adapter that a training goes on from: found, and refused by name where it cannot be."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from cyrex.adapters.service import check_served
from cyrex.errors import NotFound, UserError
from cyrex.training.order import TrainingOrder
from database.base import Json
from database.models import LoraAdapter
from helox.spec import TrainingConfig

FIELD = "continue_from"
USABLE = ("registered", "announced", "ready", "rejected")
# They decide what an adapter's weights mean, so both runs must agree on them.
SHAPE_SETTINGS = ("lora_rank", "lora_alpha", "use_rslora", "target_modules")


def parent_of(session: Session, order: TrainingOrder) -> LoraAdapter | None:
    """The adapter that the order continues, locked until the transaction ends; None: none.

    Raises `NotFound` for one that the company has not; `UserError` for one that failed, was
    retired, is of another base model, or whose settings differ from the order's.
    """
    if order.continue_from is None:
        return None
    adapter = _find(session, order.company_id, order.continue_from)
    if adapter is None or adapter.status == "deleted":
        message = f"{FIELD}: the company has no adapter {order.continue_from!r}"
        raise NotFound("adapter_not_found", message, FIELD)
    if adapter.status not in USABLE or adapter.sha256 is None:
        state = adapter.status if adapter.status not in USABLE else "not stored yet"
        raise _refused(f"adapter {adapter.adapter_id} is {state}")
    try:
        check_served(session, adapter)
    except UserError as error:
        raise _refused(error.message) from error
    _check_shape(order.config, adapter)
    return adapter


def config_of(order: TrainingOrder, parent: LoraAdapter | None) -> Json:
    """The order's settings; those of the weights' shape that it leaves out are the parent's."""
    if parent is None:
        return order.config
    shape = {name: parent.config[name] for name in SHAPE_SETTINGS if name in parent.config}
    return {**shape, **order.config}


def _find(session: Session, company_id: str, named: str | int) -> LoraAdapter | None:
    """By id, else by version, which may be text."""
    own = select(LoraAdapter).where(LoraAdapter.company_id == company_id).with_for_update()
    found: LoraAdapter | None = None
    if isinstance(named, str):
        found = session.scalar(own.where(LoraAdapter.adapter_id == named))
    if found is None and str(named).isdecimal() and len(str(named)) <= 9:
        found = session.scalar(own.where(LoraAdapter.version == int(named)))
    return found


def _check_shape(config: Json, parent: LoraAdapter) -> None:
    """An outside adapter's row has no settings: the trainer compares them with its files."""
    if parent.request_id is None:
        return
    ours, theirs = (TrainingConfig.model_validate(c) for c in (config, parent.config))
    for name in SHAPE_SETTINGS:
        value = getattr(theirs, name)
        if name in config and getattr(ours, name) != value:
            raise UserError(
                "cannot_continue",
                f"config.{name}: is {config[name]!r}, and {value!r} in adapter "
                f"{parent.adapter_id}, which {FIELD} names; leave it out",
                f"config.{name}",
            )


def _refused(reason: str) -> UserError:
    return UserError("cannot_continue", f"{FIELD}: {reason}", FIELD)
