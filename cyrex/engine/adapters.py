"""LoRA adapters on one base model: loaded on demand, the least recently used leaves.

PEFT holds the weights; what is done here is what PEFT does not: an adapter's name is
(company, id, bytes), its file is hashed before it is parsed, and an adapter that does not fit
leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load as load_safetensors
from transformers import PreTrainedModel

from cyrex.engine.config import EngineConfig
from cyrex.engine.errors import AdapterRefused, EngineError
from cyrex.engine.handle import ResidentAdapter
from cyrex.engine.model import LanguageModel
from cyrex.engine.request import AdapterKey, AdapterRef

logger = logging.getLogger(__name__)

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
# PEFT wants at least one adapter at all times: this one is never active.
_ANCHOR = "anchor"
_PREFIX = "base_model.model."
_A_SUFFIX = ".lora_A.weight"
# PEFT reads pattern keys as regular expressions, which could take for ever.
_PLAIN_KEY = re.compile(r"[\w.]+")


class AdapterPool:
    """The loaded adapters. For the loop's thread alone, but for `resident`."""

    def __init__(self, model: LanguageModel, config: EngineConfig) -> None:
        self._max_adapters = config.max_adapters
        self._max_bytes = config.max_adapter_bytes
        self._loaded: OrderedDict[AdapterKey, tuple[str, int]] = OrderedDict()
        self._resident: tuple[ResidentAdapter, ...] = ()
        self._serial = 0
        self._device = model.device
        anchor = LoraConfig(r=1, target_modules=[_some_linear(model.module)])
        self._peft = PeftModel(model.module, anchor, adapter_name=_ANCHOR)
        self._layers: list[LoraLayer] = []
        self._active: AdapterKey | None = None
        self._refresh_layers()

    @property
    def resident(self) -> tuple[ResidentAdapter, ...]:
        """What is loaded, the least recently used first. Any thread may ask."""
        return self._resident

    def ensure(self, ref: AdapterRef, pinned: frozenset[AdapterKey]) -> None:
        """Load `ref` unless it is loaded; make room by evicting what is not `pinned`.

        Raises AdapterRefused; the base model and the other adapters are then as before.
        """
        if ref.key in self._loaded:
            self._touch(ref.key)
            return
        config, weights = _read(ref)
        size = sum(tensor.nbytes for tensor in weights.values())
        if size > self._max_bytes:
            raise AdapterRefused(f"adapter {ref.adapter_id}: {size} bytes exceed the budget")
        self._make_room(size, pinned)
        # The name is never used twice, so nothing that PEFT keeps by name can be met again.
        self._serial += 1
        name = f"a{self._serial}"
        try:
            self._inject(name, config, weights)
        except Exception as error:
            self._delete(name)
            if isinstance(error, EngineError):
                raise
            raise AdapterRefused(f"adapter {ref.adapter_id}: {error}"[:500]) from error
        self._loaded[ref.key] = (name, size)
        self._touch(ref.key)

    def activate(self, key: AdapterKey | None) -> None:
        """Make the next forward passes use exactly this adapter (None: none at all)."""
        names = [] if key is None else [self._loaded[key][0]]
        if key != self._active:
            for layer in self._layers:
                # `set_adapter` walks all adapters of all layers to set flags for training.
                layer._active_adapter = names
            self._active = key
            if key is not None:
                self._touch(key)
        assert all(layer.active_adapters == names for layer in self._layers)

    def _touch(self, key: AdapterKey) -> None:
        """Make `key` the most recently used."""
        self._loaded.move_to_end(key)
        self._publish()

    def _publish(self) -> None:
        """Replace what other threads see, in one step."""
        self._resident = tuple(
            ResidentAdapter(key, size) for key, (_, size) in self._loaded.items()
        )

    def _inject(self, name: str, config: LoraConfig, weights: dict[str, torch.Tensor]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT warns that there are several adapters.
            self._peft.add_adapter(name, config, low_cpu_mem_usage=True)
            found = set_peft_model_state_dict(
                self._peft, weights, adapter_name=name, low_cpu_mem_usage=True
            )
        if found.unexpected_keys:
            raise AdapterRefused(f"the base model has no place for {found.unexpected_keys[0]}")
        self._refresh_layers()
        for layer in self._layers:
            for side in (layer.lora_A, layer.lora_B):
                if name in side:
                    side[name].to(self._device)
                    assert side[name].weight.device.type != "meta"
                    side[name].requires_grad_(False)

    def _make_room(self, size: int, pinned: frozenset[AdapterKey]) -> None:
        used = sum(size for _, size in self._loaded.values())
        for key in list(self._loaded):
            if len(self._loaded) < self._max_adapters and used + size <= self._max_bytes:
                return
            if key not in pinned:
                name, freed = self._loaded.pop(key)
                self._delete(name)
                used -= freed
                self._publish()
        # Running rows keep their adapters even if that exceeds the budget for a while.

    def _delete(self, name: str) -> None:
        # First of all, because an injection that broke may have left layers active.
        self._refresh_layers()
        if name in self._peft.peft_config:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._peft.delete_adapter(name)
        self._refresh_layers()

    def _refresh_layers(self) -> None:
        """Find the layers that PEFT has wrapped by now, and switch all of them off."""
        self._layers = [m for m in self._peft.modules() if isinstance(m, LoraLayer)]
        for layer in self._layers:
            layer._active_adapter = []
        self._active = None


def _some_linear(module: PreTrainedModel) -> str:
    head = module.get_output_embeddings()
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Linear) and part is not head:
            return str(name)
    raise ValueError("the base model has no linear layer")


