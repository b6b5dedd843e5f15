from __future__ import annotations

import errno
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from bitsandbytes.functional import has_avx512bf16
from torch.nn import functional as F

from helox.base import Base
from helox.errors import UserError
from helox.mask import Encoder, Example
from helox.model import Learner, build_learner, choose_precision, disarm_cpu_repacking
from helox.pack import layout, split_step
from helox.render import to_messages
from helox.spec import TrainingConfig

CPU = torch.device("cpu")
REPACKS = bool(has_avx512bf16())


def learner_of(base_dir: Path, *, use_qlora: bool = False, seed: int = 0, **config: Any) -> Learner:
    learner = build_learner(
        Base.open(base_dir),
        TrainingConfig(**config),
        use_qlora=use_qlora,
        seed=seed,
        device=CPU,
    )
    learner.model.train()
    return learner


def examples_of(base_dir: Path) -> list[Example]:
    encoder = Encoder.of(Base.open(base_dir), 64)
    words = ["one", "seventeen", "a", "twenty two", "nine", "thousands", "six", "eleven"]
    lines = [{"input": word, "output": word[::-1]} for word in words]
    return [encoder.encode(to_messages(line))[0] for line in lines]


def stir(learner: Learner) -> None:
    """B starts at zero; with random values the adapter takes part in every figure."""
    torch.manual_seed(5)
    for parameter in learner.trainable().values():
        torch.nn.init.normal_(parameter, std=0.05)


def gradient(learner: Learner, batches: list[Any]) -> torch.Tensor:
    learner.model.zero_grad(set_to_none=True)
    total = sum(len(batch.targets_N) for batch in batches)
    for batch in batches:
        torch.autograd.backward(learner.predict(batch).loss_sum / total)
    grads = [p.grad for p in learner.trainable().values()]
    return torch.cat([g.flatten() for g in grads if g is not None])


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(F.cosine_similarity(a, b, dim=0))


def test_only_lora_weights_are_trained_in_fp32(tiny_base: Path) -> None:
    for learner in (learner_of(tiny_base), learner_of(tiny_base, precision="bf16")):
        trainable = learner.trainable()
        assert len(trainable) == 2 * 7 * 2  # A and B of seven layers in two blocks
        assert all(p.dtype == torch.float32 for p in trainable.values())
        assert not any("lm_head" in name or "embed" in name for name in trainable)


def test_chosen_logits_are_those_of_the_whole_model(tiny_base: Path) -> None:
    learner = learner_of(tiny_base)
    stir(learner)
    example = examples_of(tiny_base)[1]
    batch = layout([example], False, None)
    chosen = learner.logits(batch)
    fresh = learner.model.get_base_model().model(input_ids=batch.ids_RT).last_hidden_state
    whole = torch.nn.functional.linear(fresh, learner.model.get_output_embeddings().weight)
    torch.testing.assert_close(chosen, whole[0, batch.predicting_N])


def test_packed_logits_are_those_of_each_example_alone(tiny_base: Path) -> None:
    learner = learner_of(tiny_base)
    stir(learner)
    examples = examples_of(tiny_base)
    packed = layout(examples, True, 64)
    assert packed.ids_RT.shape[0] > 1 and packed.positions_RT is not None
    with torch.no_grad():
        together = learner.logits(packed)
        by_target: dict[tuple[int, ...], list[torch.Tensor]] = {}
        for example in examples:
            alone = layout([example], False, None)
            by_target[tuple(alone.targets_N.tolist())] = list(learner.logits(alone))
    start = 0
    while start < len(together):
        targets = packed.targets_N[start:].tolist()
        match = next(key for key in by_target if tuple(targets[: len(key)]) == key)
        torch.testing.assert_close(
            together[start : start + len(match)],
            torch.stack(by_target.pop(match)),
            atol=1e-4,
            rtol=1e-4,
        )
        start += len(match)
    assert not by_target


