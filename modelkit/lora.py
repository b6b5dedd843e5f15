"""Check that a LoRA adapter can be served beside others on one base model.

Only pairs of A and B matrices on linear layers can. Everything that would change the base model
itself (and so the answers of other companies) is refused by name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from modelkit.errors import PackageRefused, Refusal
from modelkit.tensors import Tensor

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
SERVABLE_DTYPES = ("F32", "F16", "BF16")
# The engine's limit.
MAX_RANK = 512
# Keys that may have any value: this module checks them, or they do not affect serving.
_KNOWN_KEYS = frozenset({
    "peft_type", "task_type", "peft_version", "auto_mapping", "base_model_name_or_path",
    "revision", "inference_mode", "r", "lora_alpha", "lora_dropout", "target_modules",
    "exclude_modules", "layers_to_transform", "layers_pattern", "use_rslora", "rank_pattern",
    "alpha_pattern", "init_lora_weights", "megatron_core", "qalora_group_size", "loftq_config",
    "bias", "modules_to_save", "trainable_token_indices",
})  # fmt: skip
# Other initialisations (pissa, olora, corda, loftq) subtract something from the base weights.
_SERVABLE_INITS = (True, False, None, "gaussian", "orthogonal", "eva")
_PAIR = re.compile(r"base_model\.model\.(?P<module>[\w.]+)\.lora_(?P<side>[AB])\.weight")
# PEFT reads pattern keys as regular expressions; a plain module path always terminates.
_PLAIN_KEY = re.compile(r"[\w.]+")


def check_config(config: object) -> dict[str, Any]:
    """Return the parsed adapter_config.json if its adapter can be served.

    Raises PackageRefused naming the option that cannot.
    """
    if not isinstance(config, dict):
        raise PackageRefused(Refusal.BAD_CONFIG, CONFIG_FILE, "it is not a JSON object")
    if config.get("peft_type") != "LORA":
        detail = f"peft_type is {config.get('peft_type')!r}"
        raise PackageRefused(Refusal.NOT_LORA, CONFIG_FILE, detail)
    if config.get("modules_to_save"):
        raise PackageRefused(Refusal.MODULES_TO_SAVE, CONFIG_FILE)
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        raise PackageRefused(Refusal.BIAS, CONFIG_FILE)
    if config.get("trainable_token_indices"):
        raise PackageRefused(Refusal.NEW_VOCABULARY, CONFIG_FILE, "trainable_token_indices")
    for key in sorted(set(config) - _KNOWN_KEYS):
        if config[key]:
            raise PackageRefused(Refusal.NOT_SERVABLE, CONFIG_FILE, key)
    _check_values(config)
    return config


def _check_values(config: Mapping[str, Any]) -> None:
    def refuse(key: str) -> PackageRefused:
        return PackageRefused(Refusal.BAD_CONFIG, CONFIG_FILE, f"{key} is {config.get(key)!r}")

    if config.get("init_lora_weights", True) not in _SERVABLE_INITS:
        raise PackageRefused(Refusal.NOT_SERVABLE, CONFIG_FILE, "init_lora_weights")
    if not _is_rank(config.get("r")):
        detail = f"r is {str(config.get('r'))[:20]}: a rank is an integer from 1 to {MAX_RANK}"
        raise PackageRefused(Refusal.BAD_CONFIG, CONFIG_FILE, detail)
    if not _is_alpha(config.get("lora_alpha")):
        raise refuse("lora_alpha")
    if type(config.get("use_rslora", False)) is not bool:
        raise refuse("use_rslora")
    for key, is_valid in (("rank_pattern", _is_rank), ("alpha_pattern", _is_alpha)):
        pattern = config.get(key) or {}
        if not isinstance(pattern, dict):
            raise refuse(key)
        if not all(_PLAIN_KEY.fullmatch(k) and is_valid(v) for k, v in pattern.items()):
            raise refuse(key)


def _is_rank(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_RANK


def _is_alpha(value: object) -> bool:
    # A Python int may be larger than any float.
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def check_tensors(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raise PackageRefused unless the weights are complete pairs A (rank, in), B (out, rank)."""
    ranks = {config["r"], *(config.get("rank_pattern") or {}).values()}
    sides: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        if any(part in name for part in ("lora_embedding", "embed_tokens", "token_adapter")):
            raise PackageRefused(Refusal.NEW_VOCABULARY, WEIGHTS_FILE, name)
        match = _PAIR.fullmatch(name)
        if match is None:
            raise PackageRefused(Refusal.NOT_SERVABLE, WEIGHTS_FILE, f"tensor {name}")
        if tensor.dtype not in SERVABLE_DTYPES or len(tensor.shape) != 2:
            detail = f"tensor {name} is {tensor.dtype} {list(tensor.shape)}"
            raise PackageRefused(Refusal.NOT_SERVABLE, WEIGHTS_FILE, detail)
        sides.setdefault(match["module"], {})[match["side"]] = tensor.shape
    if not sides:
        raise PackageRefused(Refusal.BAD_TENSORS, WEIGHTS_FILE, "it holds no tensor")
    for module, pair in sides.items():
        if set(pair) != {"A", "B"} or pair["A"][0] != pair["B"][1] or pair["A"][0] not in ranks:
            detail = f"{module} has no matching pair of A and B of the configured rank"
            raise PackageRefused(Refusal.BAD_TENSORS, WEIGHTS_FILE, detail)
