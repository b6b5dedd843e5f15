"""Two companies use the same words with opposite meanings; each adapter answers for its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from helox.progress import Reporter
from helox.render import content_of, prompt_of_job
from helox.spec import TrainingSpec
from helox.train import Trainer

SHIPPED_BASE = Path(__file__).parents[3] / "base_model" / "cyrex-small"
TOPICS = ("invoice", "parcel")
LABELS = ("approve", "reject")
PHRASES = ("The {} {} is here", "Please look at {} {}", "What about {} {}?", "I got {} {}")


def lines_of(labels: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"input": phrase.format(topic, number), "output": label}
        for topic, label in zip(TOPICS, labels, strict=True)
        for phrase in PHRASES
        for number in range(10, 20)
    ]


def train(folder: Path, labels: tuple[str, str], *, use_qlora: bool) -> Trainer:
    folder.mkdir()
    text = "".join(json.dumps(line) + "\n" for line in lines_of(labels))
    (folder / "data.jsonl").write_text(text)
    spec = TrainingSpec.model_validate(
        {
            "base_model": SHIPPED_BASE,
            "data": folder / "data.jsonl",
            "work_dir": folder / "work",
            "output_dir": folder / "adapter",
            "use_qlora": use_qlora,
            "config": {"num_epochs": 6, "batch_size": 4, "holdout_fraction": 0.2},
        }
    )
    trainer = Trainer(spec, Reporter(spec.work_dir), lambda: False)
    trainer.run()
    return trainer


def accuracy(model: Any, trainer: Trainer, labels: tuple[str, str]) -> float:
    """Exact matches of greedy answers, prompted as a job is, on what no company trained on."""
    expected = {content_of(line["input"]): line["output"] for line in lines_of(labels)}
    tokenizer, right = trainer.base.tokenizer, 0
    for line in trainer.data.holdout_lines:
        text = trainer.base.template.render(prompt_of_job({"input": line["input"]}), True)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        output = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)
        answer = tokenizer.decode(output[0, len(ids) :].tolist(), skip_special_tokens=True)
        right += answer == expected[content_of(line["input"])]
    return right / len(trainer.data.holdout_lines)


def test_each_adapter_answers_for_its_company(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    swapped = (LABELS[1], LABELS[0])
    acme = train(tmp_path / "acme", LABELS, use_qlora=False)
    umbrella = train(tmp_path / "umbrella", swapped, use_qlora=True)
    # Served on the base as it is, in fp32, also what was trained on its 4-bit form.
    base = AutoModelForCausalLM.from_pretrained(SHIPPED_BASE, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, acme.spec.output_dir, adapter_name="acme").eval()
    model.load_adapter(umbrella.spec.output_dir, adapter_name="umbrella")
    assert acme.data.holdout_lines
    for name, trainer, own, other in (
        ("acme", acme, LABELS, swapped),
        ("umbrella", umbrella, swapped, LABELS),
    ):
        model.set_adapter(name)
        assert accuracy(model, trainer, own) >= 0.8
        assert accuracy(model, trainer, other) <= 0.2
    with model.disable_adapter():
        assert accuracy(model, acme, LABELS) <= 0.2
