"""The compiled inner loops of decoding on a CPU in fp32: LoRA, attention and grammar masks.

Decoding one token a row is bound by memory, not arithmetic: torch's operators spend their time on
launching, padding and copying. These loops read each number once, at the speed of memory.

More than 300 lines: numba caches compiled functions by file, and they inline one another.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

# Sums may be reordered, which is what vectorises them. The flags that assume that no number is
# NaN are left out: NaN is how a broken sequence is detected.
_FLAGS = {"reassoc", "contract", "arcp", "nsz"}
_OPTIONS: dict[str, Any] = {"fastmath": _FLAGS, "error_model": "numpy", "nogil": True}

# Only the loop over rows is parallel.
_ROWS_ALONE = {
    "prange": True, "comprehension": False, "reduction": False, "inplace_binop": False,
    "setitem": False, "numpy": False, "stencil": False, "fusion": False,
}  # fmt: skip
# Ranks are padded to a multiple of this: the kernel reads this many rows of A side by side.
RANK_BLOCK = 4

_ZERO, _ONE = np.float32(0), np.float32(1)
_NEVER = np.float32(-np.inf)
_LOWEST = np.float32(-87)  # exp of less is no normal number


def _compiled(
    signature: str, function: Callable[..., Any], parallel: dict[str, bool] | bool = False
) -> Callable[..., Any]:
    """Compile now, or load the machine code cached by an earlier run where a folder allows it."""
    options = {**_OPTIONS, "parallel": parallel}
    try:
        code: Callable[..., Any] = numba.njit(signature, cache=True, **options)(function)
    except (RuntimeError, OSError):
        code = numba.njit(signature, **options)(function)
    return code


def _inlined(function: Callable[..., Any]) -> Any:
    """A helper that numba compiles into its callers."""
    return numba.njit(**_OPTIONS)(function)


def _twin(function: Callable[..., None]) -> Callable[..., None]:
    """The same function under another name: numba's cache tells functions apart by name alone."""
    copy = types.FunctionType(function.__code__, function.__globals__)
    copy.__qualname__ = f"{function.__qualname__}_in_threads"
    return copy


@_inlined
def _add_one(x: Any, y: Any, arena: Any, a: int, b: int, rank: int) -> None:
    """`y += B (A x)`: see `_add_lora`."""
    width, out = x.shape[0], y.shape[0]
    for _ in range(0, rank, 4):
        a0 = arena[a : a + width]
        a1 = arena[a + width : a + 2 * width]
        a2 = arena[a + 2 * width : a + 3 * width]
        a3 = arena[a + 3 * width : a + 4 * width]
        h0 = h1 = h2 = h3 = _ZERO
        for k in range(width):
            value = x[k]
            h0 += a0[k] * value
            h1 += a1[k] * value
            h2 += a2[k] * value
            h3 += a3[k] * value
        b0 = arena[b : b + out]
        b1 = arena[b + out : b + 2 * out]
        b2 = arena[b + 2 * out : b + 3 * out]
        b3 = arena[b + 3 * out : b + 4 * out]
        for k in range(out):
            y[k] += h0 * b0[k] + h1 * b1[k] + h2 * b2[k] + h3 * b3[k]
        a += 4 * width
        b += 4 * out


@_inlined
def _add_two(x: Any, y: Any, v: Any, w: Any, arena: Any, a: int, b: int, rank: int) -> None:
    """`y += B (A x)` and `w += B (A v)`, reading A and B once."""
    width, out = x.shape[0], y.shape[0]
    for _ in range(0, rank, 4):
        a0 = arena[a : a + width]
        a1 = arena[a + width : a + 2 * width]
        a2 = arena[a + 2 * width : a + 3 * width]
        a3 = arena[a + 3 * width : a + 4 * width]
        h0 = h1 = h2 = h3 = _ZERO
        g0 = g1 = g2 = g3 = _ZERO
        for k in range(width):
            one, two = x[k], v[k]
            h0 += a0[k] * one
            h1 += a1[k] * one
            h2 += a2[k] * one
            h3 += a3[k] * one
            g0 += a0[k] * two
            g1 += a1[k] * two
            g2 += a2[k] * two
            g3 += a3[k] * two
        b0 = arena[b : b + out]
        b1 = arena[b + out : b + 2 * out]
        b2 = arena[b + 2 * out : b + 3 * out]
        b3 = arena[b + 3 * out : b + 4 * out]
        for k in range(out):
            y[k] += h0 * b0[k] + h1 * b1[k] + h2 * b2[k] + h3 * b3[k]
            w[k] += g0 * b0[k] + g1 * b1[k] + g2 * b2[k] + g3 * b3[k]
        a += 4 * width
        b += 4 * out


