"""How well do the base model and adapters answer held-out examples?

`python -m cyrex.adapters.evaluation_child spec.json` answers every example of a hold-out file
greedily with each candidate through the very engine that serves, and writes:

- `exact_match`: the share of answers that equal the expected text (surrounding blanks aside) and
  that the model ended by itself;
- `correct`: the same, example by example in the file's order, for paired comparisons;
- `mean_loss`: nats a token of the expected answers, end-of-turn token included.

Exit codes: 0 done, 2 the spec, the data or an adapter is wrong, 1 anything else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cyrex.engine import AdapterRef, AdapterRefused, Completion, EngineConfig, EngineError, Request
from helox.base import Base
from helox.cli import die_with_parent
from helox.errors import EXIT_DONE, EXIT_SYSTEM_ERROR, EXIT_USER_ERROR, LineError, UserError
from helox.mask import Encoder
from helox.render import to_messages
from modelkit import package
from modelkit.durable import make_folder, write_atomic
from modelkit.errors import PackageRefused

if TYPE_CHECKING:
    from cyrex.engine.loop import Engine

FORMAT = 1
# An answer that runs on is wrong long before `max_new_tokens`: it may be this many tokens longer
# than the expected one, or twice as long (the same text can be spelled in other tokens).
SPARE_TOKENS = 8
LABELS = ("base", "champion", "candidate")


class Candidate(BaseModel):
    """What is evaluated. `path` and `sha256` are an adapter package; both None: the base model."""

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


@dataclass(frozen=True, slots=True)
class Question:
    """One held-out example as tokens: what is asked, and what should be answered."""

    prompt: list[int]
    answer: list[int]
    sha256: str


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
    adapters = {candidate.label: _adapter(candidate) for candidate in spec.candidates}
    results: dict[str, Any] = {}
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
            for label, adapter in adapters.items():
                results[label] = _evaluate_one(engine, spec, adapter, questions)
        except AdapterRefused as error:
            raise UserError("adapter_refused", str(error), field="candidates") from error
        finally:
            engine.close()
    for label, adapter in adapters.items():
        result = results.setdefault(label, _summary([], [], [], 0.0))
        result["adapter_sha256"] = adapter.sha256 if adapter is not None else None
    return {
        "format": FORMAT,
        "base_model": spec.base_model.resolve().name,
        "dtype": spec.dtype,
        "max_new_tokens": spec.max_new_tokens,
        "holdout_sha256": hashlib.sha256(spec.holdout.read_bytes()).hexdigest(),
        "examples": len(questions),
        "example_sha256": [question.sha256 for question in questions],
        "results": {label: results[label] for label in LABELS if label in results},
    }


def _questions(spec: EvaluationSpec, base: Base) -> list[Question]:
    """The hold-out's examples. One that has no answer to learn is left out."""
    encoder = Encoder.of(base, max_length=sys.maxsize)
    questions = []
    try:
        lines = spec.holdout.read_bytes().splitlines()
    except OSError as error:
        message = f"{spec.holdout.name}: {error.strerror}"
        raise UserError("no_holdout", message, field="holdout") from error
    for number, line in enumerate(lines, 1):
        try:
            example = encoder.encode(to_messages(json.loads(line)), number)[-1]
        except (LineError, ValueError) as error:
            raise UserError("bad_line", f"line {number}: {error}", line=number) from error
        end = example.trained.rfind(1) + 1
        start = example.trained.rfind(0, 0, end) + 1
        if 0 < start < end:
            ids, digest = list(example.ids), hashlib.sha256(line).hexdigest()
            questions.append(Question(ids[:start], ids[start:end], digest))
    return questions


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


def _evaluate_one(
    engine: Engine, spec: EvaluationSpec, adapter: AdapterRef | None, questions: Sequence[Question]
) -> dict[str, Any]:
    from cyrex.engine.scoring import Example

    started = time.monotonic()
    handles = [
        engine.submit(Request("evaluation", adapter, q.prompt, _limit(spec, q))) for q in questions
    ]
    correct = []
    for handle, question in zip(handles, questions, strict=True):
        try:
            completion = handle.result()
        except AdapterRefused:
            raise
        except EngineError:
            correct.append(False)  # A prompt that serving would refuse is not answered.
        else:
            correct.append(_is_right(engine, completion, question))
    fitting = [q for q in questions if len(q.prompt) + len(q.answer) <= engine.model.max_context]
    losses = engine.losses(adapter, [Example(q.prompt, q.answer) for q in fitting])
    tokens = [len(question.answer) for question in fitting]
    return _summary(correct, losses, tokens, time.monotonic() - started)


def _limit(spec: EvaluationSpec, question: Question) -> int:
    expected = len(question.answer)
    return min(spec.max_new_tokens, max(2 * expected, expected + SPARE_TOKENS))


def _is_right(engine: Engine, completion: Completion, question: Question) -> bool:
    expected = engine.model.decode(question.answer)
    return completion.finish_reason == "stop" and completion.text.strip() == expected.strip()


def _summary(
    correct: Sequence[bool], losses: Sequence[float], tokens: Sequence[int], seconds: float
) -> dict[str, Any]:
    loss = sum(losses) / sum(tokens) if tokens else None
    return {
        "exact_match": sum(correct) / len(correct) if correct else None,
        "correct": [int(right) for right in correct],
        "mean_loss": loss if loss is None or math.isfinite(loss) else None,
        "answer_tokens": sum(tokens),
        "too_long": len(correct) - len(tokens),
        "seconds": round(seconds, 3),
    }


def _prepare_environment(spec: EvaluationSpec) -> None:
    """What must be set before torch and transformers are imported."""
    os.environ["OMP_NUM_THREADS"] = str(spec.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


if __name__ == "__main__":
    sys.exit(main())
