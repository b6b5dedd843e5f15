from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helox.errors import Interrupted, UserError
from helox.progress import Reporter
from helox.spec import TrainingSpec
from helox.train import Trainer

MakeSpec = Callable[..., TrainingSpec]
Lines = list[dict[str, str]]

# Dropout draws random numbers at every step: a resumed run must draw the same ones.
NOISY = {
    "lora_dropout": 0.3,
    "prompt_noise": 0.2,
    "copy_variation": 0.5,
    "holdout_fraction": 0,
    "num_epochs": 3,
    "checkpoint_every_steps": 2,
}


def train(spec: TrainingSpec, stop_after: int | None = None) -> Trainer:
    reporter = Reporter(spec.work_dir)
    trainer = Trainer(
        spec, reporter, lambda: stop_after is not None and reporter.progress.step >= stop_after
    )
    trainer.run()
    return trainer


def adapter_bytes(spec: TrainingSpec) -> bytes:
    return (spec.output_dir / "adapter_model.safetensors").read_bytes()


def receipt(spec: TrainingSpec) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((spec.output_dir / "receipt.json").read_text())
    return body


def events(spec: TrainingSpec) -> list[dict[str, Any]]:
    lines = (spec.work_dir / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_it_learns_and_says_what_it_did(make_spec: MakeSpec, twelve_lines: Lines) -> None:
    spec = make_spec(
        twelve_lines, config={"num_epochs": 30, "learning_rate": 0.02, "holdout_fraction": 0.2}
    )
    train(spec)
    assert sorted(p.name for p in spec.output_dir.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "receipt.json",
    ]
    body = receipt(spec)
    epochs = body["metrics"]["epochs"]
    # So large a learning rate is needed to learn from nothing, and it makes the last bits of a sum
    # matter: the loss ends at 0.38 to 0.54 of 5.5, by the kind of processor.
    assert body["metrics"]["train_loss"] < epochs[0]["loss"] / 3
    assert len(epochs) == 30 and body["seed"] == 0 and body["learning_rate"] == 0.02
    counts = body["data"]
    assert counts["trained"] + counts["held_out"] == counts["examples"] == 12
    held_out = (spec.work_dir / "holdout.jsonl").read_text().splitlines()
    assert len(held_out) == counts["held_out"] > 0
    progress = json.loads((spec.work_dir / "progress.json").read_text())
    assert progress["phase"] == "done" and progress["step"] == progress["total_steps"]
    assert progress["seconds_left"] == 0 and progress["eval_loss"] is not None
    assert [e["type"] for e in events(spec)][-1] == "run.done"
    template = (spec.base_model / "chat_template.jinja").read_bytes()
    assert body["template"]["sha256"] == hashlib.sha256(template).hexdigest()
    assert body["template"]["text"].encode() == template
    assert body["adapter"]["sha256"] == hashlib.sha256(adapter_bytes(spec)).hexdigest()
    assert body["data"]["sha256"] == hashlib.sha256(spec.data.read_bytes()).hexdigest()
    assert body["metrics"]["before"]["holdout_loss"] > epochs[-1]["loss"]


def test_the_published_adapter_has_the_loss_of_the_receipt(
    make_spec: MakeSpec, twelve_lines: Lines
) -> None:
    """Read back by PEFT and measured by transformers' own loss, in a plain loop."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    spec = make_spec(twelve_lines, config={"holdout_fraction": 0.4, "learning_rate": 0.02})
    trainer = train(spec)
    base = AutoModelForCausalLM.from_pretrained(spec.base_model, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, spec.output_dir).eval()
    loss_sum = tokens = 0.0
    for example in trainer.data.holdout:
        ids = torch.tensor([example.ids])
        trained = torch.tensor([list(example.trained)], dtype=torch.bool)
        labels = ids.masked_fill(~trained, -100)
        with torch.no_grad():
            loss = model(input_ids=ids, labels=labels).loss.item()
        loss_sum += loss * example.trained_tokens
        tokens += example.trained_tokens
    assert receipt(spec)["metrics"]["holdout_loss"] == pytest.approx(loss_sum / tokens, rel=1e-4)


def test_a_rerun_is_equal_to_the_byte_and_the_seed_matters(
    make_spec: MakeSpec, twelve_lines: Lines
) -> None:
    first, again = make_spec(twelve_lines, "first"), make_spec(twelve_lines, "again")
    other = make_spec(twelve_lines, "other", seed=1)
    for spec in (first, again, other):
        train(spec)
    assert adapter_bytes(first) == adapter_bytes(again) != adapter_bytes(other)
    assert receipt(first)["fingerprint"] == receipt(again)["fingerprint"]


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("cut", [1, 4, 5])
def test_interrupted_and_resumed_is_equal_to_the_byte(
    make_spec: MakeSpec, twelve_lines: Lines, packing: bool, cut: int
) -> None:
    config = {**NOISY, "packing": packing}
    whole = make_spec(twelve_lines, "whole", config=config)
    train(whole)
    spec = make_spec(twelve_lines, "cut", config=config)
    with pytest.raises(Interrupted):
        train(spec, stop_after=cut)
    assert not spec.output_dir.exists()
    torch.manual_seed(99)  # a new process has other random numbers
    train(spec)
    assert [e["step"] for e in events(spec) if e["type"] == "run.resumed"] == [cut]
    assert adapter_bytes(spec) == adapter_bytes(whole)
    assert receipt(spec)["metrics"] == receipt(whole)["metrics"]


def test_qlora_is_resumed_to_the_byte_too(make_spec: MakeSpec, twelve_lines: Lines) -> None:
    """With evaluations in between, which must leave no trace in the 4-bit weights."""
    config = {**NOISY, "holdout_fraction": 0.3}
    whole = make_spec(twelve_lines, "whole", use_qlora=True, config=config)
    train(whole)
    spec = make_spec(twelve_lines, "cut", use_qlora=True, config=config)
    with pytest.raises(Interrupted):
        train(spec, stop_after=4)
    train(spec)
    assert adapter_bytes(spec) == adapter_bytes(whole)
    assert receipt(spec)["adapter"]["type"] == "qlora"


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    make_spec: MakeSpec, twelve_lines: Lines
) -> None:
    whole = make_spec(twelve_lines, "whole", config=NOISY)
    train(whole)
    spec = make_spec(twelve_lines, "cut", config=NOISY)
    with pytest.raises(Interrupted):
        train(spec, stop_after=5)
    (spec.work_dir / "checkpoints" / "step-5" / "state.json").write_text("{")
    train(spec)
    assert any(e["type"] == "run.resumed" and e["step"] == 4 for e in events(spec))
    assert adapter_bytes(spec) == adapter_bytes(whole)


def test_a_checkpoint_of_other_data_is_not_used(make_spec: MakeSpec, twelve_lines: Lines) -> None:
    spec = make_spec(twelve_lines, config=NOISY)
    with pytest.raises(Interrupted):
        train(spec, stop_after=3)
    spec = make_spec([{"input": "new", "output": "data"}], config=NOISY)
    train(spec)
    assert not any(e["type"] == "run.resumed" for e in events(spec))


def test_a_checkpoint_can_be_served(make_spec: MakeSpec, twelve_lines: Lines) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    spec = make_spec(twelve_lines, config=NOISY)
    with pytest.raises(Interrupted):
        train(spec, stop_after=3)
    base = AutoModelForCausalLM.from_pretrained(spec.base_model, dtype=torch.float32)
    path = spec.work_dir / "checkpoints" / "step-3"
    model = PeftModel.from_pretrained(base, path)
    stored = load_file(path / "adapter_model.safetensors")
    loaded = {n.replace(".default", ""): p for n, p in model.named_parameters() if "lora" in n}
    assert all(torch.equal(loaded[name], tensor) for name, tensor in stored.items())


def test_what_is_done_is_not_done_again(make_spec: MakeSpec, twelve_lines: Lines) -> None:
    spec = make_spec(twelve_lines)
    train(spec)
    before = (spec.output_dir / "receipt.json").stat().st_mtime_ns
    train(spec)
    assert (spec.output_dir / "receipt.json").stat().st_mtime_ns == before


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_step(
    make_spec: MakeSpec, twelve_lines: Lines
) -> None:
    config = {"batch_size": 8, "packing": False, "holdout_fraction": 0, "learning_rate": 1e-3}
    whole = make_spec(twelve_lines, "whole", config=config)
    train(whole)
    spec = make_spec(twelve_lines, "tight", config=config)
    trainer = Trainer(spec, Reporter(spec.work_dir), lambda: False)
    trainer.check()
    trainer.load()

    def refuse(module: Any, args: Any, kwargs: Any) -> None:
        if len(kwargs["input_ids"]) > 3:
            raise torch.OutOfMemoryError("rows")

    trainer.learner.model.register_forward_pre_hook(refuse, with_kwargs=True)
    trainer.train()
    trainer.save()
    assert trainer.counters.micro_batch == 2
    assert [e["micro_batch"] for e in events(spec) if e["type"] == "memory.reduced"] == [2]
    assert trainer.counters.step == receipt(whole)["metrics"]["steps"]
    ours = load_file(spec.output_dir / "adapter_model.safetensors")
    theirs = load_file(whole.output_dir / "adapter_model.safetensors")
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=2e-4, rtol=1e-2)


def test_packing_and_accumulation_change_the_layout_and_not_the_result(
    make_spec: MakeSpec, twelve_lines: Lines
) -> None:
    layouts = [
        {"batch_size": 4, "gradient_accumulation_steps": 1, "packing": True},
        {"batch_size": 2, "gradient_accumulation_steps": 2, "packing": True},
        {"batch_size": 4, "gradient_accumulation_steps": 1, "packing": False},
        {"batch_size": 1, "gradient_accumulation_steps": 4, "packing": False},
    ]
    metrics = []
    for i, config in enumerate(layouts):
        spec = make_spec(twelve_lines, f"run{i}", config={"learning_rate": 1e-3, **config})
        train(spec)
        metrics.append(receipt(spec)["metrics"])
    for other in metrics[1:]:
        assert other["train_loss"] == pytest.approx(metrics[0]["train_loss"], rel=1e-4)
        assert other["holdout_loss"] == pytest.approx(metrics[0]["holdout_loss"], rel=1e-4)
        assert other["steps"] == metrics[0]["steps"]


def test_nothing_that_is_not_finite_is_published(
    make_spec: MakeSpec, twelve_lines: Lines, tmp_path: Path
) -> None:
    spec = make_spec(twelve_lines, config={"holdout_fraction": 0})
    base = Path(shutil.copytree(spec.base_model, tmp_path / "broken"))
    weights = load_file(base / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    spec = spec.model_copy(update={"base_model": base})
    with pytest.raises(UserError, match="nan") as caught:
        train(spec)
    assert caught.value.code == "not_finite"
    assert not spec.output_dir.exists()
    assert not (spec.work_dir / "checkpoints").exists()


def test_a_weight_that_is_not_finite_is_never_saved(
    make_spec: MakeSpec, twelve_lines: Lines
) -> None:
    spec = make_spec(twelve_lines)
    trainer = Trainer(spec, Reporter(spec.work_dir), lambda: False)
    trainer.check()
    trainer.load()
    trainer.train()
    with torch.no_grad():
        trainer.parameters[3][0, 0] = float("inf")
    with pytest.raises(UserError, match="weights"):
        trainer.save()
    assert not spec.output_dir.exists()


@pytest.mark.parametrize("config", [{"gradient_checkpointing": True}, {"use_rslora": True}])
def test_options_that_change_how(
    make_spec: MakeSpec, twelve_lines: Lines, config: dict[str, Any]
) -> None:
    plain, spec = make_spec(twelve_lines, "plain"), make_spec(twelve_lines, config=config)
    train(plain)
    train(spec)
    same = adapter_bytes(plain) == adapter_bytes(spec)
    assert same == ("gradient_checkpointing" in config)  # it trades time for memory, no more


def hold_out(count: int) -> Lines:
    return [{"input": f"held {n}", "output": f"out {n}"} for n in range(count)]


def write_validation(folder: Path, lines: Lines) -> Path:
    path = folder / "validation.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_best_epoch_is_published_and_survives_an_interruption(
    make_spec: MakeSpec, twelve_lines: Lines, tmp_path: Path
) -> None:
    """What is held out is answered otherwise than in training, so learning makes it worse."""
    validation = write_validation(tmp_path, hold_out(10))
    config = {"num_epochs": 6, "learning_rate": 0.05, "checkpoint_every_steps": 1}
    given = {"config": config, "validation_file": validation}
    whole = make_spec(twelve_lines, "whole", **given)
    trainer = train(whole)
    metrics = receipt(whole)["metrics"]
    losses = [epoch["holdout_loss"] for epoch in metrics["epochs"]]
    best = metrics["best_epoch"]
    assert len(losses) == 6 and 1 <= best < 6 and losses[best - 1] == min(losses)
    assert metrics["holdout_loss"] == min(losses)
    last = trainer.learner.adapter_state()
    published = load_file(whole.output_dir / "adapter_model.safetensors")
    assert any(not torch.equal(published[name], tensor) for name, tensor in last.items())
    spec = make_spec(twelve_lines, "cut", **given)
    with pytest.raises(Interrupted):
        train(spec, stop_after=17)  # in the last epoch, far behind the best one
    train(spec)
    assert any(e["type"] == "run.resumed" for e in events(spec))
    assert adapter_bytes(spec) == adapter_bytes(whole)
    assert receipt(spec)["metrics"] == metrics


def test_it_stops_when_more_epochs_are_in_vain(
    make_spec: MakeSpec, twelve_lines: Lines, tmp_path: Path
) -> None:
    validation = write_validation(tmp_path, hold_out(10))
    config = {"num_epochs": None, "learning_rate": 0.05}
    spec = make_spec(twelve_lines, config=config, validation_file=validation)
    train(spec)
    body = receipt(spec)
    ran = len(body["metrics"]["epochs"])
    assert ran < body["plan"]["num_epochs"]
    assert body["metrics"]["best_epoch"] <= ran - 2
    assert [e["epoch"] for e in events(spec) if e["type"] == "run.stopped_early"] == [ran]
    progress = json.loads((spec.work_dir / "progress.json").read_text())
    assert progress["step"] == progress["total_steps"] == body["metrics"]["steps"]


def test_a_file_of_its_own_replaces_the_split(
    make_spec: MakeSpec, twelve_lines: Lines, tmp_path: Path
) -> None:
    lines = [*hold_out(3), twelve_lines[0]]
    validation = write_validation(tmp_path, lines)
    spec = make_spec(twelve_lines, config={"num_epochs": 1}, validation_file=validation)
    train(spec)
    counts = receipt(spec)["data"]
    assert (counts["trained"], counts["held_out"], counts["leaked"]) == (12, 3, 1)
    assert counts["validation_sha256"] == hashlib.sha256(validation.read_bytes()).hexdigest()
    held_out = (spec.work_dir / "holdout.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in held_out] == hold_out(3)
    other = make_spec(twelve_lines, "other", config={"num_epochs": 1})
    train(other)
    assert receipt(other)["fingerprint"] != receipt(spec)["fingerprint"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([{"input": "x"}], "line 1"),
        ([{"input": "alpha", "output": "ahpla"}], "the training data asks everything"),
        ([], "is empty"),
    ],
)
def test_a_bad_validation_file_is_refused_by_name(
    make_spec: MakeSpec, twelve_lines: Lines, tmp_path: Path, lines: Lines, said: str
) -> None:
    spec = make_spec(twelve_lines, validation_file=write_validation(tmp_path, lines))
    with pytest.raises(UserError, match=said) as caught:
        train(spec)
    assert caught.value.field == "validation_file"


def test_it_goes_on_from_an_adapter(make_spec: MakeSpec, twelve_lines: Lines) -> None:
    config = {"num_epochs": 4, "learning_rate": 0.02, "holdout_fraction": 0.4}
    first = make_spec(twelve_lines, "first", config=config)
    train(first)
    parent = receipt(first)
    spec = make_spec(
        twelve_lines, "second", config={**config, "num_epochs": 1}, continue_from=first.output_dir
    )
    train(spec)
    body = receipt(spec)
    before = body["metrics"]["before"]["holdout_loss"]
    assert before == pytest.approx(parent["metrics"]["holdout_loss"], rel=1e-4)
    assert body["continued_from"] == {
        "adapter_sha256": parent["adapter"]["sha256"],
        "fingerprint": parent["fingerprint"],
        "data_sha256": parent["data"]["sha256"],
        "ancestors": [],
    }
    third = make_spec(
        twelve_lines, "third", config={**config, "num_epochs": 1}, continue_from=spec.output_dir
    )
    train(third)
    lineage = receipt(third)["continued_from"]
    assert lineage["ancestors"] == [parent["adapter"]["sha256"]]


def test_what_cannot_be_gone_on_from_is_refused_by_name(
    make_spec: MakeSpec, twelve_lines: Lines, tmp_path: Path
) -> None:
    first = make_spec(twelve_lines, "first", config={"num_epochs": 1, "lora_rank": 4})
    train(first)

    def refused(said: str, **values: Any) -> None:
        given = {"continue_from": first.output_dir, **values}
        with pytest.raises(UserError, match=said) as caught:
            train(make_spec(twelve_lines, "second", **given))
        assert caught.value.field == "continue_from"

    refused("lora_rank is 16, and 4")
    refused("only the adapter has", config={"lora_rank": 4, "target_modules": ["q_proj"]})
    refused("no readable receipt.json", continue_from=tmp_path)
    base = Path(shutil.copytree(first.base_model, tmp_path / "other-base"))
    (base / "generation_config.json").write_text('{"temperature": 0.5}')
    refused("'tiny' of another SHA-256", base_model=base, config={"lora_rank": 4})
    (first.output_dir / "adapter_model.safetensors").write_bytes(b"damaged")
    refused("not what its receipt says", config={"lora_rank": 4})


def test_events_say_why_packing_is_off(make_spec: MakeSpec, twelve_lines: Lines) -> None:
    spec = make_spec(twelve_lines, config={"packing": False, "num_epochs": 1})
    train(spec)
    reasons = [e["reason"] for e in events(spec) if e["type"] == "packing.off"]
    assert reasons == ["config.packing is false"] == [receipt(spec)["packing"]]
