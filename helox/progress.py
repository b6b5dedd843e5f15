"""What a watcher of the run can read: progress.json, events.jsonl and, at the worst, error.json."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helox.errors import TrainingError
from helox.files import write_json

PROGRESS_FILE = "progress.json"
EVENTS_FILE = "events.jsonl"
ERROR_FILE = "error.json"

PROGRESS_EVERY_SECONDS = 0.5
METRICS_EVERY_SECONDS = 2.0


@dataclass
class Progress:
    """The content of progress.json. Losses are means over trained tokens."""

    phase: str = "starting"  # checking loading training evaluating saving done failed interrupted
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    tokens: int = 0
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    message: str = ""


class Reporter:
    """Writes the progress files of one run into its work directory."""

    def __init__(self, work_dir: Path) -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        self._dir = work_dir
        self.progress = Progress()
        self._written = 0.0
        self._metrics_written = 0.0
        (work_dir / ERROR_FILE).unlink(missing_ok=True)

    def phase(self, name: str, message: str = "") -> None:
        self.progress.phase = name
        self.progress.message = message
        self._write()

    def training_step(self, **values: Any) -> None:
        """Called at every step; writes twice a second, since a step may take a millisecond."""
        for name, value in values.items():
            setattr(self.progress, name, value)
        now = time.monotonic()
        if now - self._written >= PROGRESS_EVERY_SECONDS:
            self._write()
        if now - self._metrics_written >= METRICS_EVERY_SECONDS:
            self._metrics_written = now
            p = self.progress
            self.event("metrics", step=p.step, loss=p.loss, learning_rate=p.learning_rate)

    def event(self, type_: str, **data: Any) -> None:
        """Appends one line: {"time", "type", …}. A line cut off by a kill is closed first."""
        entry = {"time": datetime.now(UTC).isoformat(), "type": type_, **data}
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        with (self._dir / EVENTS_FILE).open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)

    def failed(self, error: TrainingError) -> None:
        write_json(self._dir / ERROR_FILE, error.to_json())
        self.event("run.failed", **error.to_json())
        self.phase("failed", error.message)

    def _write(self) -> None:
        self._written = time.monotonic()
        write_json(self._dir / PROGRESS_FILE, asdict(self.progress), durable=False)
