"""What a seed means: the work that is asked for, and the disturbances, in order. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.kill_points import POINTS

# Of a hundred pieces of work. Trainings come beside them: they take seconds, not milliseconds.
SHARES = {
    "job": 40,
    "conversation": 6,
    "job_twice": 8,
    "event": 25,
    "tool_once": 4,
    "tool_idempotent": 4,
    "cancelled": 6,
    "adapter_request": 4,
    "poison": 3,
}
TRAININGS = ("training", "training_event", "training_cancelled")
JOBS_A_TRAINING = 60
MAX_TRAININGS = 30
OPEN_AT_ONCE = 300

PLAIN = ("plain-1", "plain-2", "plain-3", "plain-4")
LEARNING = ("learning-1", "learning-2")
ONCE, IDEMPOTENT = "tool-once", "tool-idempotent"
COMPANIES = (*PLAIN, *LEARNING, ONCE, IDEMPOTENT)

JOBS_AN_ACTION = 60
KILLED = (
    "inference",
    "inference2",
    "training",
    "training2",
    "bridge",
    "bridge2",
    "tools",
    "web",
    "beat",
)
CHILDREN = ("engine", "helox")
# These miss their mark when nothing is being trained.
AT_TRAININGS = (
    "child:helox",
    "point:package_row",
    "point:registry_row",
    "kill:training",
    "kill:training2",
)
# In a run of a minute: a death of everything that holds work, and the places between two acts.
SHORT = (
    "kill:inference",
    "point:answer_row",
    "kill:valkey",
    "point:commit_xack",
    "kill:postgres",
    "kill:bridge",
    "point:brpop_start",
    "kill:web",
    "point:xadd_commit",
)
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class Item:
    """One thing to ask for. `marker` finds again what became of it."""

    number: int
    kind: str
    company: str
    marker: str


@dataclass(frozen=True)
class Action:
    """Do `what` to the stack, `gap` seconds after the one before is done."""

    number: int
    what: str
    gap: float

    def __str__(self) -> str:
        return f"{self.number} {self.what} after {self.gap:.1f} s"


def work(seed: int, jobs: int, trainings: int | None = None) -> list[Item]:
    """`jobs` pieces of work in the stated shares, shuffled, trainings among them."""
    drawn = random.Random(f"work {seed}")
    if trainings is None:
        trainings = min(MAX_TRAININGS, max(len(TRAININGS), jobs // JOBS_A_TRAINING))
    kinds = [TRAININGS[i % len(TRAININGS)] for i in range(trainings)]
    wheel = [kind for kind, share in SHARES.items() for _ in range(share)]
    drawn.shuffle(wheel)
    kinds += [wheel[i % len(wheel)] for i in range(jobs - len(kinds))]
    drawn.shuffle(kinds)
    return [
        Item(number, kind, _company(drawn, kind), f"s{seed}-{number:05d}")
        for number, kind in enumerate(kinds)
    ]


def _company(drawn: random.Random, kind: str) -> str:
    if kind == "tool_once":
        return ONCE
    if kind == "tool_idempotent":
        return IDEMPOTENT
    if kind in TRAININGS or kind == "adapter_request":
        return drawn.choice(LEARNING)
    return drawn.choice((*PLAIN, *LEARNING))


def schedule(seed: int, jobs: int, kills_only: bool = False) -> list[Action]:
    """The disturbances of a run: every kind at least once, then drawn, as many as `jobs` bear."""
    drawn = random.Random(f"schedule {seed}")
    if kills_only:
        names = list(SHORT)
        drawn.shuffle(names)
        return [Action(i, name, drawn.uniform(1.0, 2.0)) for i, name in enumerate(names)]
    names = []
    for round_ in _rounds(drawn):
        names += round_
        if len(names) >= jobs // JOBS_AN_ACTION:
            break
    # The stop lasts as long as ten others: once is what it gets.
    names.insert(len(names) // 2, "stop:valkey")
    return [Action(i, name, drawn.uniform(1.0, 5.0)) for i, name in enumerate(names)]


def _rounds(drawn: random.Random) -> Iterator[list[str]]:
    once = [
        *(f"kill:{name}" for name in (*KILLED, "valkey", "postgres")),
        *(f"child:{name}" for name in CHILDREN),
        *(f"point:{name}" for name in POINTS),
        "flush:valkey",
        "restart:postgres",
    ]
    while True:
        drawn.shuffle(once)
        yield list(once)


def portions(items: list[Item], actions: list[Action]) -> list[list[Item]]:
    """What to ask before each action and after the last, in nearly equal parts.

    What strikes a training finds one: these actions are dealt the trainings first.
    """
    count = len(actions) + 1
    short = [item for item in items if item.kind not in TRAININGS]
    parts = [short[len(short) * i // count : len(short) * (i + 1) // count] for i in range(count)]
    wanting = [action.number for action in actions if action.what in AT_TRAININGS]
    places = wanting + [number for number in range(count) if number not in wanting]
    for i, item in enumerate(item for item in items if item.kind in TRAININGS):
        parts[places[i % len(places)]].insert(0, item)
    return parts
