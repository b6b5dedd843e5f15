"""A real small model, SmolLM2-135M, trained through the HTTP API without any setting.

    python -m benchmarks.real_model DATA_DIR [--only bank] [--questions N]

Three companies train on what they send, with no config at all: 20 intents of DATA_DIR, 15 lines
each; fields of invoices; calls of one of five tools (300 lines each, of `benchmarks.quality`).
DATA_DIR holds train.jsonl and test.jsonl, lines {"input", "output"}, made for banking77. An answer
counts when it is the wanted text, character by character; once freely, once with the labels as the
answer's grammar. TF-IDF with logistic regression stands beside the adapter. `make bench
NAME=real_model` makes the model (`make real-model`). A stack of its own is started on it, unless
CYREX_API_URL names one that runs.

Last line, JSON: adapter_accuracy, adapter_accuracy_grammar and tfidf_accuracy on 400 questions,
fields and tools on 100 each, train_seconds from request to announcement, the longest of the three.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.banking77 import Line, read, tfidf, train_as
from benchmarks.quality.data import examples
from benchmarks.quality.sides import HELD_OUT, TRAIN
from demo.client import Api

ROOT = Path(__file__).parents[1]
BASE = ROOT / ".data" / "real-model"
STACK_DIR = ".data/bench-real-model"
INTENTS, LINES_OF_INTENT = 20, 15
TASK_LINES, TASK_QUESTIONS = 300, 100
TASKS = {"fields": "invoices", "tools": "tools"}
CALLERS = 16
SHOWN_MISTAKES = 5
SEED = 7


def banking_lines(data_dir: Path, questions: int) -> tuple[list[Line], list[Line]]:
    """(training lines, questions) of every third or so of the intents, by name."""
    train, test = (read(data_dir / f"{name}.jsonl", None) for name in ("train", "test"))
    labels = sorted({line["output"] for line in train})
    labels = labels[:: max(1, len(labels) // INTENTS)][:INTENTS]
    taught = [
        line
        for label in labels
        for line in [line for line in train if line["output"] == label][:LINES_OF_INTENT]
    ]
    asked = [line for line in test if line["output"] in labels]
    random.Random(SEED).shuffle(asked)
    return taught, asked[:questions]


def company(operator: Api, task: str) -> Api:
    row = operator.post("/companies", {"company_id": f"{task}-{os.urandom(3).hex()}"})
    return Api(operator.url, row["api_key"])


def accuracy(api: Api, lines: list[Line], choices: list[str] | None = None) -> float:
    """The share of `lines` whose output is exactly what the company's adapter says."""

    def answer(line: Line) -> str:
        job = api.process({"input": line["input"]}, choices=choices)
        if job["status"] != "completed":
            raise SystemExit(f"job {job['job_id']} {job['status']}: {job['error']}")
        if not job["adapter_used"]:
            raise SystemExit(f"job {job['job_id']}: {job['note']}")
        return str(job["result"])

    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(answer, lines))
    mistakes = [(li, a) for li, a in zip(lines, answers, strict=True) if a != li["output"]]
    for line, said in mistakes[:SHOWN_MISTAKES]:
        print(f"  {line['input']!r}: {said!r}, not {line['output']!r}", flush=True)
    return round(1 - len(mistakes) / len(lines), 4)


def run(given: argparse.Namespace) -> None:
    key = Path(os.environ["CYREX_OPERATOR_KEY_FILE"]).read_text().strip()
    operator = Api(os.environ["CYREX_API_URL"], key)
    taught, asked = banking_lines(given.data_dir, given.questions)
    labels = sorted({line["output"] for line in taught})
    api = company(operator, "bank")
    seconds = [train_as(api, taught, {})]
    found = {
        "adapter_accuracy": accuracy(api, asked),
        "adapter_accuracy_grammar": accuracy(api, asked, labels),
        "tfidf_accuracy": round(tfidf(taught, asked), 4),
    }
    print(json.dumps(found), flush=True)
    for name, task in TASKS.items() if given.only is None else []:
        api = company(operator, task)
        seconds.append(train_as(api, examples(task, TRAIN, TASK_LINES), {}))
        found[name] = accuracy(api, examples(task, HELD_OUT, TASK_QUESTIONS))
        print(f"{name}: {found[name]:.1%}, {seconds[-1]:.0f} s", flush=True)
    found["train_seconds"] = round(max(seconds), 1)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--only", choices=("bank",), help="leave out fields and tools")
    given = parser.parse_args()
    if not (given.data_dir / "train.jsonl").is_file():
        parser.error(f"DATA_DIR: no train.jsonl in {given.data_dir}")
    if "CYREX_API_URL" in os.environ:
        run(given)
        return
    if not BASE.is_dir():
        sys.exit(f"{BASE} is missing: make real-model")
    stack = [sys.executable, "-m", "embedded", "run", "--fresh", "--data-dir", STACK_DIR, "--"]
    command = [*stack, sys.executable, "-m", "benchmarks.real_model", *sys.argv[1:]]
    sys.exit(subprocess.call(command, env={**os.environ, "BASE_MODEL_PATH": str(BASE)}))


if __name__ == "__main__":
    main()
