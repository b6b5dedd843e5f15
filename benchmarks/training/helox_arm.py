"""Helox's own trainer as a process; the last line is JSON.

python -m benchmarks.training.helox_arm FOLDER BASE THREADS packed|plain
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.training.work import FIRST_ADAPTER, make_spec
from helox.files import write_json
from helox.progress import Reporter
from helox.train import Trainer


class Recorder(Reporter):
    """Keeps each step's loss."""

    def __init__(self, work_dir: Path) -> None:
        super().__init__(work_dir)
        self.losses: list[float] = []

    def training_step(self, **values: Any) -> None:
        self.losses.append(values["loss"])
        super().training_step(**values)


def main() -> None:
    folder, base, threads, how = sys.argv[1:]
    spec = make_spec(Path(folder), Path(base), int(threads), packing=how == "packed")
    shutil.rmtree(spec.work_dir, ignore_errors=True)
    reporter = Recorder(spec.work_dir)
    trainer = Trainer(spec, reporter, lambda: False)
    trainer.check()
    trainer.load()
    first = Path(folder) / FIRST_ADAPTER
    if not first.exists():
        first.mkdir()
        from safetensors.torch import save_file

        save_file(trainer.learner.adapter_state(), first / "adapter_model.safetensors")
        write_json(first / "adapter_config.json", trainer.adapter_config)
    started, cpu = time.monotonic(), time.process_time()
    trainer.train()
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"seconds": seconds, "cpu_seconds": cpu, "losses": reporter.losses, "peak_bytes": peak}
    print(json.dumps({**found, "packing": trainer.packing_said}))


if __name__ == "__main__":
    main()