def _read(ref: AdapterRef) -> tuple[LoraConfig, dict[str, torch.Tensor]]:
    """The adapter's configuration and weights, hashed before they are parsed."""
    try:
        data = (Path(ref.path) / WEIGHTS_FILE).read_bytes()
        raw = json.loads((Path(ref.path) / CONFIG_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise AdapterRefused(f"adapter {ref.adapter_id} cannot be read: {error}") from error
    if hashlib.sha256(data).hexdigest() != ref.weights_sha256:
        raise AdapterRefused(f"adapter {ref.adapter_id}: its weights are not those asked for")
    try:
        weights = load_safetensors(data)
        config = _config(raw, weights)
    except Exception as error:
        raise AdapterRefused(f"adapter {ref.adapter_id}: {error}"[:500]) from error
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise AdapterRefused(f"adapter {ref.adapter_id}: {name} is not finite")
    return config, weights


def _config(raw: dict[str, Any], weights: dict[str, torch.Tensor]) -> LoraConfig:
    """A configuration that names exactly the modules that the weights are for.

    The adapter's own patterns are not evaluated, and no initialisation runs: some of PEFT's
    change the base weights, which every company shares.
    """
    unserved = ("modules_to_save", "use_dora", "layer_replication", "lora_bias")
    refused = [key for key in unserved if raw.get(key)]
    if refused or raw.get("peft_type") != "LORA" or raw.get("bias", "none") != "none":
        raise AdapterRefused(f"not a plain LoRA adapter {refused or ''}".strip())
    modules = [
        name.removeprefix(_PREFIX).removesuffix(_A_SUFFIX)
        for name in weights
        if name.startswith(_PREFIX) and name.endswith(_A_SUFFIX)
    ]
    pairs = {f"{_PREFIX}{module}.lora_{side}.weight" for module in modules for side in "AB"}
    if not modules or pairs != set(weights):
        raise AdapterRefused("its tensors are not pairs of lora_A and lora_B")
    patterns = {**(raw.get("rank_pattern") or {}), **(raw.get("alpha_pattern") or {})}
    if not all(_PLAIN_KEY.fullmatch(key) for key in patterns):
        raise AdapterRefused("its rank_pattern or alpha_pattern is not a map of module names")
    return LoraConfig(
        r=raw["r"],
        lora_alpha=raw["lora_alpha"],
        use_rslora=bool(raw.get("use_rslora")),
        rank_pattern=raw.get("rank_pattern") or {},
        alpha_pattern=raw.get("alpha_pattern") or {},
        target_modules=modules,
        lora_dropout=0.0,
        init_lora_weights=False,
        inference_mode=True,
    )
