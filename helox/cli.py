"""`python -m helox train spec.json` and `python -m helox check FILE`."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib
import json
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from helox.check_command import add_arguments, add_bounds, check, rows
from helox.config_check import read_spec
from helox.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_SYSTEM_ERROR,
    EXIT_USER_ERROR,
    Interrupted,
    TrainingError,
    UserError,
)
from helox.progress import Reporter
from helox.spec import TrainingSpec

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
LEAVE_SIGNALS = (signal.SIGTERM, signal.SIGINT)
STANDBY = Path("-")
PRELOADED = ("helox.train", "transformers.models.auto.modeling_auto", "peft", "bitsandbytes")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code; see `helox` for what each one says."""
    options = _parser().parse_args(arguments)
    if options.die_with_parent is not None:
        die_with_parent(options.die_with_parent)
    if options.command == "check":
        return check(options)
    if options.command == "rows":
        return rows(options)
    path = options.spec
    if path == STANDBY:
        _preload()
        path = Path(sys.stdin.readline().rstrip("\n"))
        if not path.name:
            return EXIT_DONE  # whoever stood by for a run has none
    try:
        text = path.read_bytes()
    except OSError as error:
        return _refuse(UserError("no_spec", f"{path}: {error.strerror}"))
    try:
        return _train(read_spec(text))
    except UserError as error:
        _leave_error_in_work_dir(text, error)
        return _refuse(error)


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when its parent dies.

    `parent` is the process id that the parent gave as its own, 0 if it gave none. The kernel means
    the thread that started this process: start it from one that lives as long as the run.
    """
    before = parent or os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != before:  # it died before it was asked for, and nothing will be sent
        os.kill(os.getpid(), signal.SIGKILL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="helox", description="Trains LoRA adapters.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser(
        "train", help="train an adapter; run again to continue after an interruption"
    )
    train.add_argument(
        "spec",
        type=Path,
        help="spec.json; - loads the libraries first, then reads the path from standard input",
    )
    reading = commands.add_parser("check", help="report on data and configuration, untrained")
    add_arguments(reading)
    listing = commands.add_parser("rows", help="print the rows of a file of any kind as JSONL")
    listing.add_argument("file", type=Path)
    add_bounds(listing)
    for command in (train, reading, listing):
        command.add_argument(
            "--die-with-parent",
            nargs="?",
            type=int,
            const=0,
            metavar="PID",
            help="be killed when the parent process (PID, if given) dies",
        )
    return parser


def _train(spec: TrainingSpec) -> int:
    stopping = False

    def stop(signal_number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in LEAVE_SIGNALS:
        signal.signal(number, stop)
    try:
        reporter = Reporter(spec.work_dir)
    except OSError as error:
        raise UserError(
            "bad_work_dir", f"work_dir cannot be made: {error.strerror}", field="work_dir"
        ) from error
    try:
        reporter.phase("starting")
        reporter.event("run.started", pid=os.getpid(), seed=spec.seed, use_qlora=spec.use_qlora)
        _prepare_environment()
        os.environ["OMP_NUM_THREADS"] = str(spec.threads)
        from helox.train import Trainer  # the signal handler and progress come before torch

        Trainer(spec, reporter, lambda: stopping).run()
        return EXIT_DONE
    except Interrupted:
        reporter.event("run.interrupted", step=reporter.progress.step)
        reporter.phase("interrupted", "stopped; the same command continues")
        return EXIT_INTERRUPTED
    except TrainingError as error:
        reporter.failed(error)
        print(f"helox: {error.message}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        reporter.failed(TrainingError("system_error", message))
        return EXIT_SYSTEM_ERROR


def _preload() -> None:
    """Everything that a training imports on its way, seconds of it; no device is touched."""
    _prepare_environment()
    # What is loaded now stays: to look through it again and again takes a quarter of the time.
    gc.disable()
    for name in PRELOADED:
        with contextlib.suppress(ImportError):  # the training says so, if it needs it
            importlib.import_module(name)
    gc.freeze()
    gc.enable()


def _prepare_environment() -> None:
    """What must be set before torch and transformers are imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # a base model is a local directory, always
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # It warns of a kernel package that would be fetched from the network.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _refuse(error: UserError) -> int:
    print(json.dumps(error.to_json(), ensure_ascii=False), file=sys.stderr)
    return EXIT_USER_ERROR


def _leave_error_in_work_dir(text: bytes, error: UserError) -> None:
    """A spec with a bad field still tells its reader where to look, if its work_dir is sound."""
    try:
        work_dir = json.loads(text)["work_dir"]
        Reporter(Path(work_dir)).failed(error)
    except (ValueError, KeyError, TypeError, OSError):
        return
