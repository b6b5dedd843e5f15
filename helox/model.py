"""The base model with a fresh LoRA adapter, and the loss over chosen tokens."""

from __future__ import annotations

import errno
import inspect
import warnings
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.nn import functional as F

from helox.base import Base
from helox.errors import UserError
from helox.pack import Batch
from helox.spec import TrainingConfig

Precision = Literal["fp32", "bf16"]

ADAPTER_NAME = "default"
# Measured on AMX, one thread: at 29M parameters bf16 is 1.5x as fast as fp32, at 4M 0.75x (the
# casts and the kernels made for every new length cost more than the matrices). Losses agree.
CPU_BF16_MIN_PARAMETERS = 20_000_000
# Of the change without a border. Attention with a border changes nothing at all, in fp32, bf16 and
# NF4; a convolution of random weights, three tokens wide, changes 0.002.
LEAK_TOLERANCE = 5e-4
PROBE_TOKENS = 8  # in each of two halves; token ids that every vocabulary has


@dataclass
class Predicted:
    """The summed loss of a batch, and for each of its N targets whether it was the most likely."""

    loss_sum: torch.Tensor
    right_N: torch.Tensor


class Learner:
    """A causal language model of which only the LoRA weights (fp32) are trained."""

    def __init__(self, model: Any, device: torch.device, precision: Precision) -> None:
        self.model = model
        self.device = device
        self.precision = precision
        self._predicting: torch.Tensor | None = None
        base = model.get_base_model()
        base.get_output_embeddings().register_forward_pre_hook(self._keep_predicting)

    def _keep_predicting(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Only the positions that predict a trained token reach the output layer: [1, N, width].

        Prompt and padding are most of a batch, and the vocabulary is the widest layer there is.
        """
        hidden_RTD = args[0]
        assert self._predicting is not None
        flat = hidden_RTD.reshape(-1, hidden_RTD.shape[-1])
        return (flat.index_select(0, self._predicting)[None], *args[1:])

    def logits(self, batch: Batch) -> torch.Tensor:
        """Logits of the predicted tokens, fp32: [N, vocabulary]."""
        self._predicting = batch.predicting_N
        autocast = torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )
        extra = {} if batch.positions_RT is None else {"position_ids": batch.positions_RT}
        with autocast:
            output = self.model(input_ids=batch.ids_RT, use_cache=False, **extra)
        return cast(torch.Tensor, output.logits[0].float())

    def predict(self, batch: Batch) -> Predicted:
        batch = batch.to(self.device)
        logits_NV = self.logits(batch)
        loss_sum = F.cross_entropy(logits_NV, batch.targets_N, reduction="sum")
        return Predicted(loss_sum, logits_NV.detach().argmax(-1) == batch.targets_N)

    def trainable(self) -> dict[str, nn.Parameter]:
        """The LoRA weights by their name in an adapter file."""
        return {
            name.replace(f".{ADAPTER_NAME}.", "."): parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        }

    def adapter_state(self) -> dict[str, torch.Tensor]:
        """What an adapter file holds: the same names and order as PEFT writes."""
        return {
            name: parameter.detach().to("cpu").contiguous()
            for name, parameter in sorted(self.trainable().items())
        }

    def load_adapter_state(self, state: dict[str, torch.Tensor]) -> None:
        parameters = self.trainable()
        for name in sorted(set(parameters) ^ set(state)):
            owner = "the adapter" if name in state else "this configuration"
            raise ValueError(f"only {owner} has {name}")
        for name, parameter in parameters.items():
            if parameter.shape != state[name].shape:
                found, wanted = tuple(state[name].shape), tuple(parameter.shape)
                raise ValueError(f"{name} has the shape {found}, not {wanted}")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(state[name])

    def adapter_config(self, base_name: str) -> dict[str, Any]:
        """adapter_config.json, without what differs from machine to machine or run to run."""
        config = self.model.peft_config[ADAPTER_NAME].to_dict()
        config.update(base_model_name_or_path=base_name, inference_mode=True)
        return {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}

    def can_pack(self) -> bool:
        """Whether packed examples stay strangers: each must be blind to the one before it."""
        return self.why_not_pack() is None

    def why_not_pack(self) -> str | None:
        """Why examples cannot share a row; None if they can.

        Attention is told apart by positions; a model with a recurrent state, or one that takes no
        positions, would leak. So it is asked: two rows differ in their first half only, and what
        changes in the second is compared with what changes where both halves are one text.
        Each row is a forward pass of its own: in one pass, threads share the rows out unevenly and
        change their last digits, which is no leak.
        """
        forward = inspect.signature(self.model.get_base_model().forward)
        if "position_ids" not in forward.parameters:
            return "the base model takes no positions"
        leak = self._change_behind(packed=True)
        unmasked = self._change_behind(packed=False)
        if leak <= LEAK_TOLERANCE * unmasked:
            return None
        return (
            "the base model lets an example see the one before it: what it predicts changes by "
            f"{leak:.2g}, and by {unmasked:.2g} where both are one text"
        )

    def _change_behind(self, *, packed: bool) -> float:
        """The most that a logit of a row's second half changes with the first half."""
        half = PROBE_TOKENS
        first, second = torch.arange(1, half + 1), torch.arange(half, 0, -1)
        positions = torch.arange(half).repeat(2) if packed else torch.arange(2 * half)
        behind = torch.arange(half, 2 * half)
        with torch.no_grad():
            one, other = (
                self.logits(
                    Batch(
                        torch.cat([start, first])[None],
                        positions[None],
                        predicting_N=behind,
                        targets_N=behind,
                        tokens=2 * half,
                    ).to(self.device)
                )
                for start in (first, second)
            )
        return float((one - other).abs().max())


def choose_precision(config: TrainingConfig, device: torch.device, parameters: int) -> Precision:
    """What "auto" means, from facts of the machine and the base alone, so that a rerun agrees."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cuda":
        return "bf16"
    fast = torch.cpu._is_avx512_bf16_supported()  # no public question for it
    return "bf16" if fast and parameters >= CPU_BF16_MIN_PARAMETERS else "fp32"


def build_learner(
    base: Base, config: TrainingConfig, *, use_qlora: bool, seed: int, device: torch.device
) -> Learner:
    """Loads the base frozen and puts a LoRA adapter on it.

    Raises:
        UserError: the base cannot be loaded, or has no module of a name in `target_modules`.
    """
    precision = choose_precision(config, device, base.parameters)
    model = _load_base(base, use_qlora=use_qlora, precision=precision, device=device)
    disarm_cpu_repacking(model)
    _check_targets(model, config)
    model.requires_grad_(False)
    if config.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    torch.manual_seed(seed)  # before the adapter: its A matrices are random
    return Learner(_add_lora(model, config), device, precision)


def disarm_cpu_repacking(model: nn.Module) -> int:
    """Stops bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16; returns how many.

    An eval-mode forward there repacks a layer's weights in place for a kernel of its own, and they
    stay so: every later gradient through the layer is wrong, with no error.
    """
    modules = [m for m in model.modules() if hasattr(m, "support_avx512bf16_for_cpu")]
    for module in modules:
        cast(Any, module).support_avx512bf16_for_cpu = False
    return len(modules)


def _load_base(base: Base, *, use_qlora: bool, precision: Precision, device: torch.device) -> Any:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    rest = torch.bfloat16 if precision == "bf16" else torch.float32
    options: dict[str, Any] = {"dtype": rest, "device_map": {"": str(device)}}
    if use_qlora:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    try:
        return AutoModelForCausalLM.from_pretrained(
            str(base.path),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            **options,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if _is_of_the_machine(error):
            raise
        raise UserError(
            "bad_base_model",
            f"the base model {base.name!r} cannot be loaded: {error}",
            field="base_model",
        ) from error


def _is_of_the_machine(error: Exception) -> bool:
    """A GPU or a disk that fails is no fault of the base model: another try may go well."""
    if isinstance(error, OSError):  # Transformers raises its own without a number.
        return error.errno not in (None, errno.ENOENT)
    return isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError)


def _check_targets(model: Any, config: TrainingConfig) -> None:
    """Only linear layers inside the model can be served with an adapter on them."""
    output = model.get_output_embeddings()
    linear = {n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not output}
    if config.target_modules == "all-linear":
        return
    for target in config.target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            names = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise UserError(
                "unknown_target_module",
                f"config.target_modules: the base model has no linear layer {target!r} "
                f"that an adapter can be served on; it has {names}",
                field="config.target_modules",
            )


def _add_lora(model: Any, config: TrainingConfig) -> Any:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=config.target_modules,
        use_rslora=config.use_rslora,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        return get_peft_model(model, lora)  # type: ignore[no-untyped-call,unused-ignore]