def _add_lora(
    x: Any, y: Any, arena: Any, a_at: Any, b_at: Any, ranks: Any, module: int, pairs: Any
) -> None:
    """`y[i] += B (A x[i])`, with the matrices of row i, for every row in `pairs`.

    x: (rows, in); y: (rows, out). A is (rank, in) at `arena[a_at[module, i]]`, B is (rank, out),
    transposed and scaled, at `arena[b_at[module, i]]`. ranks: (modules, rows), 0 for no adapter.
    pairs: (n, 2), two rows of one adapter each, or one row and -1.
    """
    for n in numba.prange(pairs.shape[0]):
        i, j = pairs[n, 0], pairs[n, 1]
        a, b, rank = a_at[module, i], b_at[module, i], ranks[module, i]
        if j < 0:
            _add_one(x[i], y[i], arena, a, b, rank)
        else:
            _add_two(x[i], y[i], x[j], y[j], arena, a, b, rank)


@_inlined
def _dots(query: Any, key: Any, first: int, end: int, scale: float, scores: Any) -> None:
    """`scores[p] = scale * query . key[p]` for positions `first` to `end` (exclusive)."""
    width = query.shape[0]
    place = first
    while place + 4 <= end:
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
    while place < end:
        s0 = _ZERO
        k0 = key[place]
        for c in range(width):
            s0 += query[c] * k0[c]
        scores[place] = s0 * scale
        place += 1


@_inlined
def _exponents(scores: Any, first: int, end: int, bits: Any, powers: Any) -> Any:
    """Replace each score by `exp(score - highest)`; returns their sum.

    exp(x) = 2**n * exp(r) with a polynomial for the small rest r: five times as fast as calling
    the C library for every number, and exact to the last bit but one. `powers` is a float view of
    `bits`: n written into the exponent bits reads as 2**n.
    """
    top = scores[first]
    for place in range(first, end):
        top = max(top, scores[place])
    for place in range(first, end):
        x = scores[place] - top
        x = _LOWEST if x < _LOWEST else x  # This way round, NaN stays.
        n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
        x -= n * np.float32(0.693359375)
        x -= n * np.float32(-2.12194440e-4)
        y = np.float32(1.9875691500e-4)
        y = y * x + np.float32(1.3981999507e-3)
        y = y * x + np.float32(8.3334519073e-3)
        y = y * x + np.float32(4.1665795894e-2)
        y = y * x + np.float32(1.6666665459e-1)
        y = y * x + np.float32(5.0000001201e-1)
        scores[place] = y * x * x + x + _ONE
        bits[place] = (np.int32(n) + np.int32(127)) << np.int32(23)
    total = _ZERO
    for place in range(first, end):
        scores[place] *= powers[place]
        total += scores[place]
    return total


@_inlined
def _mix(weights: Any, value: Any, first: int, end: int, share: float, out: Any) -> None:
    """`out = share * sum of weights[p] * value[p]` over positions `first` to `end` (exclusive)."""
    depth = out.shape[0]
    for c in range(depth):
        out[c] = _ZERO
    place = first
    while place + 4 <= end:
        v0, v1, v2, v3 = value[place], value[place + 1], value[place + 2], value[place + 3]
        w0, w1 = weights[place], weights[place + 1]
        w2, w3 = weights[place + 2], weights[place + 3]
        for c in range(depth):
            out[c] += w0 * v0[c] + w1 * v1[c] + w2 * v2[c] + w3 * v3[c]
        place += 4
    while place < end:
        v0, w0 = value[place], weights[place]
        for c in range(depth):
            out[c] += w0 * v0[c]
        place += 1
    for c in range(depth):
        out[c] *= share


