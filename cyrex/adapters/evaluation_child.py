"""How well do the base model and adapters answer held-out examples?

`python -m cyrex.adapters.evaluation_child spec.json` answers every example of a hold-out file
greedily with each candidate through the very engine that serves, and writes:

- `metric`, chosen by the expected answers (`cyrex.adapters.metrics`), `lines` (numbers of the
  file's lines that are examples), `labels` (scores by label), ten answers `side_by_side`;
- for each candidate `scores`, example by example for paired comparisons, and `score`, their mean;
- `exact_match`: the share of answers that equal the expected text (surrounding blanks aside) and
  that the model ended by itself;
- `mean_loss`: nats a token of the expected answers, end-of-turn token included;
- `general_loss`: the same of plain general sentences, which shows what was forgotten.

Exit codes: 0 done, 2 the spec, the data or an adapter is wrong, 1 anything else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cyrex.adapters.evaluation_arm import Arm, Call, Question, run_arm
from cyrex.adapters.metrics import metric_of
from cyrex.engine import AdapterRef, AdapterRefused, EngineConfig
from helox.base import Base
from helox.calls import CallFormat
from helox.check import read_conversation
from helox.cli import die_with_parent
from helox.control import control_of
from helox.errors import EXIT_DONE, EXIT_SYSTEM_ERROR, EXIT_USER_ERROR, LineError, UserError
from helox.mask import Encoder
from helox.render import Conversation
from modelkit import package
from modelkit.durable import make_folder, write_atomic
from modelkit.errors import PackageRefused

FORMAT = 1
SHOWN_ANSWERS = 10
SHOWN_CHARACTERS = 500
LABELS = ("base", "champion", "candidate")


class Candidate(BaseModel):
    """An adapter package, as `path` and `sha256`; both None: the base model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Literal["base", "champion", "candidate"]
    path: Path | None = None
    sha256: str | None = None


class EvaluationSpec(BaseModel):
    """The content of spec.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_model: Path
    enable_thinking: bool = False
    holdout: Path
    out: Path
    candidates: list[Candidate] = Field(min_length=1)
    threads: int = Field(1, ge=1)
    max_new_tokens: int = Field(256, ge=1)
    dtype: Literal["fp32", "bf16", "nf4"] = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_batch: int = Field(64, ge=1)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="cyrex.adapters.evaluation_child", description="Evaluates adapters."
    )
    parser.add_argument("spec", type=Path, help="spec.json")
    parser.add_argument("--die-with-parent", nargs="?", type=int, const=0, metavar="PID")
    options = parser.parse_args(arguments)
    if options.die_with_parent is not None:
        die_with_parent(options.die_with_parent)
    try:
        spec = read_spec(options.spec)
        _prepare_environment(spec)
        report = evaluate(spec)
        make_folder(spec.out.absolute().parent)
        write_atomic(spec.out, json.dumps(report, indent=1).encode())
        return EXIT_DONE
    except UserError as error:
        print(json.dumps(error.to_json(), ensure_ascii=False), file=sys.stderr)
        return EXIT_USER_ERROR
    except Exception:
        traceback.print_exc()
        return EXIT_SYSTEM_ERROR


def read_spec(path: Path) -> EvaluationSpec:
    """Raises UserError naming the field that is wrong."""
    try:
        spec = EvaluationSpec.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError("no_spec", f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError("bad_spec", f"{field}: {first['msg']}", field=field) from error
    labels = [candidate.label for candidate in spec.candidates]
    if len(set(labels)) != len(labels):
        raise UserError("bad_spec", "a label is there twice", field="candidates")
    return spec


def evaluate(spec: EvaluationSpec) -> dict[str, Any]:
    """The content of evaluation.json. Raises UserError naming what is wrong with the input."""
    base = Base.open(spec.base_model, spec.enable_thinking)
    questions = _questions(spec, base)
    adapters: dict[str, AdapterRef | None] = {
        candidate.label: _adapter(candidate) for candidate in spec.candidates
    }
    found = _run(spec, base, questions, adapters)
    for label, adapter in adapters.items():
        found["results"][label]["adapter_sha256"] = None if adapter is None else adapter.sha256
    return {
        "format": FORMAT,
        "base_model": spec.base_model.resolve().name,
        "dtype": spec.dtype,
        "max_new_tokens": spec.max_new_tokens,
        "holdout_sha256": hashlib.sha256(spec.holdout.read_bytes()).hexdigest(),
        "examples": len(questions),
        "lines": [question.line for question in questions],
        "example_sha256": [question.sha256 for question in questions],
        **found,
    }


def _run(
    spec: EvaluationSpec,
    base: Base,
    questions: Sequence[Question],
    adapters: Mapping[str, AdapterRef | None],
) -> dict[str, Any]:
    """The metric, and what each arm did. Raises UserError for an adapter that does not load."""
    arms: dict[str, Arm] = dict.fromkeys(adapters, Arm([], [], 0.0, None))
    expected: list[str] = []
    if questions:
        from cyrex.engine.loop import Engine

        config = EngineConfig(
            str(spec.base_model),
            dtype=spec.dtype,
            device=spec.device,
            threads=spec.threads,
            max_batch=spec.max_batch,
            end_tokens=base.stop_ids,
        )
        engine = Engine(config)
        try:
            expected = [engine.model.decode(question.answer) for question in questions]
            for label, adapter in adapters.items():
                arms[label] = run_arm(engine, adapter, questions, spec.max_new_tokens)
        except AdapterRefused as error:
            raise UserError("adapter_refused", str(error), field="candidates") from error
        finally:
            engine.close()
    metric = metric_of(expected, bool(questions) and all(q.calls for q in questions))
    calls = CallFormat.of(base.template) if metric == "tool_call" else None
    scores = {label: arm.scores(metric, questions, expected, calls) for label, arm in arms.items()}
    return {
        "metric": metric,
        "labels": _by_label(expected, scores) if metric == "label" else None,
        "side_by_side": _side_by_side(questions, expected, arms, scores),
        "results": {
            label: arms[label].report(scores[label], expected, questions)
            for label in LABELS
            if label in arms
        },
    }


def _by_label(
    expected: Sequence[str], scores: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, float]]:
    """For each label how many examples have it, and each arm's share of right answers."""
    found: dict[str, dict[str, float]] = {}
    for name in sorted({text.strip() for text in expected}):
        places = [i for i, text in enumerate(expected) if text.strip() == name]
        shares = {arm: sum(given[i] for i in places) / len(places) for arm, given in scores.items()}
        found[name] = {"examples": len(places), **shares}
    return found


