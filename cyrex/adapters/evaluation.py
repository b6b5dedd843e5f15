"""Evaluate an adapter in a child process, beside the base model and the champion of the moment.

The child imports trainer and engine and evaluates at serving precision; nothing here loads torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyrex.adapters.files import package_of
from cyrex.adapters.service import can_answer, champion_row
from cyrex.datasets import Split
from cyrex.errors import UserError
from cyrex.host.subprocesses import ChildInterrupted, ChildRefused, read_json, run_child
from database.session import company_session
from settings import get_settings

# More held-out examples change the figures little and take longer.
MAX_HOLDOUT = 500
# What the report of the child says of all arms together.
NAMES = ("examples", "metric", "dtype", "labels", "side_by_side")
REPORT_FILE = "evaluation.json"


def evaluate(
    company_id: str,
    split: Split,
    sha256: str,
    fetch: Callable[[Path], None],
    base_model: Path,
    folder: Path,
    should_stop: Callable[[], bool],
) -> dict[str, Any] | None:
    """Score the package that `fetch` brings on the held-out lines.

    Returns {champion_id, champion_was_scored, sha256, examples, old, metric, dtype, scores, labels,
    side_by_side}; `scores` has for each arm what `evaluation_child` reports, and is empty when
    nothing was held out. None: stopped on request.
    """
    with company_session(company_id) as session:
        champion = champion_row(session, company_id)
    champion_id = champion.adapter_id if champion else None
    nothing: dict[str, Any] = {
        "champion_id": champion_id,
        "champion_was_scored": bool(champion and (champion.evaluation or {}).get("scores")),
        "sha256": sha256,
        "examples": 0,
        "scores": {},
    }
    chosen = _spread(len(split.holdout), MAX_HOLDOUT)
    if not chosen:
        return nothing
    holdout = [split.holdout[i] for i in chosen]
    shutil.rmtree(folder, ignore_errors=True)
    candidate = folder / "candidate"
    candidate.mkdir(parents=True)
    fetch(candidate)
    (folder / "holdout.jsonl").write_bytes(b"\n".join(holdout) + b"\n")
    arms: list[dict[str, Any]] = [
        {"label": "base", "path": None},
        {"label": "candidate", "path": str(candidate)},
    ]
    if champion is not None and can_answer(champion):
        arms.append({"label": "champion", "path": str(package_of(champion).resolve())})
    found = _run(base_model, folder, arms, should_stop)
    if found is None:
        return None
    if not found["examples"]:
        return nothing
    measured = {name: found[name] for name in NAMES}
    old = [split.old[chosen[line - 1]] for line in found["lines"]]
    return {**nothing, **measured, "old": old, "scores": found["results"]}


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` of so many places, evenly spread."""
    return list(range(count)) if count <= most else [i * count // most for i in range(most)]


def _run(
    base_model: Path, folder: Path, arms: list[dict[str, Any]], should_stop: Callable[[], bool]
) -> dict[str, Any] | None:
    path, threads = folder / "spec.json", get_settings().training_threads
    path.write_text(json.dumps(spec_of(base_model, folder, arms)))
    try:
        run_child("cyrex.adapters.evaluation_child", [str(path)], folder, should_stop, threads)
    except ChildInterrupted:
        return None
    except ChildRefused as refused:
        raise UserError("not_servable", str(refused), param="adapter_id") from None
    return read_json(folder / REPORT_FILE)


def spec_of(base_model: Path, folder: Path, arms: list[dict[str, Any]]) -> dict[str, Any]:
    """The spec for `cyrex.adapters.evaluation_child`: an engine like the one that serves."""
    settings = get_settings()
    return {
        "base_model": str(base_model.resolve()),
        "enable_thinking": settings.base_model_thinking,
        "holdout": str(folder / "holdout.jsonl"),
        "candidates": arms,
        "out": str(folder / REPORT_FILE),
        "threads": settings.training_threads,
        "dtype": settings.engine_dtype,
        "device": settings.engine_device,
        # On a GPU the rows share the context: with another number of them, prompts that serving
        # answers would count as too long.
        "max_batch": settings.engine_batch,
        "max_new_tokens": settings.max_new_tokens,
    }


def sentence(evaluation: dict[str, Any]) -> str:
    """The scores for people: the mean of each arm by the metric."""
    scores = evaluation["scores"]
    if not scores:
        return "nothing was held out, so nothing was compared"
    parts = [f"{label} {score['score']:.3f}" for label, score in scores.items()]
    metric = evaluation.get("metric")
    return f"{metric} on {evaluation['examples']} held-out examples: {', '.join(parts)}"
