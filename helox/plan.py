"""How long, in what batches and at what rate a run trains: what the settings leave open.

The rules are functions of the settings, the examples and the width of the base alone, so that a run
that goes on after a kill plans the same. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from helox.base import Base
from helox.mask import Example
from helox.spec import TrainingConfig

# LoRA's rate falls with the width of the base. The exponent is that of "LoRA Without Regret"
# (Thinking Machines, 2025); the factor gives 2e-3 at 256 and 1.1e-3 at 576, which were measured,
# and 2.3e-4 at 4096, where QLoRA's paper has 2e-4.
LEARNING_RATE_AT_REFERENCE = 4e-4
REFERENCE_WIDTH = 2000
WIDTH_EXPONENT = 0.78
WIDTH_UNKNOWN = 4096  # a base that does not say how wide it is: the careful end

# Examples that a run sees, repeats included: 1,400 where there are 300, and as their square root.
SEEN_EXAMPLES = 1400
SEEN_AT_EXAMPLES = 300
MIN_EPOCHS, MAX_EPOCHS = 3, 100
MIN_STEPS = 100  # fewer teach nothing, however few the examples are
# Examples whose copied words change in every epoch go on teaching.
VARIATION_FACTOR = 1.5
# Beyond so many tokens a run has no more than MIN_EPOCHS: hours on a CPU, where time is dear.
MAX_AUTO_TOKENS = 2_000_000

# (fewer examples than, examples in a batch)
BATCH_SIZES = ((64, 4), (2_000, 8))
LARGEST_BATCH_SIZE = 16

WARMUP_RATIO = 0.03
MIN_WARMUP_STEPS = 5
MAX_WARMUP_RATIO = 0.1


@dataclass(frozen=True)
class Plan:
    """Every number that the settings may leave open. Sizes are in examples."""

    learning_rate: float  # the highest, after the warm-up
    num_epochs: int
    batch_size: int  # of a forward pass, where memory allows
    step_size: int  # of an optimiser step
    steps_per_epoch: int
    warmup_steps: int
    may_stop_early: bool  # the number of epochs was not asked for

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.num_epochs


def make_plan(
    config: TrainingConfig, base: Base, examples: Sequence[Example], *, varied: bool = False
) -> Plan:
    """`examples` are those that are trained on; `varied`: copied words change in every epoch."""
    count = len(examples)
    batch_size = config.batch_size or batch_size_for(count)
    step_size = batch_size * config.gradient_accumulation_steps
    steps_per_epoch = ceil(count / step_size)
    tokens = sum(len(example.ids) for example in examples)
    epochs = config.num_epochs or epochs_for(count, steps_per_epoch, tokens, varied=varied)
    return Plan(
        learning_rate=config.learning_rate or learning_rate_for(base.width),
        num_epochs=epochs,
        batch_size=batch_size,
        step_size=step_size,
        steps_per_epoch=steps_per_epoch,
        warmup_steps=warmup_steps_for(config, steps_per_epoch * epochs),
        may_stop_early=config.num_epochs is None,
    )


def learning_rate_for(width: int | None) -> float:
    """The default for a base whose hidden states have `width` numbers."""
    ratio = REFERENCE_WIDTH / (width or WIDTH_UNKNOWN)
    return float(f"{LEARNING_RATE_AT_REFERENCE * ratio**WIDTH_EXPONENT:.2g}")


def batch_size_for(count: int) -> int:
    """Examples in a batch, by the number of examples to train on."""
    size = next((size for below, size in BATCH_SIZES if count < below), LARGEST_BATCH_SIZE)
    return min(size, count)


def epochs_for(count: int, steps_per_epoch: int, tokens: int, *, varied: bool) -> int:
    """More epochs for fewer examples, never fewer than MIN_STEPS steps where the tokens allow."""
    seen = SEEN_EXAMPLES * sqrt(count / SEEN_AT_EXAMPLES)
    wanted = seen * (VARIATION_FACTOR if varied else 1) / count
    wanted = max(wanted, MIN_STEPS / steps_per_epoch, MIN_EPOCHS)
    affordable = max(MIN_EPOCHS, MAX_AUTO_TOKENS // tokens)
    return min(ceil(wanted), affordable, MAX_EPOCHS)


def warmup_steps_for(config: TrainingConfig, total_steps: int) -> int:
    """Steps of rising rate: `warmup_steps`, else `warmup_ratio`, else a few at least."""
    if config.warmup_steps is not None:
        return min(config.warmup_steps, total_steps)
    if config.warmup_ratio is not None:
        return int(total_steps * config.warmup_ratio)
    few = max(MIN_WARMUP_STEPS, round(total_steps * WARMUP_RATIO))
    return min(few, int(total_steps * MAX_WARMUP_RATIO))
