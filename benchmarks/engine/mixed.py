"""The cost of adapters: the same engine with none, few and many distinct ones in a step."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from benchmarks.engine import bound as engine_bound
from benchmarks.engine.arms import BATCH, Arm, Samples, alternate, ratio, request
from benchmarks.engine.models import LARGE, Model

DISTINCT = (1, 4, 16, 32)
FLAT_DISTINCT = 16
RESIDENT = 32
MANY_RESIDENT = 256
# Oversubscription: requests take turns over this many adapters, with room for half of them.
TOO_MANY = 64


@dataclass(frozen=True)
class Lengths:
    """Tokens of prompts and answers in a wave, and how many waves an arm runs."""

    prompt: int
    answer: int
    rounds: int


def lengths_of(model: Model, is_full: bool) -> Lengths:
    if model.shape is LARGE:
        return Lengths(prompt=2, answer=9, rounds=11 if is_full else 3)
    return Lengths(prompt=8, answer=32, rounds=25 if is_full else 5)


def measure(model: Model, is_full: bool) -> dict[str, Any]:
    """mixed_over_base {D}, share_of_bound {D}, resident_flatness and others of one model.

    The effect of 256 loaded adapters is measured on the large model only if `is_full`: loading them
    takes as long as everything else here.
    """
    print(f"{model.shape.name}: tokens a second of a full batch that decodes", flush=True)
    residents = (
        (0, RESIDENT, MANY_RESIDENT) if is_full or model.shape is not LARGE else (0, RESIDENT)
    )
    base, few, *rest = engines = [Arm(model, resident) for resident in residents]
    size = lengths_of(model, is_full)
    overheads: list[float] = []

    def rate(arm: Arm, distinct: int) -> float:
        wave = arm.mixed(distinct, size.prompt, size.answer)
        if arm is base:
            overheads.extend(
                (all_of_it - forward) / forward for all_of_it, forward in wave.decode_steps()
            )
        return wave.decode_rate()

    try:
        samples = alternate(
            {"no adapter": lambda: rate(base, 0)}
            | {f"{d} adapters": lambda d=d: rate(few, d) for d in DISTINCT}
            | {
                f"{d} of {MANY_RESIDENT}": lambda d=d, many=many: rate(many, d)
                for many in rest
                for d in (FLAT_DISTINCT, 0)
            },
            size.rounds,
        )
    finally:
        for arm in engines:
            arm.close()
    found: dict[str, Any] = {
        "mixed_over_base": {
            str(d): ratio(samples, f"{d} adapters", "no adapter") for d in DISTINCT
        },
        "share_of_bound": _shares(model, samples),
        "loop_overhead": round(statistics.median(overheads), 3),
    }
    if rest:
        d = FLAT_DISTINCT
        flatness = ratio(samples, f"{d} of {MANY_RESIDENT}", f"{d} adapters")
        found["resident_flatness"] = flatness
        found["base_only_over_base"] = ratio(samples, f"0 of {MANY_RESIDENT}", "no adapter")
    return found


def _shares(model: Model, samples: Samples) -> dict[str, float]:
    """The share of the bound that a step with adapters reaches, over that of one without."""
    machine = engine_bound.measure(model.shape)
    print(f"  {machine.flops / 1e9:.0f} GFLOP/s, {machine.bandwidth / 1e9:.1f} GB/s", flush=True)
    bound = {d: engine_bound.step_seconds(model.shape, machine, d) for d in (0, *DISTINCT)}
    for d in (0, *DISTINCT):
        print(f"  bound with {d:>2} adapters       {BATCH / bound[d]:12.1f}", flush=True)
    return {
        str(d): round(ratio(samples, f"{d} adapters", "no adapter") * bound[d] / bound[0], 3)
        for d in DISTINCT
    }


def too_many(model: Model, is_full: bool) -> dict[str, float]:
    """oversubscribed: throughput with more adapters than fit, over that with room for all."""
    print(f"{model.shape.name}: {TOO_MANY} adapters in turn, tokens a second", flush=True)
    fits, half = Arm(model, TOO_MANY), Arm(model, TOO_MANY // 2)
    adapters = model.adapters(TOO_MANY)

    def rate(arm: Arm) -> float:
        return arm.wave([request(ref, 16, 32) for ref in adapters * 2]).rate

    try:
        samples = alternate(
            {"all fit": lambda: rate(fits), "half of them fit": lambda: rate(half)},
            9 if is_full else 2,
        )
    finally:
        fits.close()
        half.close()
    return {"oversubscribed": ratio(samples, "half of them fit", "all fit")}
