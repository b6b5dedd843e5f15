"""The main job, over HTTP: from two companies' data to their models' answers.

Both companies train on the same messages with the same label words, but mean the opposite by them.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from demo.client import UNFINISHED_ADAPTER, UNFINISHED_TRAINING, Api

SEED = 7
CALLERS = 16
POLL_SECONDS = 0.5

THINGS = (
    "kettle", "lamp", "jacket", "phone", "chair", "book", "blanket", "camera", "clock", "bag",
    "radio", "mirror", "table", "bottle", "watch", "printer", "carpet", "heater", "bicycle", "tent",
)  # fmt: skip
GOOD = (
    "works perfectly", "is better than I hoped", "arrived early and looks lovely",
    "is the best I ever had", "was worth every penny", "makes me happy every day",
    "is strong and beautiful", "is easy to use", "exceeded my hopes", "is simply great",
)  # fmt: skip
BAD = (
    "broke after a day", "is worse than I feared", "arrived late and damaged",
    "is the worst I ever had", "was a waste of money", "makes me angry every day",
    "is weak and ugly", "is impossible to use", "never worked at all", "is simply terrible",
)  # fmt: skip
OPENINGS = ("The {}", "My new {}", "This {}", "I think the {}", "Our {}", "Honestly, the {}")
LABELS = {"acme": ("accept", "refuse"), "globex": ("refuse", "accept")}


@dataclass(frozen=True)
class Message:
    text: str
    good: bool

    def label(self, company: str) -> str:
        return LABELS[company][0 if self.good else 1]


def messages(count: int) -> Iterator[Message]:
    """Distinct messages in a fixed random order, praise and complaint in turn."""
    drawn = random.Random(SEED)
    texts = [
        [f"{o.format(t)} {e}." for o, t, e in itertools.product(OPENINGS, THINGS, endings)]
        for endings in (GOOD, BAD)
    ]
    for pile in texts:
        drawn.shuffle(pile)
    for i in range(count):
        yield Message(texts[i % 2][i // 2], good=i % 2 == 0)


def progress_line(run: Any) -> str:
    """Where a training is: its place in the queue, or its step and loss; empty between the two."""
    progress = run["progress"]
    if run["position"]:
        return f"{run['position']} trainings stand before it"
    if run["step"] != "train" or not progress.get("step"):
        return ""
    line = f"step {progress['step']} of {progress.get('total_steps')}"
    if progress.get("loss") is not None:
        line += f", loss {progress['loss']:.3f}"
    if progress.get("seconds_left"):
        line += f", {progress['seconds_left']:.0f} s left"
    return line


@dataclass(frozen=True)
class DemoCompany:
    name: str
    company_id: str
    api: Api
    use_qlora: bool
    key: str = field(repr=False)


def say_since(started: float, text: str) -> None:
    """Print a line with the seconds since `started`, a reading of the monotonic clock."""
    print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)


class Demo:
    """Runs the job and says what it does and sees."""

    def __init__(self, operator: Api, examples: int, questions: int, epochs: int) -> None:
        self.operator = operator
        self.epochs = epochs
        drawn = list(messages(examples + questions))
        self.train, self.test = drawn[:examples], drawn[examples:]
        self.companies: list[DemoCompany] = []
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        say_since(self._started, text)

    def run(self) -> dict[str, Any]:
        companies = [self.create("acme", use_qlora=False), self.create("globex", use_qlora=True)]
        self.companies = companies
        self.say(f"same messages, opposite meaning: {self.train[0].text!r} is")
        for company in companies:
            self.say(f"  {self.train[0].label(company.name)!r} to {company.name}")
        requested = {c.name: self.request_training(c) for c in companies}
        trained = self.follow({company: requested[company.name] for company in companies})
        for company in companies:
            self.await_decision(company, trained[company.name]["adapter_id"])
        table = self.measure(companies)
        self.print_table(table)
        for company in companies:
            self.list_all(company, requested[company.name])
        return table

    def create(self, name: str, use_qlora: bool) -> DemoCompany:
        company_id = f"{name}-{os.urandom(3).hex()}"
        answer = self.operator.post("/companies", {"company_id": company_id, "name": name})
        self.say(f"POST /companies → company {company_id} and its first API key")
        api = Api(self.operator.url, answer["api_key"])
        return DemoCompany(name, company_id, api, use_qlora, answer["api_key"])

    def request_training(self, company: DemoCompany) -> str:
        answer = company.api.post(
            "/company-automation/train-adapter",
            {
                "company_id": company.company_id,
                "training_data": [
                    {"input": m.text, "output": m.label(company.name)} for m in self.train
                ],
                "config": {"num_epochs": self.epochs},
                "use_qlora": company.use_qlora,
                "seed": SEED,
            },
        )
        request_id = str(answer["request_id"])
        kind = "QLoRA" if company.use_qlora else "LoRA"
        self.say(
            f"POST /company-automation/train-adapter → {company.name}: {kind} on "
            f"{len(self.train)} examples, {answer['status']}"
        )
        return request_id

    def follow(self, requests: dict[DemoCompany, str]) -> dict[str, Any]:
        """Print what changes in all trainings until each has ended; returns them by company."""
        seen: dict[DemoCompany, int] = dict.fromkeys(requests, 0)
        shown: dict[DemoCompany, str] = dict.fromkeys(requests, "")
        ended: dict[str, Any] = {}
        while len(ended) < len(requests):
            for company, request_id in requests.items():
                if company.name in ended:
                    continue
                path = f"/company-automation/training/{request_id}"
                run = company.api.get(path)
                for event in company.api.get(f"{path}/events", after=seen[company])["events"]:
                    seen[company] = event["id"]
                    self.say(f"{company.name}: {event['type']}: {event['message']}")
                line = progress_line(run)
                if line and line != shown[company]:
                    self.say(f"{company.name}: {line}")
                    shown[company] = line
                if run["status"] not in UNFINISHED_TRAINING:
                    ended[company.name] = run
            time.sleep(POLL_SECONDS)
        for name, run in ended.items():
            if run["status"] != "succeeded":
                raise SystemExit(f"{name}: training {run['status']}: {run['error']}")
        return ended

    def await_decision(self, company: DemoCompany, adapter_id: str) -> None:
        path = f"/company-automation/adapters/{adapter_id}"
        adapter = company.api.get(path)
        while adapter["status"] in UNFINISHED_ADAPTER:
            time.sleep(POLL_SECONDS)
            adapter = company.api.get(path)
        reason = adapter["metadata"].get("decision", adapter["error"])
        self.say(
            f"{company.name}: adapter version {adapter['version']} {adapter['status']}: {reason}"
        )
        if not adapter["champion"]:
            raise SystemExit(f"{company.name}: the adapter does not serve")

    def measure(self, companies: list[DemoCompany]) -> dict[str, dict[str, float]]:
        """Exact matches on held-out messages: base, own adapter, the other company's adapter."""
        self.say(f"POST /company-automation/process: {len(self.test)} held-out messages, 3 arms")
        table: dict[str, dict[str, float]] = {}
        for company in companies:
            other = next(c for c in companies if c is not company)
            table[company.name] = {
                "base": self.accuracy(company, company, use_adapter=False),
                "own adapter": self.accuracy(company, company, use_adapter=True),
                f"{other.name}'s adapter": self.accuracy(company, other, use_adapter=True),
            }
        return table

    def accuracy(self, labels: DemoCompany, answers: DemoCompany, use_adapter: bool) -> float:
        """Share of answers that are exactly what `labels` means, when `answers` is asked."""

        def ask(message: Message) -> bool:
            job = answers.api.process({"input": message.text}, use_adapter=use_adapter)
            if job["status"] != "completed":
                raise SystemExit(f"job {job['job_id']} {job['status']}: {job['error']}")
            if use_adapter and job["adapter_id"] is None:
                raise SystemExit(f"job {job['job_id']} was answered without the adapter")
            return str(job["result"]).strip() == message.label(labels.name)

        with ThreadPoolExecutor(CALLERS) as pool:
            right = list(pool.map(ask, self.test))
        return sum(right) / len(right)

    def print_table(self, table: dict[str, dict[str, float]]) -> None:
        print(f"\nexact match on {len(self.test)} held-out messages\n")
        for name, row in table.items():
            cells = "   ".join(f"{arm}: {value:6.1%}" for arm, value in row.items())
            print(f"  {name:8} {cells}")
        print(flush=True)

    def list_all(self, company: DemoCompany, request_id: str) -> None:
        adapters = company.api.get("/company-automation/adapters")["adapters"]
        jobs = company.api.get("/company-automation/jobs", limit=3)["jobs"]
        events = company.api.get(f"/company-automation/training/{request_id}/events")["events"]
        self.say(f"{company.name} sees, and nobody else:")
        for adapter in adapters:
            mark = ", champion" if adapter["champion"] else ""
            self.say(f"  adapter {adapter['adapter_id']}: {adapter['status']}{mark}")
        for job in jobs:
            asked = job["data"]["input"]
            self.say(f"  job {job['job_id']} {job['status']}: {asked!r} → {job['result']!r}")
        self.say(f"  events: {', '.join(event['type'] for event in events)}")
