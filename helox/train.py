"""The recipe: check → load → train → evaluate → save, on one CPU or one GPU.

A method says what is learned and by which loss (`helox.methods`), a plan how long (`helox.plan`).

Features:
    - LoRA, and QLoRA on NF4 with double quantisation and bf16 compute; rsLoRA.
    - Loss over the answers' tokens alone, summed over a whole optimiser step and divided by their
      number there: accumulation, packing and micro-batches of any size give the same gradient.
    - Words of users and copied words vary from epoch to epoch (`helox.augment`).
    - The best epoch by hold-out is published; where `num_epochs` is not given, a run stops when
      more of them are in vain (`helox.best_epoch`). `continue_from`: it starts from an adapter.
    - Packing with block-diagonal attention and positions from 0 in every example.
    - Fused AdamW on a CPU, paged 8-bit AdamW on a GPU; cosine, linear or constant learning rate.
    - Killed at any step and started again, it ends in the same bytes (same CPU type and threads).
    - Out of GPU memory: the longest batch is tried first; micro-batches halve, the step stays.
    - A loss, gradient or weight that is not finite fails the run; nothing is published.

Limits:
    - One process, one device. No full fine-tuning, DoRA, trained biases, embeddings or vocabulary:
      nothing that cannot be served beside other adapters.
    - On a GPU a rerun agrees closely, not to the byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

import torch

from helox.base import Base
from helox.best_epoch import best_epoch, should_stop
from helox.checkpoint import (
    AdapterState,
    Counters,
    clear_checkpoints,
    find_checkpoint,
    load_best,
    load_checkpoint,
    save_checkpoint,
)
from helox.checkpoint_files import CHECKPOINTS_DIR
from helox.data import write_lines
from helox.errors import Interrupted, refuse_non_finite
from helox.gradients import Gradients
from helox.lineage import Parent
from helox.mask import Example
from helox.methods.method import load_method
from helox.model import build_learner
from helox.optim import learning_rate_at, make_optimizer
from helox.progress import Reporter
from helox.publish import is_published, publish
from helox.receipt import fingerprint_of, make_receipt
from helox.spec import TrainingSpec

CHECKPOINT_EVERY_SECONDS = 20.0
HOLDOUT_FILE = "holdout.jsonl"
PACKING_ON, PACKING_NOT_ASKED = "on", "config.packing is false"


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
        self.parent = None
        if self.spec.continue_from is not None:
            self.parent = Parent.open(self.spec.continue_from, self.base, self.config)
        self.method = load_method(self.spec, self.base)
        self.data, self.plan = self.method.data, self.method.plan
        self.held_out = len(self.data.holdout)
        self.fingerprint = fingerprint_of(self.spec, self.base, self.data, self.parent)
        self.reporter.progress.total_steps = self.plan.total_steps
        write_lines(self.spec.work_dir / HOLDOUT_FILE, self.data.holdout_lines)
        self.reporter.event("data.checked", sha256=self.data.sha256, **self.data.counts)
        self.reporter.event("run.planned", **asdict(self.plan))

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
        self._decide_packing()
        if self.parent is not None:
            self.parent.load_into(self.learner)
            self.reporter.event("run.continues", adapter_sha256=self.parent.sha256)
        self.learner.model.train()  # a base is loaded for inference: no dropout
        self.parameters = list(self.learner.trainable().values())
        self.adapter_config = self.learner.adapter_config(self.base.name)
        self.optimizer = make_optimizer(self.parameters, self.config.weight_decay, self.device)
        self.counters = Counters(micro_batch=min(self.plan.batch_size, len(self.data.train)))
        self.best: AdapterState | None = None  # the weights of the best epoch that has ended
        self._resume()
        parts = (self.learner, self.method, self.optimizer, self.reporter)
        self.gradients = Gradients(*parts, packing=self.packing)
        if self.device.type == "cuda":  # a CPU has no such error: its kernel kills the process
            longest = sorted(self.data.train, key=lambda e: -len(e.ids))[: self.plan.batch_size]
            self.gradients.try_out(longest, self.counters)
        self._leave_if_asked()

    def _decide_packing(self) -> None:
        """Packs where that is asked for and safe; an event says why it does not."""
        reason = self.learner.why_not_pack() if self.config.packing else PACKING_NOT_ASKED
        self.packing = reason is None
        self.packing_said = reason or PACKING_ON
        if reason is not None:
            self.reporter.event("packing.off", reason=reason)

    def _resume(self) -> None:
        found = find_checkpoint(
            self.checkpoints, self.spec.resume, self.fingerprint, self.optimizer
        )
        if found is None:
            clear_checkpoints(self.checkpoints)
            return
        self.counters = load_checkpoint(found, self.learner, self.optimizer)
        self.best = load_best(found)
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
        for epoch in range(len(self.counters.epochs), self.plan.num_epochs):
            if self._stops_early():
                break
            self.reporter.phase("training")
            done = self.counters.step - epoch * self.plan.steps_per_epoch
            for examples in self.method.steps(epoch, done):
                self.step(examples)
                self._checkpoint_if_due()
            self._end_epoch(epoch)

    def _stops_early(self) -> bool:
        counters = self.counters
        if not self.plan.may_stop_early or not should_stop(counters.epochs, self.held_out):
            return False
        self.reporter.progress.total_steps, self.reporter.progress.seconds_left = counters.step, 0.0
        self.reporter.event("run.stopped_early", step=counters.step, epoch=len(counters.epochs))
        return True

    def step(self, examples: list[Example]) -> None:
        """One optimiser step over all `examples`."""
        counters = self.counters
        rate = learning_rate_at(counters.step, self.plan, self.config.lr_scheduler)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        figures = self.gradients.compute(examples, counters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_grad_norm).item()
        refuse_non_finite(counters.step, loss=figures.loss_sum, gradient=norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        counters.step += 1
        counters.tokens += figures.tokens
        counters.trained_tokens += figures.weight
        counters.epoch_loss_sum += figures.loss_sum
        counters.epoch_loss_tokens += figures.weight
        self._report_step(figures.loss_sum / figures.weight, rate)

    def _end_epoch(self, epoch: int) -> None:
        counters = self.counters
        figures = {"epoch": epoch + 1, "loss": counters.epoch_loss_sum / counters.epoch_loss_tokens}
        figures.update(self._evaluate())
        counters.epochs.append(figures)
        if best_epoch(counters.epochs, self.held_out) == len(counters.epochs):
            self._refuse_non_finite_weights()
            self.best = {n: tensor.clone() for n, tensor in self.learner.adapter_state().items()}
        counters.epoch_loss_sum, counters.epoch_loss_tokens = 0.0, 0
        self.reporter.event("epoch.done", step=counters.step, **figures)

    def _evaluate(self) -> dict[str, float]:
        """The hold-out figures now; none without a hold-out."""
        if not self.held_out:
            return {}
        self.reporter.phase("evaluating")
        leave = self._checkpoint_if_asked
        figures = self.method.evaluate(self.learner, packing=self.packing, before_batch=leave)
        refuse_non_finite(self.counters.step, loss=figures["holdout_loss"])
        self.reporter.progress.eval_loss = figures["holdout_loss"]
        return figures

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
            self.best,
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
            epoch=round(counters.step / self.plan.steps_per_epoch, 3),
            loss=loss,
            learning_rate=rate,
            tokens=counters.tokens,
            tokens_per_second=round((counters.tokens - self.first_tokens) / seconds, 1),
            seconds_left=round(seconds / steps * (self.plan.total_steps - counters.step), 1),
        )

    # Save

    def save(self) -> None:
        """Publishes the best epoch's adapter, its configuration and the receipt, or none of it."""
        self.reporter.phase("saving")
        self._refuse_non_finite_weights()
        best = best_epoch(self.counters.epochs, self.held_out)
        assert self.best is not None, "an epoch has ended"
        sha256 = publish(
            self.spec.output_dir,
            self.best,
            self.adapter_config,
            lambda adapter_sha256: make_receipt(
                self.spec,
                self.base,
                self.method,
                self.parent,
                adapter_sha256=adapter_sha256,
                precision=self.learner.precision,
                packing=self.packing_said,
                metrics=self.counters.metrics(best),
                device=self.device.type,
            ),
        )
        self.reporter.event("run.done", adapter_sha256=sha256, epoch=best)
