"""One step: the forward pass over everybody's tokens, and a token for each row that is due one."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from cyrex.engine.errors import EngineError, GenerationFailed
from cyrex.engine.lora import Planner
from cyrex.engine.model import LanguageModel
from cyrex.engine.prefix import PrefixCache
from cyrex.engine.row import Row
from cyrex.engine.sampling import Choice, choose
from cyrex.engine.scheduler import Batch

logger = logging.getLogger(__name__)

MAX_MESSAGE = 500


class Runner:
    """Runs steps, and counts. For the loop's thread alone."""

    def __init__(self, model: LanguageModel, planner: Planner, prefix: PrefixCache) -> None:
        self._model = model
        self._planner = planner
        self._prefix = prefix
        self.steps, self.prompt_tokens, self.generated_tokens = 0, 0, 0

    def run(self, batch: Batch) -> list[Row]:
        """Run a step; returns the rows that were given a token.

        What breaks ends the rows that break alone too: a step of several is tried row by row.
        Raises where the device computes nothing any more.
        """
        is_alone = len(batch.rows) == 1
        try:
            rows, choices = self._compute(batch)
        except Exception as error:
            if is_alone:
                batch.rows[0].fail(_reason(error))
            else:
                logger.exception("a step has broken: its rows run one by one")
            rows, choices = [], None
        # Outside the handler: the exception holds the frames that hold the step's tensors.
        if choices is None:
            self._model.check_device()
            return [] if is_alone else [row for part in batch.parts() for row in self.run(part)]
        self.steps += 1
        self.generated_tokens += len(rows)
        for row, length in batch.prompts:
            row.computed += length
            self.prompt_tokens += length
            if not row.prompt_left:
                self._keep(row)
        for row, choice in zip(rows, choices, strict=True):
            try:
                row.take(choice, self._model)
            except Exception as error:
                logger.exception("a row has broken")
                row.fail(_reason(error))
        return rows

    def _keep(self, row: Row) -> None:
        """A beginning that cannot be kept, for want of memory, is computed again."""
        try:
            self._prefix.keep(row.handle.request.company, row.key, row.prompt, row.slot)
        except Exception:
            logger.exception("the beginning of a prompt is not kept")

    def _compute(self, batch: Batch) -> tuple[list[Row], list[Choice]]:
        """The rows that are due a token, and their tokens. Changes nothing but the cache."""
        decoding = [row.last_piece() for row in batch.decoding]
        prompts = [row.prompt_piece(length) for row, length in batch.prompts]
        rows, keep = list(batch.decoding), list(range(len(decoding)))
        end = len(decoding)
        for row, length in batch.prompts:
            end += length
            if length == row.prompt_left:
                rows.append(row)
                keep.append(end - 1)
        logits = self._model.forward(decoding, prompts, keep, self._planner)
        return rows, self._choose(rows, logits) if rows else []

    def _choose(self, rows: Sequence[Row], logits: torch.Tensor) -> list[Choice]:
        constraints = [row.constraint for row in rows]
        allowed = self._model.constraints.allowed(constraints)
        places = [len(row.tokens) for row in rows]
        return choose(logits, [row.sampler for row in rows], places, allowed)


def _reason(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    return GenerationFailed(f"{type(error).__name__}: {error}"[:MAX_MESSAGE])