def test_packing_is_refused_where_one_example_would_see_another(tmp_path: Path) -> None:
    from transformers import Lfm2Config, Lfm2ForCausalLM

    config = Lfm2Config(
        vocab_size=264,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention"],  # the convolution knows no borders
    )
    torch.manual_seed(0)
    model = Lfm2ForCausalLM(config)
    model.get_base_model = lambda: model
    learner = Learner(model, CPU, "fp32")
    assert not learner.can_pack()
    assert "see the one before" in str(learner.why_not_pack())


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("config", [{}, {"precision": "bf16"}, {"use_qlora": True}])
def test_packing_is_allowed_for_attention(
    tiny_base: Path, config: dict[str, Any], threads: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert learner_of(tiny_base, **config).why_not_pack() is None
    finally:
        torch.set_num_threads(before)


def test_packing_is_refused_without_positions(tiny_base: Path) -> None:
    """Positions that a model ignores draw no border: the whole row is seen."""
    learner = learner_of(tiny_base)
    inner = learner.model.get_base_model().model
    handle = inner.register_forward_pre_hook(
        lambda _, args, kwargs: (args, {**kwargs, "position_ids": None}), with_kwargs=True
    )
    try:
        assert "see the one before" in str(learner.why_not_pack())
    finally:
        handle.remove()


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_gradient_is_the_mean_over_tokens_however_the_step_is_cut(
    tiny_base: Path, packing: bool, size: int
) -> None:
    learner = learner_of(tiny_base)
    stir(learner)
    examples = examples_of(tiny_base)
    batches = [layout(part, packing, None) for part in split_step(examples, size)]
    ours = gradient(learner, batches)

    learner.model.zero_grad(set_to_none=True)
    loss_sum, tokens = torch.zeros(()), 0
    embeddings = learner.model.get_output_embeddings()
    for example in examples:  # the plain formula, an example at a time
        hidden = learner.model.get_base_model().model(torch.tensor([example.ids])).last_hidden_state
        logits = F.linear(hidden[0, :-1], embeddings.weight)
        trained = torch.tensor(list(example.trained[1:]), dtype=torch.bool)
        targets = torch.tensor(example.ids[1:])[trained]
        loss_sum = loss_sum + F.cross_entropy(logits[trained], targets, reduction="sum")
        tokens += len(targets)
    torch.autograd.backward(loss_sum / tokens)
    grads = [p.grad for p in learner.trainable().values()]
    theirs = torch.cat([g.flatten() for g in grads if g is not None])
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


def test_bf16_agrees_with_fp32(tiny_base: Path) -> None:
    examples = examples_of(tiny_base)
    figures = {}
    for precision in ("fp32", "bf16"):
        learner = learner_of(tiny_base, precision=precision)
        stir(learner)
        figures[precision] = gradient(learner, [layout(examples, True, None)])
    assert cosine(figures["fp32"], figures["bf16"]) > 0.98


def test_the_seed_decides_the_adapter_whatever_ran_before(tiny_base: Path) -> None:
    first = learner_of(tiny_base, seed=3).adapter_state()
    torch.rand(17)
    again = learner_of(tiny_base, seed=3).adapter_state()
    other = learner_of(tiny_base, seed=4).adapter_state()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_adapter_file_is_what_peft_would_write(tiny_base: Path) -> None:
    from peft import get_peft_model_state_dict

    learner = learner_of(tiny_base, target_modules=["v_proj", "q_proj"], use_rslora=True)
    stir(learner)
    theirs = get_peft_model_state_dict(learner.model)
    ours = learner.adapter_state()
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    config = learner.adapter_config("tiny")
    assert config["target_modules"] == ["q_proj", "v_proj"] and config["use_rslora"] is True
    assert config["base_model_name_or_path"] == "tiny" and config["bias"] == "none"
    assert config["modules_to_save"] is None


@pytest.mark.parametrize("name", ["lm_head", "embed_tokens", "input_layernorm", "query"])
def test_what_cannot_be_served_is_refused_by_name(tiny_base: Path, name: str) -> None:
    with pytest.raises(UserError, match=name) as caught:
        learner_of(tiny_base, target_modules=["q_proj", name])
    assert caught.value.field == "config.target_modules" and "v_proj" in caught.value.message


def test_auto_precision() -> None:
    auto = TrainingConfig()
    assert choose_precision(auto, CPU, 4_000_000) == "fp32"
    assert choose_precision(auto, torch.device("cuda"), 4_000_000) == "bf16"
    assert choose_precision(TrainingConfig(precision="bf16"), CPU, 1) == "bf16"
    fast = torch.cpu._is_avx512_bf16_supported()
    assert choose_precision(auto, CPU, 10**9) == ("bf16" if fast else "fp32")


def test_qlora_is_nf4_with_double_quantisation_and_bf16(tiny_base: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    learner = learner_of(tiny_base, use_qlora=True)
    layers = [m for m in learner.model.modules() if isinstance(m, Linear4bit)]
    assert len(layers) == 14
    for layer in layers:
        state = layer.weight.quant_state
        assert (state.quant_type, state.nested) == ("nf4", True)
        assert layer.compute_dtype == torch.bfloat16
        assert not layer.support_avx512bf16_for_cpu


def test_a_qlora_gradient_is_that_of_lora_but_for_rounding(tiny_base: Path) -> None:
    batch = layout(examples_of(tiny_base), True, None)
    figures = []
    for use_qlora in (False, True):
        learner = learner_of(tiny_base, use_qlora=use_qlora)
        stir(learner)
        figures.append(gradient(learner, [batch]))
    assert cosine(*figures) > 0.8


def test_a_qlora_gradient_is_the_same_after_an_evaluation(tiny_base: Path) -> None:
    learner = learner_of(tiny_base, use_qlora=True)
    stir(learner)
    batch = layout(examples_of(tiny_base), True, None)
    before = gradient(learner, [batch])
    evaluate_once(learner, batch)
    assert torch.equal(gradient(learner, [batch]), before)


@pytest.mark.skipif(not REPACKS, reason="this CPU has no AVX512-BF16: nothing is repacked on it")
def test_without_disarming_an_evaluation_does_spoil_the_gradient(tiny_base: Path) -> None:
    learner = learner_of(tiny_base, use_qlora=True)
    stir(learner)
    for module in learner.model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = True
    batch = layout(examples_of(tiny_base), True, None)
    before = gradient(learner, [batch])
    evaluate_once(learner, batch)
    assert cosine(gradient(learner, [batch]), before) < 0.9
    assert disarm_cpu_repacking(learner.model) == 14


def evaluate_once(learner: Learner, batch: Any) -> None:
    learner.model.eval()
    with torch.no_grad():
        learner.predict(batch)
    learner.model.train()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        torch.AcceleratorError("CUDA error: all CUDA-capable devices are busy or unavailable"),
        OSError(errno.EIO, "Input/output error"),
    ],
)
def test_what_fails_in_the_machine_is_not_the_base_models_fault(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Or the run would end for good, with a word to a person who can mend nothing."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(type(error), match=re.escape(str(error))):
        learner_of(tiny_base)


def test_a_base_model_that_is_no_model_is_the_askers_fault(tiny_base: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"model_type": "no-such-thing"}))
    with pytest.raises(UserError, match="cannot be loaded"):
        learner_of(broken)
