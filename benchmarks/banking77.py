"""Train on banking77 through the HTTP API and answer its whole test set through it.

    python benchmarks/banking77.py DATA_DIR [--epochs N] [--train N] [--test N]

DATA_DIR holds train.jsonl and test.jsonl with lines {"input", "output"}. A stack of its own is
started (unless CYREX_API_URL names one that runs). TF-IDF with logistic regression stands beside
the adapter. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from demo.client import UNFINISHED_ADAPTER, UNFINISHED_TRAINING, Api

CALLERS = 64
POLL_SECONDS = 2.0
SEED = 0

Line = dict[str, str]


def read(path: Path, limit: int | None) -> list[Line]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    # Every k-th line: the files are sorted by label.
    return lines if limit is None else lines[:: max(1, len(lines) // limit)][:limit]


def train(
    api: Api, lines: list[Line], config: dict[str, Any], use_qlora: bool, seed: int = SEED
) -> float:
    """Train and wait until the adapter serves; returns the seconds from request to announcement."""
    return train_as(api, lines, {"config": config, "use_qlora": use_qlora, "seed": seed})


def train_as(api: Api, lines: list[Line], settings: dict[str, Any]) -> float:
    """As `train`; what `settings` leave out is left to the product."""
    body = {"training_data": lines, **settings}
    started = time.monotonic()
    request_id = api.post("/company-automation/train-adapter", body)["request_id"]
    shown = ""
    while True:
        run = api.get(f"/company-automation/training/{request_id}")
        progress = run["progress"]
        where = f"step {progress.get('step')} of {progress.get('total_steps')}"
        line = f"{run['status']} {run['step']} {where}"
        if line != shown:
            print(
                f"[{time.monotonic() - started:6.1f} s] {line} loss {progress.get('loss')}",
                flush=True,
            )
            shown = line
        if run["status"] not in UNFINISHED_TRAINING:
            break
        time.sleep(POLL_SECONDS)
    if run["status"] != "succeeded":
        raise SystemExit(f"training {run['status']}: {run['error']}")
    seconds = time.monotonic() - started
    path = f"/company-automation/adapters/{run['adapter_id']}"
    while (adapter := api.get(path))["status"] in UNFINISHED_ADAPTER:
        time.sleep(POLL_SECONDS)
    print(f"adapter {adapter['status']}: {adapter['metadata'].get('decision')}", flush=True)
    return seconds


def answer(
    api: Api, lines: list[Line], labels: list[str], use_adapter: bool
) -> tuple[float, float]:
    """(accuracy, questions per second) over all lines, each answered with one of `labels`."""

    def right(line: Line) -> bool:
        job = api.process({"input": line["input"]}, use_adapter=use_adapter, choices=labels)
        if job["status"] != "completed":
            raise SystemExit(f"job {job['job_id']} {job['status']}: {job['error']}")
        return str(job["result"]).strip() == line["output"]

    started = time.monotonic()
    with ThreadPoolExecutor(CALLERS) as pool:
        correct = sum(pool.map(right, lines))
    return correct / len(lines), len(lines) / (time.monotonic() - started)


def tfidf(train_lines: list[Line], test_lines: list[Line]) -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=30, max_iter=500),
    )
    model.fit([line["input"] for line in train_lines], [line["output"] for line in train_lines])
    return float(
        model.score([line["input"] for line in test_lines], [line["output"] for line in test_lines])
    )


def run(given: argparse.Namespace) -> None:
    train_lines = read(given.data_dir / "train.jsonl", given.train)
    test_lines = read(given.data_dir / "test.jsonl", given.test)
    operator = Api(
        os.environ["CYREX_API_URL"],
        Path(os.environ["CYREX_OPERATOR_KEY_FILE"]).read_text().strip(),
    )
    company = operator.post("/companies", {"company_id": f"bank-{os.urandom(3).hex()}"})
    api = Api(operator.url, company["api_key"])
    config = {"num_epochs": given.epochs, **json.loads(given.config)}
    labels = sorted({line["output"] for line in train_lines})
    some = test_lines[:: max(1, len(test_lines) // 300)]
    base_accuracy, _ = answer(api, some, labels, use_adapter=False)
    print(f"base model: {base_accuracy:.1%}", flush=True)
    seconds = train(api, train_lines, config, given.qlora)
    accuracy, speed = answer(api, test_lines, labels, use_adapter=True)
    found = {
        "base_accuracy": round(base_accuracy, 4),
        "adapter_accuracy": round(accuracy, 4),
        "tfidf_accuracy": round(tfidf(train_lines, test_lines), 4),
        "questions_per_second": round(speed, 1),
        "train_seconds": round(seconds, 1),
    }
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--train", type=int, help="train on so many lines only")
    parser.add_argument("--test", type=int, help="ask so many questions only")
    parser.add_argument(
        "--config", default='{"batch_size": 16}', help="more of the training config, as JSON"
    )
    parser.add_argument("--qlora", action="store_true")
    given = parser.parse_args()
    if not (given.data_dir / "train.jsonl").is_file():
        parser.error(f"DATA_DIR: no train.jsonl in {given.data_dir}")
    if "CYREX_API_URL" in os.environ:
        run(given)
        return
    stack = [sys.executable, "-m", "embedded", "run", "--fresh", "--data-dir", ".data/bench", "--"]
    sys.exit(subprocess.call([*stack, sys.executable, *sys.argv]))


if __name__ == "__main__":
    main()
