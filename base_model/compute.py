"""A forward pass of the exported architecture that is fast on a CPU with bf16 matrix units.

It reads the parameters of the `MistralForCausalLM` itself, so the trained model is exported as it
is. What makes it faster than the library's pass: attention by plain matrix products over short rows
(the fused CPU kernel's backward pass is slow at 32 dimensions a head), joined projections, and
element-wise operations fused by the compiler.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MistralForCausalLM

MASKED = -1e9


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    x = x.float()
    return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)).to(torch.bfloat16) * weight


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def _block(
    h: Tensor,
    weights: tuple[Tensor, ...],
    cos: Tensor,
    sin: Tensor,
    mask: Tensor,
    heads: int,
    kv: int,
    eps: float,
) -> Tensor:
    """One decoder layer; h is [rows, length, width] in fp32, mask is added to the scores."""
    norm1, qkv, out, norm2, gate_up, down = weights
    rows, length, width = h.shape
    size = width // heads
    z = F.linear(_norm(h, norm1, eps), qkv).view(rows, length, heads + 2 * kv, size)
    qk = _rotate(z[:, :, : heads + kv], cos, sin).transpose(1, 2)
    q = qk[:, :heads].reshape(rows * kv, heads // kv * length, size) * size**-0.5
    k = qk[:, heads:].reshape(rows * kv, length, size)
    v = z[:, :, heads + kv :].transpose(1, 2).reshape(rows * kv, length, size)
    scores = torch.bmm(q, k.transpose(1, 2)).view(rows, kv, heads // kv, length, length) + mask
    mixed = torch.bmm(torch.softmax(scores, -1).view(rows * kv, -1, length), v)
    mixed = mixed.view(rows, heads, length, size).transpose(1, 2).reshape(rows, length, width)
    h = h + F.linear(mixed, out).float()
    gate, up = F.linear(_norm(h, norm2, eps), gate_up).chunk(2, -1)
    return h + F.linear(F.silu(gate) * up, down).float()


def _body(
    h: Tensor,
    layers: list[tuple[Tensor, ...]],
    last_norm: Tensor,
    cos: Tensor,
    sin: Tensor,
    mask: Tensor,
    heads: int,
    kv: int,
    eps: float,
) -> Tensor:
    for weights in layers:
        h = _block(h, weights, cos, sin, mask, heads, kv, eps)
    return _norm(h, last_norm, eps)


class FastForward:
    """Computes the weighted next-token loss of packed rows."""

    def __init__(self, model: MistralForCausalLM, compiled: bool = True) -> None:
        self.model = model
        cfg = model.config
        self._sizes = (cfg.num_attention_heads, cfg.num_key_value_heads, cfg.rms_norm_eps)
        half = cfg.hidden_size // cfg.num_attention_heads // 2
        angles = torch.outer(
            torch.arange(cfg.max_position_embeddings).float(),
            10000.0 ** (-torch.arange(half) / half),
        )
        self._cos, self._sin = angles.cos().bfloat16(), angles.sin().bfloat16()
        self._run: Callable[..., Tensor] = (
            torch.compile(_body, dynamic=False) if compiled else _body
        )

    def hidden(self, tokens: Tensor, positions: Tensor, segments: Tensor) -> Tensor:
        """Last hidden states [rows, length, width]; a token sees its own segment up to itself."""
        model = self.model
        layers = []
        for layer in model.model.layers:
            a, m = layer.self_attn, layer.mlp
            parts = (
                layer.input_layernorm.weight,
                torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]),
                a.o_proj.weight,
                layer.post_attention_layernorm.weight,
                torch.cat([m.gate_proj.weight, m.up_proj.weight]),
                m.down_proj.weight,
            )
            layers.append(tuple(p.to(torch.bfloat16) for p in parts))
        length = tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        same = segments[:, :, None] == segments[:, None, :]
        mask = torch.zeros(same.shape, dtype=torch.bfloat16).masked_fill(~(same & causal), MASKED)
        cos, sin = self._cos[positions][:, :, None], self._sin[positions][:, :, None]
        h = F.embedding(tokens, model.model.embed_tokens.weight)
        last = model.model.norm.weight.to(torch.bfloat16)
        return self._run(h, layers, last, cos, sin, mask[:, None, None], *self._sizes)

    def loss(
        self, tokens: Tensor, positions: Tensor, segments: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum of weighted losses and sum of weights; `weights[r, i]` is for predicting token i."""
        h = self.hidden(tokens, positions, segments)
        picked = weights[:, 1:] > 0
        logits = F.linear(
            h[:, :-1][picked], self.model.model.embed_tokens.weight.to(torch.bfloat16)
        )
        losses = F.cross_entropy(logits.float(), tokens[:, 1:][picked], reduction="none")
        chosen = weights[:, 1:][picked]
        return (losses * chosen).sum(), chosen.sum()
