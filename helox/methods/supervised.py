"""Supervised fine-tuning: the cross-entropy of the answers' tokens behind their prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from helox.augment import Augmenter
from helox.base import Base
from helox.config_check import max_length_for
from helox.data import read_dataset
from helox.evaluate import evaluate
from helox.mask import Encoder, Example
from helox.model import Learner
from helox.pack import Batch, layout, split_step, steps_of_epoch
from helox.plan import make_plan
from helox.spec import TrainingSpec


class Supervised:
    """The method `supervised`; see `helox.methods.method.Method`."""

    def __init__(self, spec: TrainingSpec, base: Base) -> None:
        self._config = spec.config
        self._seed = spec.seed
        self.data = read_dataset(spec.data, base, spec.config, spec.validation_file)
        self._amounts = spec.config.augmentation_for(self.data.structured, base.parameters)
        varied = self._amounts.variation > 0
        self.plan = make_plan(spec.config, base, self.data.train, varied=varied)
        encoder = Encoder.of(base, max_length_for(spec.config, base.max_positions))
        self._augment = Augmenter(self.data.conversations, encoder, self._amounts, spec.seed)

    def describe(self) -> dict[str, Any]:
        return {"prompt_noise": self._amounts.noise, "copy_variation": self._amounts.variation}

    def steps(self, epoch: int, done: int) -> Iterator[list[Example]]:
        size = self.plan.step_size
        steps = steps_of_epoch(self.data.train, size, seed=self._seed, epoch=epoch, done=done)
        for examples in steps:
            yield self._augment(examples, epoch=epoch)

    def batches(self, examples: Sequence[Example], size: int, *, packing: bool) -> list[Batch]:
        pack_length = self._config.pack_length
        return [layout(part, packing, pack_length) for part in split_step(examples, size)]

    def weight(self, batch: Batch) -> int:
        return len(batch.targets_N)

    def loss_sum(self, learner: Learner, batch: Batch) -> torch.Tensor:
        return learner.predict(batch).loss_sum

    def evaluate(
        self, learner: Learner, *, packing: bool, before_batch: Callable[[], None]
    ) -> dict[str, float]:
        if not self.data.holdout:
            return {}
        found = evaluate(
            learner,
            self.data.holdout,
            packing=packing,
            pack_length=self._config.pack_length,
            before_batch=before_batch,
        )
        return {
            "holdout_loss": found.loss,
            "holdout_token_accuracy": found.token_accuracy,
            "holdout_exact": found.exact,
        }