def _attend(
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
    """Store each row's new key and value, and attend from its token to all tokens of its slot.

    q, out: (rows, heads, width); new_keys, new_values: (rows, kv_heads, width); keys, values:
    (slots, kv_heads, capacity, width). Row i is in slot `slots[i]`, its new token at position
    `places[i]`. softcap, window: 0 is none.
    """
    kv_heads, group = keys.shape[1], q.shape[1] // keys.shape[1]
    for i in numba.prange(slots.shape[0]):
        end = places[i] + 1
        scores = np.empty(end, np.float32)
        bits = np.empty(end, np.int32)
        powers = bits.view(np.float32)
        first = max(0, end - window) if window > 0 else 0
        for g in range(kv_heads):
            key, value = keys[slots[i], g], values[slots[i], g]
            key[end - 1] = new_keys[i, g]
            value[end - 1] = new_values[i, g]
            for head in range(g * group, (g + 1) * group):
                _dots(q[i, head], key, first, end, scale, scores)
                if softcap > 0:
                    for place in range(first, end):
                        scores[place] = softcap * np.tanh(scores[place] / softcap)
                total = _exponents(scores, first, end, bits, powers)
                _mix(scores, value, first, end, _ONE / total, out[i, head])


def _mask_logits(logits: Any, words: Any, which: Any, out: Any) -> None:
    """Copy `logits` (rows, vocabulary) to `out`, with -inf for tokens whose bit is not set.

    words: (constrained, vocabulary / 32), the masks; which: (rows,), the row of `words` that masks
    row i, -1 for none.
    """
    size = logits.shape[1]
    for i in range(which.shape[0]):
        if which[i] < 0:
            out[i] = logits[i]
            continue
        for w in range(size >> 5):
            word = words[which[i], w]
            source, target = logits[i, w * 32 : w * 32 + 32], out[i, w * 32 : w * 32 + 32]
            for k in range(32):
                target[k] = source[k] if (word >> np.int32(k)) & np.int32(1) else _NEVER
        for k in range(size & ~31, size):
            out[i, k] = logits[i, k] if (words[which[i], k >> 5] >> (k & 31)) & 1 else _NEVER


def _place(down: Any, up: Any, scale: float, a: Any, b: Any) -> bool:
    """`a = down` (rank, in) and `b = scale * up.T` (rank, out); returns whether all is finite."""
    check = _ZERO
    for j in range(down.shape[0]):
        source, target = down[j], a[j]
        for k in range(source.shape[0]):
            value = source[k]
            target[k] = value
            check += value * _ZERO  # NaN unless the value is finite.
        target = b[j]
        for k in range(up.shape[0]):
            value = up[k, j] * scale
            target[k] = value
            check += value * _ZERO
    return bool(check == _ZERO)


_LORA_SIGNATURE = (
    "void(f4[:,::1], f4[:,::1], f4[::1], i8[:,::1], i8[:,::1], i8[:,::1], i8, i8[:,::1])"
)
_ATTEND_SIGNATURE = (
    "void(f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,:,::1], f4[:,:,:,::1], f4[:,:,::1],"
    " i8[::1], i8[::1], f4, f4, i8)"
)

add_lora = _compiled(_LORA_SIGNATURE, _add_lora)
attend = _compiled(_ATTEND_SIGNATURE, _attend)
mask_logits = _compiled("void(f4[:,::1], i4[:,::1], i8[::1], f4[:,::1])", _mask_logits)
place = _compiled("b1(f4[:,::1], f4[:,::1], f4, f4[:,::1], f4[:,::1])", _place)


class Kernels(NamedTuple):
    """`add_lora` and `attend`, compiled for a number of threads."""

    add_lora: Callable[..., None]
    attend: Callable[..., None]


@functools.cache
def kernels(threads: int) -> Kernels:
    """Both kernels; with several threads the rows are split among them (`use_threads`)."""
    if threads == 1:
        return Kernels(add_lora, attend)
    return Kernels(
        _compiled(_LORA_SIGNATURE, _twin(_add_lora), _ROWS_ALONE),
        _compiled(_ATTEND_SIGNATURE, _twin(_attend), _ROWS_ALONE),
    )


def use_threads(count: int) -> None:
    """Set how many threads run the kernels that the calling thread starts."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
