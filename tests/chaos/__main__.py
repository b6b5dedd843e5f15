"""`python -m tests.chaos --seed S --jobs N`: see `run`; the same seed is the same run."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.chaos.run import Options, main

DEFAULT_JOBS = 500

parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
parser.add_argument("--seed", type=int, default=None, help="default: drawn, and printed")
parser.add_argument("--jobs", type=int, default=DEFAULT_JOBS)
parser.add_argument("--data-dir", type=Path, default=Path(".data/chaos"))
parser.add_argument("--kills-only", action="store_true", help="the short run of `make test`")
given = parser.parse_args()
seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
sys.exit(main(Options(seed, given.jobs, given.data_dir, given.kills_only)))
