"""The recipe: check → load → train → evaluate → save, on one CPU or one GPU.

Features:
    - LoRA, and QLoRA on NF4 with double quantisation and bf16 compute; rsLoRA.
    - Loss over the answers' tokens alone, summed over a whole optimiser step and divided by their
      number there: accumulation, packing and micro-batches of any size give the same gradient.
    - Words of users and copied words vary from epoch to epoch (`helox.augment`).
    - Packing with block-diagonal attention and positions from 0 in every example.
    - Fused AdamW on a CPU, paged 8-bit AdamW on a GPU; cosine, linear or constant learning rate.
    - Killed at any step and started again, it ends in the same bytes (same CPU type and threads).
    - Out of GPU memory: the longest batch is tried first; the micro-batch halves, the number of
      micro-batches doubles, the step stays the same.
    - A loss, gradient or weight that is not finite fails the run, and nothing is published.

Limits:
    - One process, one device. No full fine-tuning, DoRA, trained biases, embeddings or vocabulary:
      nothing that cannot be served beside other adapters.
    - On a GPU a rerun agrees closely, not to the byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from helox.augment import Augmenter
from helox.base import Base
from helox.checkpoint import (
    Counters,
    clear_checkpoints,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from helox.checkpoint_files import CHECKPOINTS_DIR
from helox.data import read_dataset, write_lines
from helox.errors import Interrupted, refuse_non_finite
from helox.evaluate import evaluate
from helox.mask import Encoder, Example
from helox.memory import fit_micro_batch
from helox.model import build_learner
from helox.optim import learning_rate_at, make_optimizer
from helox.pack import layout, split_step, steps_of_epoch
from helox.progress import Reporter
from helox.publish import is_published, publish
from helox.receipt import fingerprint_of, make_receipt
from helox.spec import TrainingSpec

CHECKPOINT_EVERY_SECONDS = 20.0
HOLDOUT_FILE = "holdout.jsonl"


class Trainer:
    """One run. `stop` is asked after every step; True means: save a checkpoint and leave."""

    def __init__(self, spec: TrainingSpec, reporter: Reporter, stop: Callable[[], bool]) -> None:
        self.spec = spec
        self.config = spec.config
        self.reporter = reporter
        self.stop = stop
        self.checkpoints = spec.work_dir / CHECKPOINTS_DIR

    def run(self) -> None:
        """Trains to the end.

        Raises:
            TrainingError: the run failed; nothing was published.
            Interrupted: `stop` said so; the same call continues.
        """
        self.check()
        if not is_published(self.spec.output_dir, self.fingerprint):
            self.load()
            self.train()
            self.save()
        self.reporter.phase("done")

    # Set up

    def check(self) -> None:
        """Reads base and data; what a user can get wrong is found here, before any compute."""
        self.reporter.phase("checking")
        self.base = Base.open(self.spec.base_model, self.spec.enable_thinking)
        self.data = read_dataset(self.spec.data, self.base, self.config)
        self.fingerprint = fingerprint_of(self.spec, self.base, self.data)
        self.step_size = self.config.batch_size * self.config.gradient_accumulation_steps
        self.steps_per_epoch = self.data.steps_per_epoch(self.config)
        self.total_steps = self.data.total_steps(self.config)
        self.reporter.progress.total_steps = self.total_steps
        self.amounts = self.config.augmentation_for(self.data.structured, self.base.parameters)
        encoder = Encoder.of(self.base, self.config.max_length)
        self.augment = Augmenter(self.data.conversations, encoder, self.amounts, self.spec.seed)
        write_lines(self.spec.work_dir / HOLDOUT_FILE, self.data.holdout_lines)
        self.reporter.event("data.checked", sha256=self.data.sha256, **self.data.counts)

    def load(self) -> None:
        """Builds model and optimiser, and goes back to a checkpoint if there is one."""
        self._leave_if_asked()
        self.reporter.phase("loading")
        torch.set_num_threads(self.spec.threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.learner = build_learner(
            self.base,
            self.config,
            use_qlora=self.spec.use_qlora,
            seed=self.spec.seed,
            device=self.device,
        )
        self.packing = self.config.packing and self.learner.can_pack()
        self.learner.model.train()  # a base is loaded for inference: no dropout
        self.peak_rate = self.config.learning_rate_for(self.base.parameters)
        self.parameters = list(self.learner.trainable().values())
        self.adapter_config = self.learner.adapter_config(self.base.name)
        self.optimizer = make_optimizer(self.parameters, self.config.weight_decay, self.device)
        self.counters = Counters(micro_batch=min(self.config.batch_size, len(self.data.train)))
        self._resume()
        if self.device.type == "cuda":  # a CPU has no such error: its kernel kills the process
            longest = sorted(self.data.train, key=lambda e: -len(e.ids))[: self.config.batch_size]
            with torch.random.fork_rng():
                self._gradients_in_memory(longest)
            self.optimizer.zero_grad(set_to_none=True)
        self._leave_if_asked()

    def _resume(self) -> None:
        found = find_checkpoint(
            self.checkpoints, self.spec.resume, self.fingerprint, self.optimizer
        )
        if found is None:
            clear_checkpoints(self.checkpoints)
            return
        self.counters = load_checkpoint(found, self.learner, self.optimizer)
        self.reporter.event("run.resumed", step=self.counters.step)

    # Train

    def train(self) -> None:
        """All epochs that are left, each followed by an evaluation."""
        how = {"precision": self.learner.precision, "packing": self.packing}
        self.reporter.event("training.started", step=self.counters.step, **how)
        self.checkpointed = time.monotonic()
        if self.counters.before is None:
            self.counters.before = self._evaluate()
        self.started = time.monotonic()
        self.first_step, self.first_tokens = self.counters.step, self.counters.tokens
        for epoch in range(len(self.counters.epochs), self.config.num_epochs):
            self.reporter.phase("training")
            done = self.counters.step - epoch * self.steps_per_epoch
            steps = steps_of_epoch(
                self.data.train, self.step_size, seed=self.spec.seed, epoch=epoch, done=done
            )
            for examples in steps:
                self.step(self.augment(examples, epoch=epoch))
                self._checkpoint_if_due()
            self._end_epoch(epoch)

    def step(self, examples: list[Example]) -> None:
        """One optimiser step over all `examples`."""
        counters = self.counters
        rate = learning_rate_at(counters.step, self.total_steps, self.peak_rate, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss_sum, tokens, trained_tokens = self._gradients_in_memory(examples)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm).item()
        refuse_non_finite(counters.step, loss=loss_sum, gradient=norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        counters.step += 1
        counters.tokens += tokens
        counters.trained_tokens += trained_tokens
        counters.epoch_loss_sum += loss_sum
        counters.epoch_loss_tokens += trained_tokens
        self._report_step(loss_sum / trained_tokens, rate)

    def _gradients_in_memory(self, examples: list[Example]) -> tuple[float, int, int]:
        """Leaves the mean gradient over the trained tokens; returns (loss sum, tokens, trained)."""
        figures = (0.0, 0, 0)

        def attempt(size: int) -> None:
            nonlocal figures
            self.optimizer.zero_grad(set_to_none=True)
            figures = self._gradients(examples, size)

        fitted = fit_micro_batch(attempt, self.counters.micro_batch)
        if fitted < self.counters.micro_batch:
            self.counters.micro_batch = fitted
            self.reporter.event("memory.reduced", micro_batch=fitted)
        return figures

    def _gradients(self, examples: list[Example], size: int) -> tuple[float, int, int]:
        packing, pack_length = self.packing, self.config.pack_length
        batches = [layout(part, packing, pack_length) for part in split_step(examples, size)]
        trained_tokens = sum(len(batch.targets_N) for batch in batches)
        loss_sum = 0.0
        for batch in batches:
            predicted = self.learner.predict(batch)
            torch.autograd.backward(predicted.loss_sum / trained_tokens)
            loss_sum += predicted.loss_sum.item()
        return loss_sum, sum(batch.tokens for batch in batches), trained_tokens

    def _end_epoch(self, epoch: int) -> None:
        counters = self.counters
        figures = {"epoch": epoch + 1, "loss": counters.epoch_loss_sum / counters.epoch_loss_tokens}
        figures.update(self._evaluate())
        counters.epochs.append(figures)
        counters.epoch_loss_sum, counters.epoch_loss_tokens = 0.0, 0
        self.reporter.event("epoch.done", step=counters.step, **figures)

    def _evaluate(self) -> dict[str, float]:
        """The hold-out figures now; none without a hold-out."""
        if not self.data.holdout:
            return {}
        self.reporter.phase("evaluating")
        result = evaluate(
            self.learner,
            self.data.holdout,
            packing=self.packing,
            pack_length=self.config.pack_length,
            before_batch=self._checkpoint_if_asked,
        )
        refuse_non_finite(self.counters.step, loss=result.loss)
        self.reporter.progress.eval_loss = result.loss
        return {"holdout_loss": result.loss, "holdout_token_accuracy": result.token_accuracy}

    # Leave

    def _checkpoint_if_due(self) -> None:
        self._checkpoint_if_asked()
        every = self.config.checkpoint_every_steps
        if every is None:
            due = time.monotonic() - self.checkpointed >= CHECKPOINT_EVERY_SECONDS
        else:
            due = self.counters.step % every == 0
        if due:
            self._checkpoint()

    def _checkpoint_if_asked(self) -> None:
        if self.stop():
            self._checkpoint()
            self._leave_if_asked()

    def _leave_if_asked(self) -> None:
        if self.stop():
            raise Interrupted

    def _checkpoint(self) -> None:
        self._refuse_non_finite_weights()
        save_checkpoint(
            self.checkpoints,
            self.fingerprint,
            self.counters,
            self.learner,
            self.optimizer,
            self.adapter_config,
        )
        self.checkpointed = time.monotonic()
        self.reporter.event("checkpoint.saved", step=self.counters.step)

    def _refuse_non_finite_weights(self) -> None:
        total = sum(parameter.detach().abs().sum().item() for parameter in self.parameters)
        refuse_non_finite(self.counters.step, weights=total)

    def _report_step(self, loss: float, rate: float) -> None:
        counters = self.counters
        seconds = time.monotonic() - self.started
        steps = counters.step - self.first_step
        self.reporter.training_step(
            step=counters.step,
            epoch=round(counters.step / self.steps_per_epoch, 3),
            loss=loss,
            learning_rate=rate,
            tokens=counters.tokens,
            tokens_per_second=round((counters.tokens - self.first_tokens) / seconds, 1),
            seconds_left=round(seconds / steps * (self.total_steps - counters.step), 1),
        )

    # Save

    def save(self) -> None:
        """Publishes adapter, its configuration and the receipt: all three, or none."""
        self.reporter.phase("saving")
        self._refuse_non_finite_weights()
        sha256 = publish(
            self.spec.output_dir,
            self.learner.adapter_state(),
            self.adapter_config,
            lambda adapter_sha256: make_receipt(
                self.spec,
                self.base,
                self.data,
                adapter_sha256=adapter_sha256,
                precision=self.learner.precision,
                learning_rate=self.peak_rate,
                amounts=self.amounts,
                metrics=self.counters.metrics(),
                device=self.device.type,
            ),
        )
        self.reporter.event("run.done", adapter_sha256=sha256)
