"""The two inner loops of decoding on a CPU in fp32, compiled: LoRA by row, and attention by row.

With one token a row there is next to nothing to multiply, and everything to read: torch's
operators spend their time on starting, padding and copying. These loops read each number once
and run at the speed of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

# Sums may be taken in any order, which is what lets them run in vectors. Not among the flags:
# those that let the compiler believe that no number is ever NaN, by which broken rows are told.
_FLAGS = {"reassoc", "contract", "arcp", "nsz"}
# Ranks are padded to a multiple of this: so many rows of A are read side by side.
RANK_BLOCK = 4

_ZERO, _ONE = np.float32(0), np.float32(1)


def _compiled(signature: str) -> Callable[[Callable[..., None]], Any]:
    """Compile now, or take the last run's machine code where there is a folder to keep it in."""

    def compiled(function: Callable[..., None]) -> Any:
        options = {"fastmath": _FLAGS, "error_model": "numpy", "nogil": True}
        try:
            return numba.njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError):
            return numba.njit(signature, **options)(function)

    return compiled


@_compiled("void(f4[:,::1], f4[:,::1], f4[::1], i8[:,::1], i8[:,::1], i8[:,::1], i8)")
def add_lora(x: Any, y: Any, arena: Any, a_at: Any, b_at: Any, ranks: Any, module: int) -> None:
    """`y[i] += B (A x[i])`, with a matrix pair of its own for every row i.

    x: (rows, in); y: (rows, out). A is (rank, in) at `arena[a_at[module, i]]`, B is (rank, out),
    transposed and scaled, at `arena[b_at[module, i]]`. ranks: (modules, rows), 0 for no adapter.
    """
    width, out = x.shape[1], y.shape[1]
    for i in range(a_at.shape[1]):
        rank = ranks[module, i]
        row = x[i]
        sums = y[i]
        a = a_at[module, i]
        b = b_at[module, i]
        for _ in range(0, rank, 4):
            a0 = arena[a : a + width]
            a1 = arena[a + width : a + 2 * width]
            a2 = arena[a + 2 * width : a + 3 * width]
            a3 = arena[a + 3 * width : a + 4 * width]
            h0 = h1 = h2 = h3 = _ZERO
            for k in range(width):
                value = row[k]
                h0 += a0[k] * value
                h1 += a1[k] * value
                h2 += a2[k] * value
                h3 += a3[k] * value
            b0 = arena[b : b + out]
            b1 = arena[b + out : b + 2 * out]
            b2 = arena[b + 2 * out : b + 3 * out]
            b3 = arena[b + 3 * out : b + 4 * out]
            for k in range(out):
                sums[k] += h0 * b0[k] + h1 * b1[k] + h2 * b2[k] + h3 * b3[k]
            a += 4 * width
            b += 4 * out


@_compiled(
    "void(f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,::1],"
    " i8[::1], i8[::1], f4, f4, i8)"
)
def attend(
    q: Any,
    new_keys: Any,
    new_values: Any,
    keys: Any,
    values: Any,
    out: Any,
    slots: Any,
    places: Any,
    scale: float,
    softcap: float,
    window: int,
) -> None:
    """Store one new token a row, and attend from it to all that its row holds.

    q, out: (rows, heads, width); new_keys, new_values: (rows, kv_heads, width); keys, values:
    (slots, kv_heads, capacity, width). Row i is in slot `slots[i]`, its token's place there is
    `places[i]`. softcap, window: 0 is none.
    """
    kv_heads, width, depth = keys.shape[1], keys.shape[3], values.shape[3]
    group = q.shape[1] // kv_heads
    scores = np.empty(places.max() + 1, np.float32)
    for i in range(slots.shape[0]):
        last = places[i]
        first = max(0, last + 1 - window) if window > 0 else 0
        for g in range(kv_heads):
            key = keys[slots[i], g]
            value = values[slots[i], g]
            for c in range(width):
                key[last, c] = new_keys[i, g, c]
            for c in range(depth):
                value[last, c] = new_values[i, g, c]
            for head in range(g * group, (g + 1) * group):
                query = q[i, head]
                place = first
                while place + 4 <= last + 1:
                    k0, k1, k2, k3 = key[place], key[place + 1], key[place + 2], key[place + 3]
                    s0 = s1 = s2 = s3 = _ZERO
                    for c in range(width):
                        s0 += query[c] * k0[c]
                        s1 += query[c] * k1[c]
                        s2 += query[c] * k2[c]
                        s3 += query[c] * k3[c]
                    scores[place], scores[place + 1] = s0 * scale, s1 * scale
                    scores[place + 2], scores[place + 3] = s2 * scale, s3 * scale
                    place += 4
                while place <= last:
                    s0 = _ZERO
                    k0 = key[place]
                    for c in range(width):
                        s0 += query[c] * k0[c]
                    scores[place] = s0 * scale
                    place += 1
                if softcap > 0:
                    for place in range(first, last + 1):
                        scores[place] = softcap * np.tanh(scores[place] / softcap)
                top = scores[first]
                for place in range(first, last + 1):
                    top = max(top, scores[place])
                total = _ZERO
                for place in range(first, last + 1):
                    scores[place] = np.exp(scores[place] - top)
                    total += scores[place]
                answer = out[i, head]
                for c in range(depth):
                    answer[c] = _ZERO
                place = first
                while place + 4 <= last + 1:
                    v0, v1 = value[place], value[place + 1]
                    v2, v3 = value[place + 2], value[place + 3]
                    w0, w1 = scores[place], scores[place + 1]
                    w2, w3 = scores[place + 2], scores[place + 3]
                    for c in range(depth):
                        answer[c] += w0 * v0[c] + w1 * v1[c] + w2 * v2[c] + w3 * v3[c]
                    place += 4
                while place <= last:
                    v0, w0 = value[place], scores[place]
                    for c in range(depth):
                        answer[c] += w0 * v0[c]
                    place += 1
                for c in range(depth):
                    answer[c] *= _ONE / total
