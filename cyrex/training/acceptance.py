"""What a run reads: the lines that were sent, those sent before, and which of them are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from cyrex.adapters.base_model import served_control
from cyrex.datasets import blob_store, lines_of, merged_lines
from cyrex.errors import UserError
from cyrex.training.split import Row, Side, keys_of, rows_of, split
from database.base import Json
from database.models import Dataset, Example, TrainingRun
from database.session import company_session
from helox.check import Record, Report, read_records
from helox.holdout import turn_key_of
from settings import get_settings

# Keys asked for in one query.
KEYS_AT_ONCE = 5000


@dataclass
class Placed:
    """A dataset's merged lines, each with its key and side, and what became of the rest."""

    lines: list[bytes] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    conversations: list[int] = field(default_factory=list)
    sides: list[Side] = field(default_factory=list)
    counts: Json = field(default_factory=dict)

    def add(self, line: bytes, key: int, conversation: int, side: Side) -> None:
        self.lines.append(line)
        self.keys.append(key)
        self.conversations.append(conversation)
        self.sides.append(side)


def place(
    run: TrainingRun,
    dataset: Dataset,
    own: Sequence[tuple[Record, bytes]],
    validation: Sequence[tuple[Record, bytes]],
    fraction: float,
) -> Placed:
    """Merge the checked lines of a dataset with what the company sent before, and split all.

    A row sent now replaces an earlier one that answers the same turn. With a validation set, no
    other new row is held out; training rows that ask what it asks are left out. Raises `UserError`
    where all are more than one training may have.
    """
    before = [] if dataset.replaces else _before(run)
    answered = {turn_key_of(record.conversation) for record, _ in own}
    kept = [(r, line) for r, line in before if turn_key_of(r.conversation) not in answered]
    _check_number(len(kept), len(own))
    rows = rows_of([record.conversation for record, _ in [*kept, *own]])
    asking = rows_of([record.conversation for record, _ in validation])
    known = _known_sides(run.company_id, [*rows, *asking])
    keys = keys_of([*rows, *asking], known)
    keys, asked = keys[: len(rows)], keys[len(rows) :]
    sides = split(rows, known, 0.0 if validation else fraction, keys)
    # The champion may have learned a known one: no adapter is scored on rows that it has seen.
    held_back = {key for key in asked if known.get(key) != "train"}
    placed, left_out, seen = Placed(), 0, 0
    for (_, line), row, key, side in zip([*kept, *own], rows, keys, sides, strict=True):
        if key in held_back:
            left_out += 1
        else:
            placed.add(line, key, row.conversation, side)
    for (_, line), row, key in zip(validation, asking, asked, strict=True):
        if key in held_back:
            placed.add(line, key, row.conversation, "holdout")
        else:
            seen += 1
    placed.counts = {
        "sent": len(own),
        "from_before": len(kept),
        "replaced": len(before) - len(kept),
        "trained": placed.sides.count("train"),
        "held_out": placed.sides.count("holdout"),
        "asked_by_validation": left_out,
        "validation_seen_before": seen,
    }
    return placed


def keep(session: Session, dataset: Dataset, placed: Placed, merged_sha256: str) -> None:
    """Write the split, once, in the transaction that accepts the run."""
    known = session.scalar(
        select(func.count()).select_from(Example).where(Example.dataset_id == dataset.dataset_id)
    )
    if known:
        return
    dataset.merged_sha256 = merged_sha256
    session.execute(
        insert(Example),
        [
            {
                "dataset_id": dataset.dataset_id,
                "company_id": dataset.company_id,
                "line": line,
                "input_sha256": _name(key),
                "conversation_sha256": _name(conversation),
                "split": side,
            }
            for line, (key, conversation, side) in enumerate(
                zip(placed.keys, placed.conversations, placed.sides, strict=True), 1
            )
        ],
    )


def store_merged(placed: Placed) -> str:
    """The SHA-256 of the merged lines, which are durable. Raises `OSError`."""
    return blob_store().put_bytes(b"".join(line + b"\n" for line in placed.lines))


def with_lines(records: Sequence[Record], lines: Sequence[bytes]) -> list[tuple[Record, bytes]]:
    return [(record, lines[record.line - 1]) for record in records]


def _before(run: TrainingRun) -> list[tuple[Record, bytes]]:
    """What the company's newest finished training read; nothing for the first."""
    with company_session(run.company_id) as session:
        dataset_id = session.scalar(
            select(TrainingRun.dataset_id)
            .where(
                TrainingRun.company_id == run.company_id,
                TrainingRun.status == "succeeded",
                TrainingRun.request_id != run.request_id,
                TrainingRun.dataset_id != run.dataset_id,
            )
            .order_by(TrainingRun.finished_at.desc())
            .limit(1)
        )
    if dataset_id is None:
        return []
    lines = merged_lines(run.company_id, dataset_id)
    return with_lines(list(read_records(lines, Report(), control=served_control())), lines)


def validation_of(dataset: Dataset) -> list[bytes]:
    """The lines of the company's own validation set; none if it sent none."""
    return [] if dataset.validation_sha256 is None else lines_of(dataset.validation_sha256)


def _check_number(kept: int, own: int) -> None:
    limit = get_settings().max_training_examples
    if kept + own > limit:
        raise UserError(
            "too_many_examples",
            f"training_data: {own} examples and {kept} from before, the limit is {limit}; send "
            "replace: true to train on the new ones alone",
            param="training_data",
        )


def _known_sides(company_id: str, rows: Sequence[Row]) -> dict[int, Side]:
    """The side of every question and conversation that an earlier dataset of the company placed."""
    questions = sorted({_name(row.question) for row in rows})
    conversations = sorted({_name(row.conversation) for row in rows})
    found: dict[int, Side] = {}
    with company_session(company_id) as session:
        for column, names in (
            (Example.input_sha256, questions),
            (Example.conversation_sha256, conversations),
        ):
            for start in range(0, len(names), KEYS_AT_ONCE):
                query = select(column, Example.split).where(
                    Example.company_id == company_id,
                    column.in_(names[start : start + KEYS_AT_ONCE]),
                )
                for name, side in session.execute(query):
                    found[int(str(name), 16)] = "holdout" if side == "holdout" else "train"
    return found


def _name(key: int) -> str:
    return f"{key:016x}"
