"""The steps of a training run beside `train`: accept, evaluate, register, announce.

Each takes the claimed row and its lease and returns how it ended. A step may run again after its
worker died at any point: what it writes outside Postgres is content-addressed or replaced whole.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from cyrex.adapters import evaluation as evaluations
from cyrex.adapters.base_model import open_base, require_base
from cyrex.adapters.files import get_package
from cyrex.adapters.service import next_version
from cyrex.datasets import blob_store, lines_of, split_of
from cyrex.errors import UserError
from cyrex.host.work_dirs import work_dir
from cyrex.training.acceptance import keep, place, store_merged, validation_of, with_lines
from cyrex.training.service import add_event
from cyrex.work.lease import Advance, Finish, Lease, Outcome
from database.base import Json, new_id
from database.models import Dataset, LoraAdapter, TrainingRun
from database.session import company_session
from helox.check import Record, Report, read_records
from helox.config_check import max_length_for
from helox.mask import Encoder
from helox.spec import TrainingConfig
from modelkit.registry import get_registry
from settings import get_settings
from synapse.outbox import announce, ready_event_id
from synapse.payloads import ADAPTER_READY
from synapse.streams import LORA_ADAPTER_READY

# Findings that a run's event counts; LOSSES are parts of the data that are not learned as they are.
FINDINGS = {
    "truncated": "cut off at max_length",
    "nothing_to_learn": "left out, with no answer to learn",
    "contradictions": "that contradict an earlier one",
    "control_tokens": "with control tokens taken out of the answer",
    "ignored_endings": "with messages behind the last answer, which are not read",
    "duplicates": "that repeat an earlier one",
}
LOSSES = ("truncated", "nothing_to_learn", "contradictions", "control_tokens", "ignored_endings")
# What the event says of the split, beside the number of held-out rows.
SPLIT = {
    "from_before": "more from earlier trainings",
    "replaced": "earlier ones answered anew",
    "asked_by_validation": "left out, as the validation set asks the same",
    "validation_seen_before": "of the validation set left out, as an earlier training learned them",
}
SHOWN_FIELDS = 20
SHOWN_HINTS = 5
SHOWN_WARNINGS = 20


def accept(run: TrainingRun, lease: Lease) -> Outcome:
    """Check every line with the base model's tokenizer; merge it with what the company sent before
    and split it all into what is trained on and what is held out."""
    config = TrainingConfig.model_validate(run.config)
    require_base(run.base_model)
    base = open_base()
    encoder = Encoder.of(base, max_length_for(config, base.max_positions))
    with company_session(run.company_id) as session:
        dataset = session.get_one(Dataset, run.dataset_id)
    report, own = _checked(lines_of(dataset.sha256), encoder, "training_data")
    _, validation = _checked(validation_of(dataset), encoder, "validation_data")
    placed = place(run, dataset, own, validation, config.holdout_fraction)
    merged_sha256 = store_merged(placed)
    report.held_out = placed.counts["held_out"]
    found = {**report.to_json(), "counts": report.counts(), "split": placed.counts}

    def in_transaction(session: Session, row: TrainingRun) -> None:
        dataset = session.get_one(Dataset, row.dataset_id)
        dataset.report = found
        keep(session, dataset, placed, merged_sha256)
        message, data, level = _accepted_event(report, placed.counts)
        add_event(session, row, "accepted", message, data, level)

    return Advance(in_transaction=in_transaction)


def _checked(
    lines: list[bytes], encoder: Encoder, name: str
) -> tuple[Report, list[tuple[Record, bytes]]]:
    """What was found in lines, and each with what it says. Raises `UserError`."""
    report = Report()
    records = list(read_records(lines, report, encoder))
    if lines and not report.ok:
        raise _unusable(report, name)
    return report, with_lines(records, lines)


def _unusable(report: Report, name: str) -> UserError:
    problems = report.to_json()["problems"]
    first = problems[0] if problems else {"message": "no usable example"}
    return UserError(
        "invalid_training_data",
        f"{name}: line {first.get('line')}: {first.get('field', 'line')}: {first['message']}",
        param=name,
        details=problems,
    )


def _accepted_event(report: Report, split: Json) -> tuple[str, Json, str]:
    """Message, data and level of the event. That something of the data is lost is a warning."""
    counts = report.counts()
    odd = {
        "truncated": counts["cut"],
        "nothing_to_learn": counts["dropped"],
        "contradictions": counts["contradictions"],
        "control_tokens": sum(counts["control_tokens"].values()),
        "ignored_endings": counts["ignored_endings"],
        "duplicates": counts["duplicates"],
    }
    said = [f"{report.examples} examples, {split['held_out']} held out, {report.tokens} tokens"]
    said += [f"{split[name]} {words}" for name, words in SPLIT.items() if split[name]]
    said += [f"{count} {FINDINGS[name]}" for name, count in odd.items() if count]
    unread = sorted(report.ignored_fields)[:SHOWN_FIELDS]
    if unread:
        said.append(f"fields not read: {', '.join(unread)}")
    said += report.hints[:SHOWN_HINTS]
    lost = any(odd[name] for name in LOSSES) or report.hints or report.warning_count
    data = {
        "held_out": report.held_out,
        **odd,
        "ignored_fields": unread,
        "counts": counts,
        "hints": report.hints[:SHOWN_HINTS],
        "warnings": [warning.to_json() for warning in report.warnings[:SHOWN_WARNINGS]],
    }
    return "; ".join(said), data, "warning" if lost or unread else "info"


def evaluate(run: TrainingRun, lease: Lease) -> Outcome:
    """Compare the new adapter with the base model and with the champion on the hold-out."""
    assert run.package_sha256 is not None, "train stores the package before evaluate runs"
    package_sha256 = run.package_sha256
    with work_dir(f"{run.request_id}-{run.attempt}-evaluate") as folder:
        found = evaluations.evaluate(
            run.company_id,
            split_of(run.company_id, run.dataset_id),
            package_sha256,
            lambda target: get_package(blob_store(), package_sha256, target),
            require_base(run.base_model),
            folder / "evaluation",
            lease.should_stop,
        )
    if found is None:
        return lease.stopped()

    def in_transaction(session: Session, row: TrainingRun) -> None:
        add_event(session, row, "evaluated", evaluations.sentence(found), found.get("scores"))

    return Advance({"evaluation": found}, in_transaction)


def register(run: TrainingRun, lease: Lease) -> Outcome:
    """Give the adapter its version and put its package into the registry."""
    settings = get_settings()
    assert run.package_sha256 is not None, "train stores the package before register runs"
    with company_session(run.company_id) as session:
        lease.write(session)
        adapter = session.scalar(
            select(LoraAdapter).where(LoraAdapter.request_id == run.request_id)
        ) or _new_adapter(session, run)
        adapter.sha256 = run.package_sha256
        adapter.evaluation = run.evaluation
    with work_dir(f"{run.request_id}-{run.attempt}-register") as folder:
        get_package(blob_store(), run.package_sha256, folder)
        registered = get_registry(settings).register_model(
            run.company_id,
            adapter.version,
            folder,
            {"adapter_id": adapter.adapter_id, "request_id": run.request_id},
        )

    def in_transaction(session: Session, row: TrainingRun) -> None:
        session.get_one(LoraAdapter, adapter.adapter_id).registry_path = registered.path
        add_event(session, row, "registered", f"registered as version {adapter.version}")

    return Advance({"adapter_id": adapter.adapter_id}, in_transaction)


def announce_adapter(run: TrainingRun, lease: Lease) -> Outcome:
    """End the run and announce its adapter, in one transaction."""

    def in_transaction(session: Session, row: TrainingRun) -> None:
        adapter = session.get_one(LoraAdapter, str(row.adapter_id))
        announce(
            session,
            LORA_ADAPTER_READY,
            ADAPTER_READY,
            row.company_id,
            {
                "adapter_id": adapter.adapter_id,
                "version": adapter.version,
                "registry_path": adapter.registry_path,
                "sha256": adapter.sha256,
                "request_id": row.request_id,
            },
            correlation_id=row.correlation_id,
            event_id=ready_event_id(adapter.adapter_id),
        )
        add_event(session, row, "succeeded", "announced; Cyrex decides whether it serves")

    return Finish("succeeded", in_transaction=in_transaction)


def _new_adapter(session: Session, run: TrainingRun) -> LoraAdapter:
    adapter = LoraAdapter(
        adapter_id=new_id(),
        company_id=run.company_id,
        version=next_version(session, run.company_id),
        base_model=run.base_model,
        base_model_revision=run.base_model_revision,
        base_sha256=run.base_sha256,
        adapter_type="qlora" if run.use_qlora else "lora",
        request_id=run.request_id,
        config=run.config,
        details={"metrics": run.metrics, "seed": run.seed, "dataset_id": run.dataset_id},
        status="registered",
    )
    session.add(adapter)
    session.flush()
    return adapter
