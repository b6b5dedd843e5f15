from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from helox import methods
from helox.methods.supervised import Supervised
from helox.model import Learner
from helox.pack import Batch
from helox.progress import Reporter
from helox.spec import TrainingSpec
from helox.train import Trainer

MakeSpec = Callable[..., TrainingSpec]


class Doubled(Supervised):
    """A second method: as the first, with twice the loss."""

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "factor": 2}

    def loss_sum(self, learner: Learner, batch: Batch) -> torch.Tensor:
        return 2 * super().loss_sum(learner, batch)


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_registered_method_loads(make_spec: MakeSpec, name: str) -> None:
    spec = make_spec([{"input": "a", "output": "b"}], config={"method": name})
    trainer = Trainer(spec, Reporter(spec.work_dir), lambda: False)
    trainer.check()
    (examples,) = trainer.method.steps(0, 0)
    (batch,) = trainer.method.batches(examples, 8, packing=True)
    assert trainer.method.weight(batch) == examples[0].trained_tokens


def test_a_second_method_is_one_line(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(methods.METHODS, "doubled", f"{__name__}:Doubled")
    lines = [{"input": f"q{n}", "output": "a"} for n in range(8)]
    losses = []
    for name in ("supervised", "doubled"):
        spec = make_spec(lines, name, config={"method": name, "num_epochs": 1, "batch_size": 8})
        Trainer(spec, Reporter(spec.work_dir), lambda: False).run()
        body = json.loads((spec.output_dir / "receipt.json").read_text())
        assert body["method"] == name
        losses.append(body["metrics"]["train_loss"])
    assert losses[1] == pytest.approx(2 * losses[0])
