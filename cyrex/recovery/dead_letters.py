"""Dead letters as an operator sees them: list them, look at one, replay it.

A dead letter is a row that failed too often, or an event that was refused or failed too often. A
replay takes the row back to where it stood, or the event back to its stream; the letter stays,
with its history and the date of its replay. A second failure leaves another letter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from cyrex.errors import Conflict, NotFound
from cyrex.recovery.dead_ends import EVENT_SET_ASIDE, take_back_adapter
from cyrex.recovery.kinds import KINDS
from cyrex.training import service as training
from cyrex.work.lease import Hint
from database import claims
from database.base import Json
from database.models import DeadLetter, LoraAdapter, TrainingRun
from database.transitions import MACHINES, TRAINING
from synapse import replay as events
from synapse.envelope import Envelope
from synapse.outbox import ready_event_id
from synapse.payloads import ADAPTER_READY, TRAINING_REQUESTED
from synapse.streams import CONSUMED


@dataclass(frozen=True)
class Replay:
    """The caller's work after the commit. `fresh`: False for a letter replayed before."""

    letter: DeadLetter
    fresh: bool = True
    admit: tuple[str, str] | None = None
    hints: list[Hint] = field(default_factory=list)


def list_dead_letters(
    session: Session,
    limit: int = 50,
    after: str | None = None,
    kind: str | None = None,
    company_id: str | None = None,
    replayed: bool | None = None,
) -> list[DeadLetter]:
    """Newest first; `after` is the last id of the page before."""
    query = select(DeadLetter).order_by(DeadLetter.id.desc()).limit(limit)
    if after is not None:
        query = query.where(DeadLetter.id < after)
    if kind is not None:
        query = query.where(DeadLetter.kind == kind)
    if company_id is not None:
        query = query.where(DeadLetter.company_id == company_id)
    if replayed is not None:
        done = DeadLetter.replayed_at.is_not(None)
        query = query.where(done if replayed else ~done)
    return list(session.scalars(query))


def get_dead_letter(session: Session, letter_id: str) -> DeadLetter:
    row = session.get(DeadLetter, letter_id)
    if row is None:
        raise NotFound("dead_letter_not_found", f"there is no dead letter {letter_id!r}", "id")
    return row


def dead_letter_view(row: DeadLetter) -> Json:
    """A dead letter as JSON."""
    return {
        "id": row.id,
        "kind": row.kind,
        "reference": row.reference,
        "company_id": row.company_id,
        "reason": row.reason,
        "payload": row.payload,
        "history": row.history,
        "created_at": row.created_at.isoformat(),
        "replayed_at": row.replayed_at.isoformat() if row.replayed_at else None,
    }


def replay(session: Session, letter_id: str, by: str) -> Replay:
    """Have it tried again, once a letter: the second time nothing is done.

    `by` names who asked. Raises `NotFound`, and `Conflict` for what cannot be replayed.
    """
    letter = session.get(DeadLetter, letter_id, with_for_update=True)
    if letter is None:
        raise NotFound("dead_letter_not_found", f"there is no dead letter {letter_id!r}", "id")
    if letter.replayed_at is not None:
        return Replay(letter, fresh=False)
    now = datetime.now(UTC)
    put_back = _replay_row if letter.kind in MACHINES else _replay_event
    done = put_back(session, letter)
    letter.replayed_at = now
    letter.history = [*letter.history, {"at": now.isoformat(), "reason": "replayed", "by": by}]
    session.flush()
    session.refresh(letter)
    return done


def _refused(message: str) -> Conflict:
    return Conflict("not_replayable", f"this dead letter cannot be replayed: {message}", "id")


def _replay_row(session: Session, letter: DeadLetter) -> Replay:
    machine, kind = MACHINES[letter.kind], KINDS[letter.kind]
    row = session.get(machine.model, letter.reference)
    if row is None:
        raise _refused(f"there is no {machine.kind} {letter.reference!r} any more")
    refusal = kind.refusal(row)
    if refusal is not None:
        raise _refused(refusal)
    assert machine.revived is not None, f"{machine.kind}: no way back"
    attempt = int(letter.payload.get("attempt", 0)) + 1  # giving up was an attempt's end
    revived = claims.revive(
        session, machine, letter.reference, attempt, machine.revived, **kind.fresh
    )
    if revived is None:
        current: Any = row
        raise _refused(
            f"the {machine.kind} is {current.status} at attempt {current.attempt} by now,"
            f" and was set aside at attempt {attempt}"
        )
    kind.replayed(session, revived)
    if machine.admitted:
        return Replay(letter, admit=(machine.kind, revived.company_id))
    return Replay(letter, hints=[(machine, revived)])


def _replay_event(session: Session, letter: DeadLetter) -> Replay:
    if letter.kind not in CONSUMED:
        raise _refused(f"nothing here reads {letter.kind!r}")
    if letter.payload.get("outcome") == "invalid":
        raise _refused(f"the entry is no event ({letter.reason}); publish a corrected one")
    try:
        envelope = events.envelope_of(letter.kind, letter.payload.get("fields", {}))
        events.replay(session, letter.kind, envelope)
    except events.NotReplayable as error:
        raise _refused(str(error)) from None
    if envelope.type == TRAINING_REQUESTED:
        _take_back_training(session, envelope)
    elif envelope.type == ADAPTER_READY:
        adapter_id = str(envelope.data.get("adapter_id"))
        if envelope.event_id == ready_event_id(adapter_id):
            take_back_adapter(session, EVENT_SET_ASIDE, LoraAdapter.adapter_id == adapter_id)
    return Replay(letter)


def _take_back_training(session: Session, envelope: Envelope) -> None:
    """The run that waited for this event and was failed for it waits again."""
    run = session.get(TrainingRun, envelope.event_id)
    if run is None or run.status == "requested":
        return
    if run.status != TRAINING.failed or (run.error or {}).get("code") != EVENT_SET_ASIDE:
        raise _refused(f"the training that it asks for is {run.status} already")
    assert TRAINING.restarted is not None
    revived = claims.revive(
        session, TRAINING, run.request_id, run.attempt, TRAINING.restarted, finished_at=None
    )
    if revived is not None:
        training.add_event(session, revived, "replayed", "its event is sent again")
