"""How the adapters of one pass are applied. The one place where this is decided.

microseconds beside a linear layer of 1024 x 1024, which takes 850 itself; 32 tokens, rank 16, a
CPU core in fp32, 24 layers in turn so that matrices come from memory, by the number of distinct
adapters (2026-11):

              1    4   16   32
    kernel   40   64  157  307    reads each matrix once, copies nothing
    segments 36   77  266  521    two small matrix products for each adapter
    gather  450  401  396  404    batched products, over copies made when the batch changes

| device | tokens in a row that share an adapter | by       | because                             |
|--------|---------------------------------------|----------|-------------------------------------|
| CPU    | fewer than SEGMENT_TOKENS (decoding)  | kernel   | the table above, at every width     |
| CPU    | more (prompts)                        | segments | a matrix product is 2-7 times as    |
|        |                                       |          | fast per token as the kernel's rows |
| CUDA   | fewer                                 | gather   | three launches, whatever the number |
|        |                                       |          | of adapters; the copies are kept    |
| CUDA   | more                                  | segments | as on a CPU                         |
"""

from __future__ import annotations

from typing import Literal

import torch

RowsBy = Literal["kernel", "gather"]

# From here on two matrix products, of about 5 us each to start, beat the kernel's 1 us a token.
SEGMENT_TOKENS = 16


def rows_by(device: torch.device) -> RowsBy:
    """For tokens that share their adapter with few neighbours."""
    return "kernel" if device.type == "cpu" else "gather"


def is_segment(tokens: int) -> bool:
    """Whether so many neighbouring tokens of one adapter are worth matrix products of their own."""
    return tokens >= SEGMENT_TOKENS
