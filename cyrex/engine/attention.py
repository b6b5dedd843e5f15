"""Attention over KV-cache slots: each sequence attends to its own tokens only.

Registered with transformers as an attention function, so that every model that calls one runs
through here: rotary positions, norms, biases and scales stay the model's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from cyrex.engine.kv import NO_SLOT, Segment, SlotLayer
from cyrex.engine.layout import Layout

NAME = "cyrex"


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """(1, heads, tokens, width) to (1, tokens, heads, width); `layout` maps tokens to sequences."""
    assert layout is not None and attention_mask is None
    if s_aux is not None:
        raise ValueError("attention sinks are not supported")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: SlotLayer = layout.cache.layers[module.layer_idx]
    tokens, heads, depth = query.shape[2], query.shape[1], value.shape[3]
    out = query.new_empty(tokens, heads, depth)
    rows = layout.decoding
    if rows:
        q, k, v = (states[0, :, :rows].transpose(0, 1) for states in (query, key, value))
        is_plain = query.device.type == "cpu" and query.dtype == torch.float32
        decode = _by_kernel if is_plain else _by_gather
        decode(q, k, v, layer, layout, out[:rows], scale, softcap or 0.0, sliding_window or 0)
    layer.store(key, value, layout.segments)
    for segment in layout.segments:
        new = slice(segment.start, segment.end)
        keys, values = key[:, :, new], value[:, :, new]
        if segment.past and segment.slot != NO_SLOT:
            stop = segment.past + segment.end - segment.start
            keys = layer.keys[segment.slot : segment.slot + 1, :, :stop]
            values = layer.values[segment.slot : segment.slot + 1, :, :stop]
        mask = _mask(segment, sliding_window or 0, query.device)
        answer = _attend(query[:, :, new], keys, values, mask, scale, softcap or 0.0)
        out[new] = answer[0].transpose(0, 1)
    return out[None], None


def _by_kernel(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    layer: SlotLayer,
    layout: Layout,
    out: torch.Tensor,
    scale: float,
    softcap: float,
    window: int,
) -> None:
    """Decode with the compiled kernel: one token a row, over exactly its row's length."""
    layout.cache.attend(
        q.contiguous().numpy(), k.contiguous().numpy(), v.contiguous().numpy(),
        layer.keys.numpy(), layer.values.numpy(), out.numpy(),
        layout.slots, layout.places, scale, softcap, window,
    )  # fmt: skip


def _by_gather(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    layer: SlotLayer,
    layout: Layout,
    out: torch.Tensor,
    scale: float,
    softcap: float,
    window: int,
) -> None:
    """Decode with torch's operators: all rows at once, padded to the longest row's length."""
    layer.keys[layout.slot_index, :, layout.place_index] = k
    layer.values[layout.slot_index, :, layout.place_index] = v
    longest = int(layout.places.max()) + 1
    keys = layer.keys[:, :, :longest].index_select(0, layout.slot_index)
    values = layer.values[:, :, :longest].index_select(0, layout.slot_index)
    columns = torch.arange(longest, device=q.device)
    visible = _visible(columns, layout.place_index[:, None], window)
    # Columns behind a row's length hold old data; NaN there would survive the mask.
    hidden = ~visible[:, None, :, None]
    keys.masked_fill_(hidden, 0.0)
    values.masked_fill_(hidden, 0.0)
    answer = _attend(q[:, :, None], keys, values, visible[:, None, None], scale, softcap)
    out.copy_(answer[:, :, 0])


def _mask(segment: Segment, window: int, device: torch.device) -> torch.Tensor | None:
    """(tokens, columns), true is visible; None where a plain causal mask does."""
    length = segment.end - segment.start
    total = segment.past + length
    if not segment.past and (not window or length <= window):
        return None
    columns = torch.arange(total, device=device)
    return _visible(columns, columns[segment.past :, None], window)


def _visible(columns: torch.Tensor, own: torch.Tensor, window: int) -> torch.Tensor:
    """True where a token sees a column: up to its own, at most the last `window` (0: no limit)."""
    visible = columns <= own
    if window:
        visible &= columns > own - window
    return visible


def _attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    softcap: float,
) -> torch.Tensor:
    """Attention of (rows, heads, tokens, width) states; causal where `mask` is None."""
    if not softcap:
        return scaled_dot_product_attention(
            query,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None and query.shape[2] > 1,
            scale=scale,
            enable_gqa=query.shape[1] != keys.shape[1],
        )
    group = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
    scores = (query @ keys.transpose(2, 3)) * scale
    scores = softcap * torch.tanh(scores / softcap)
    if mask is None:
        ones = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device)
        mask = ones.tril()
    scores = scores.masked_fill(~mask, float("-inf"))
    return scores.float().softmax(-1).to(values.dtype) @ values


AttentionInterface.register(NAME, attention)