def _side_by_side(
    questions: Sequence[Question],
    expected: Sequence[str],
    arms: Mapping[str, Arm],
    scores: Mapping[str, Sequence[float]],
) -> list[dict[str, Any]]:
    """Ten questions with every arm's answer: first those on which the arms differ most."""

    def spread(place: int) -> float:
        given = [score[place] for label, score in scores.items() if label != "base"]
        return max(given) - min(given) if given else 0.0

    places = sorted(range(len(questions)), key=lambda place: (-spread(place), place))
    return [
        {
            "question": questions[i].asked[:SHOWN_CHARACTERS],
            "expected": expected[i][:SHOWN_CHARACTERS],
            "answers": {
                label: None if arm.texts[i] is None else str(arm.texts[i])[:SHOWN_CHARACTERS]
                for label, arm in arms.items()
            },
        }
        for i in places[:SHOWN_ANSWERS]
    ]


def _questions(spec: EvaluationSpec, base: Base) -> list[Question]:
    """The hold-out's examples. One that has no answer to learn is left out."""
    encoder = Encoder.of(base, max_length=sys.maxsize)
    control = control_of(encoder.template.control_tokens)
    questions = []
    try:
        lines = spec.holdout.read_bytes().splitlines()
    except OSError as error:
        message = f"{spec.holdout.name}: {error.strerror}"
        raise UserError("no_holdout", message, field="holdout") from error
    for number, line in enumerate(lines, 1):
        try:
            conversation = read_conversation(json.loads(line), control)
            example = encoder.encode(conversation, number)[-1]
        except (LineError, ValueError) as error:
            raise UserError("bad_line", f"line {number}: {error}", line=number) from error
        end = example.trained.rfind(1) + 1
        start = example.trained.rfind(0, 0, end) + 1
        if 0 < start < end:
            ids, digest = list(example.ids), hashlib.sha256(line).hexdigest()
            asked, calls = _said(conversation)
            questions.append(Question(ids[:start], ids[start:end], digest, number, asked, calls))
    return questions


def _said(conversation: Conversation) -> tuple[str, tuple[Call, ...]]:
    """The last message before the last answer, and the calls of that answer."""
    answer = conversation.messages[-1]
    functions = [call["function"] for call in answer.get("tool_calls") or ()]
    before = [message["content"] for message in conversation.messages[:-1]]
    return str(before[-1]) if before else "", tuple(
        (str(function["name"]), function["arguments"]) for function in functions
    )


def _adapter(candidate: Candidate) -> AdapterRef | None:
    """Check the candidate's package from top to bottom, and against its SHA-256 if it is named."""
    if candidate.path is None:
        return None
    try:
        manifest = package.build(candidate.path)
    except PackageRefused as error:
        message = f"{candidate.label}: {error}"
        raise UserError("adapter_refused", message, field="candidates") from error
    if candidate.sha256 not in (None, manifest.sha256):
        message = f"{candidate.label}: the package's SHA-256 is {manifest.sha256}"
        raise UserError("adapter_refused", message, field="candidates")
    sha256, weights = manifest.sha256, manifest.weights_sha256
    return AdapterRef("evaluation", candidate.label, sha256, str(candidate.path), weights)


def _prepare_environment(spec: EvaluationSpec) -> None:
    """Set the variables that torch and transformers read when they are imported."""
    os.environ["OMP_NUM_THREADS"] = str(spec.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


if __name__ == "__main__":
    sys.exit(main())
