"""The rivals: the same work with PEFT and transformers, each in its best setup on a CPU.

- PEFT's mixed batch: `generate` with `adapter_names`, one call for the whole batch of equal lengths
  (no padding, no row that waits for a longer one), dynamic cache, greedy, inference mode, adapters
  loaded beforehand and in fp32, rows of one adapter side by side.
- PEFT one by one: `set_adapter`, then `generate`, in the order with the fewest switches.
- Static batches: `generate` on 32 requests at a time in order of arrival, left-padded, up to the
  longest answer of the batch.
- transformers' continuous batching: pages of 64 tokens, room for every request, sdpa attention, no
  block sharing (no prompts are alike), neither CUDA graphs nor asynchronous batching (no GPU), and
  512 tokens a step; other page and step sizes were no faster.
"""

from __future__ import annotations

import random
import warnings
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.utils import logging as transformers_logging

from benchmarks.engine.arms import BATCH, TIMEOUT_SECONDS, Arm, Clock, alternate, prompt_of, ratio
from benchmarks.engine.models import LARGE, Model
from cyrex.engine import Request

PROMPT = 16
ANSWER = 32
LARGE_ANSWER = 12
SEQUENTIAL_DISTINCT = 16
# Rows of the batch that are enough to measure "one by one".
SEQUENTIAL_ROWS = 8
REQUESTS = 64
ANSWERS = (8, 128)
PAGE_TOKENS = 64
STEP_TOKENS = 512


class Peft:
    """A PeftModel with the first adapters of `model` loaded."""

    def __init__(self, model: Model, adapters: int) -> None:
        base = _base(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.names = [f"a{number}" for number in range(adapters)]
            paths = [model.adapter(number).path for number in range(adapters)]
            self.model = PeftModel.from_pretrained(base, paths[0], adapter_name=self.names[0])
            for name, path in zip(self.names[1:], paths[1:], strict=True):
                self.model.load_adapter(path, adapter_name=name, low_cpu_mem_usage=True)
        self.model.eval()

    def mixed(self, distinct: int, answer: int) -> float:
        """Tokens a second of one batch over `distinct` adapters."""
        rows = BATCH // distinct
        names = [name for name in self.names[:distinct] for _ in range(rows)]
        return _generate(self.model, [PROMPT] * BATCH, [answer] * BATCH, adapter_names=names)

    def one_by_one(self, distinct: int, rows: int, answer: int) -> float:
        """Tokens a second of rows answered one after the other."""
        started = Clock.now()
        for row in range(rows):
            self.model.set_adapter(self.names[row * distinct // rows])
            _generate(self.model, [PROMPT], [answer])
        return rows * answer / (Clock.now() - started)


def mixed(model: Model, is_full: bool) -> dict[str, Any]:
    """mixed_over_peft {D}; for the small model mixed_over_sequential too."""
    print(f"{model.shape.name}: tokens a second of whole requests", flush=True)
    is_large = model.shape is LARGE
    counts = (16,) if is_large else (1, 4, 16, 32)
    answer = LARGE_ANSWER if is_large else ANSWER
    rounds = 9 if is_full else 2
    peft, arm = Peft(model, max(counts)), Arm(model, max(counts))
    arms: dict[str, Any] = {}
    for d in counts:
        arms[f"engine, {d} adapters"] = lambda d=d: arm.mixed(d, PROMPT, answer).rate
        arms[f"PEFT, {d} adapters"] = lambda d=d: peft.mixed(d, answer)
    if not is_large:
        d = SEQUENTIAL_DISTINCT
        arms["PEFT, one by one"] = lambda: peft.one_by_one(d, SEQUENTIAL_ROWS, answer)
    peft.mixed(1, 2)
    try:
        samples = alternate(arms, rounds)
    finally:
        arm.close()
    found: dict[str, Any] = {
        "mixed_over_peft": {
            str(d): ratio(samples, f"engine, {d} adapters", f"PEFT, {d} adapters") for d in counts
        }
    }
    if not is_large:
        engine = f"engine, {SEQUENTIAL_DISTINCT} adapters"
        found["mixed_over_sequential"] = ratio(samples, engine, "PEFT, one by one")
    return found


def batching(model: Model, is_full: bool) -> dict[str, float]:
    """continuous_over_static and over_transformers_cb, on answers of mixed lengths."""
    print(f"{model.shape.name}: answers of {ANSWERS} tokens, tokens a second", flush=True)
    static, paged, arm = _base(model), _base(model), Arm(model)
    # Spread evenly over the range, in a random but fixed order.
    first, last = ANSWERS
    lengths = [first + i * (last - first) // (REQUESTS - 1) for i in range(REQUESTS)]
    random.Random(1).shuffle(lengths)
    arms = {
        "engine": lambda: (
            arm.wave([Request("base", None, prompt_of(PROMPT), length) for length in lengths]).rate
        ),
        "static batches": lambda: _static(static, lengths),
        "transformers' manager": lambda: _continuous(paged, lengths),
    }
    _static(static, [2] * BATCH)
    _continuous(paged, [2] * BATCH)
    try:
        samples = alternate(arms, 7 if is_full else 2)
    finally:
        arm.close()
    return {
        "continuous_over_static": ratio(samples, "engine", "static batches"),
        "over_transformers_cb": ratio(samples, "engine", "transformers' manager"),
    }


def _base(model: Model) -> Any:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    loaded = AutoModelForCausalLM.from_pretrained(model.base, dtype=torch.float32).eval()
    return loaded.requires_grad_(False)


def _static(model: Any, lengths: list[int]) -> float:
    """Tokens a second; only requested tokens count."""
    started = Clock.now()
    for first in range(0, len(lengths), BATCH):
        batch = lengths[first : first + BATCH]
        _generate(model, [PROMPT] * len(batch), batch)
    return sum(lengths) / (Clock.now() - started)


def _generate(model: Any, prompts: list[int], answers: list[int], **options: Any) -> float:
    tokens = torch.tensor([prompt_of(length) for length in prompts])
    started = Clock.now()
    with torch.inference_mode():
        output = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=False,
            max_new_tokens=max(answers),
            use_cache=True,
            **options,
        )
    seconds = Clock.now() - started
    assert output.shape[1] == tokens.shape[1] + max(answers)
    return sum(answers) / seconds


def _continuous(model: Any, lengths: list[int]) -> float:
    """Tokens a second of transformers' manager, without its setup."""
    pages = -(-(PROMPT + max(lengths)) // PAGE_TOKENS) + 1
    config = ContinuousBatchingConfig(
        page_size=PAGE_TOKENS,
        num_blocks=BATCH * pages,
        max_batch_tokens=STEP_TOKENS,
        max_requests_per_batch=BATCH,
        allow_block_sharing=False,
        use_cuda_graph=False,
        use_async_batching=False,
    )
    generation = GenerationConfig(do_sample=False, max_new_tokens=max(lengths), eos_token_id=-1)
    with model.continuous_batching_context_manager(
        generation_config=generation, continuous_batching_config=config
    ) as manager:
        started = Clock.now()
        for length in lengths:
            manager.add_request(prompt_of(PROMPT), max_new_tokens=length)
        answers = [manager.get_result(timeout=TIMEOUT_SECONDS) for _ in lengths]
        seconds = Clock.now() - started
    tokens = sum(len(answer.generated_tokens) for answer in answers)
    assert tokens == sum(lengths)
    return tokens / seconds
