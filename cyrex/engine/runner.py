"""One step: the forward pass over a batch's tokens, then a sampled token for each sequence."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from cyrex.engine.errors import EngineError, GenerationFailed
from cyrex.engine.lora import Planner
from cyrex.engine.model import LanguageModel
from cyrex.engine.prefix import PrefixCache
from cyrex.engine.sampling import Choice, choose
from cyrex.engine.scheduler import Batch
from cyrex.engine.sequence import TokenSequence

logger = logging.getLogger(__name__)

MAX_MESSAGE = 500


class Runner:
    """Runs steps and counts tokens. For the loop's thread alone."""

    def __init__(self, model: LanguageModel, planner: Planner, prefix: PrefixCache) -> None:
        self._model = model
        self._planner = planner
        self._prefix = prefix
        self.steps, self.prompt_tokens, self.generated_tokens = 0, 0, 0

    def run(self, batch: Batch) -> list[TokenSequence]:
        """Run a step; returns the sequences that got a token.

        If a step of several sequences fails, each is run alone: only those that fail alone end.
        Raises if the device itself has failed.
        """
        is_alone = len(batch.sequences) == 1
        try:
            sequences, choices = self._compute(batch)
        except Exception as error:
            if is_alone:
                batch.sequences[0].fail(_reason(error))
            else:
                logger.exception("a step has broken: its sequences run one by one")
            sequences, choices = [], None
        # Outside the handler: the exception holds the frames that hold the step's tensors.
        if choices is None:
            self._model.check_device()
            return (
                []
                if is_alone
                else [sequence for part in batch.parts() for sequence in self.run(part)]
            )
        self.steps += 1
        self.generated_tokens += len(sequences)
        for sequence, length in batch.prompts:
            sequence.computed += length
            self.prompt_tokens += length
            if not sequence.prompt_left:
                self._keep(sequence)
        for sequence, choice in zip(sequences, choices, strict=True):
            try:
                sequence.take(choice, self._model)
            except Exception as error:
                logger.exception("a sequence has broken")
                sequence.fail(_reason(error))
        return sequences

    def _keep(self, sequence: TokenSequence) -> None:
        """Put the prompt into the prefix cache; running out of memory there fails no request."""
        try:
            self._prefix.keep(
                sequence.handle.request.company, sequence.key, sequence.prompt, sequence.slot
            )
        except Exception:
            logger.exception("the beginning of a prompt is not kept")

    def _compute(self, batch: Batch) -> tuple[list[TokenSequence], list[Choice]]:
        """The sequences that get a token, and the tokens. Changes the KV cache alone."""
        decoding = [sequence.last_piece() for sequence in batch.decoding]
        prompts = [sequence.prompt_piece(length) for sequence, length in batch.prompts]
        sequences, keep = list(batch.decoding), list(range(len(decoding)))
        end = len(decoding)
        for sequence, length in batch.prompts:
            end += length
            if length == sequence.prompt_left:
                sequences.append(sequence)
                keep.append(end - 1)
        logits = self._model.forward(decoding, prompts, keep, self._planner)
        return sequences, self._choose(sequences, logits) if sequences else []

    def _choose(self, sequences: Sequence[TokenSequence], logits: torch.Tensor) -> list[Choice]:
        constraints = [sequence.constraint for sequence in sequences]
        allowed = self._model.constraints.allowed(constraints)
        places = [len(sequence.tokens) for sequence in sequences]
        return choose(logits, [sequence.sampler for sequence in sequences], places, allowed)


def _reason(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    return GenerationFailed(f"{type(error).__name__}: {error}"[:MAX_MESSAGE])
