from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helox.base import Base
from helox.data import estimate, read_dataset
from helox.errors import UserError
from helox.plan import make_plan
from helox.spec import TrainingConfig

WriteLines = Callable[..., Path]


def config(**values: Any) -> TrainingConfig:
    return TrainingConfig(**{"max_length": 64, **values})


def texts(base: Base, examples: Any) -> set[str]:
    return {base.tokenizer.decode(list(e.ids)) for e in examples}


def test_the_hold_out_is_never_trained_on(tiny_base: Path, write_lines: WriteLines) -> None:
    base = Base.open(tiny_base)
    lines = [{"input": f"q{i % 40}", "output": f"a{i}"} for i in range(80)]  # every input twice
    data = read_dataset(write_lines(lines), base, config(holdout_fraction=0.3))
    held = {line["input"] for line in data.holdout_lines}
    assert 0 < len(held) < 40
    trained_inputs = {t.split("a")[0] for t in texts(base, data.train)}
    assert not trained_inputs & {t.split("a")[0] for t in texts(base, data.holdout)}
    assert len(trained_inputs) + len(held) == 40
    assert data.counts["trained"] + data.counts["held_out"] == data.counts["examples"] == 80
    assert data.counts["contradictions"] == 40


def test_held_out_lines_are_as_they_came(tiny_base: Path, write_lines: WriteLines) -> None:
    lines = [{"prompt": {"n": i}, "completion": i, "id": f"é{i}"} for i in range(50)]
    data = read_dataset(write_lines(lines), Base.open(tiny_base), config(holdout_fraction=0.5))
    assert data.holdout_lines and all(line in lines for line in data.holdout_lines)


def test_fully_masked_examples_are_dropped_and_counted(
    tiny_base: Path, write_lines: WriteLines
) -> None:
    lines = [{"input": "q", "output": "a"}, {"input": "q" * 90, "output": "a"}]
    data = read_dataset(write_lines(lines), Base.open(tiny_base), config(holdout_fraction=0))
    assert (data.counts["dropped"], data.counts["trained"]) == (1, 1)
    assert data.counts["truncated"] == 1 and len(data.train) == 1


def test_one_example_is_enough(tiny_base: Path, write_lines: WriteLines) -> None:
    data = read_dataset(
        write_lines([{"input": "q", "output": "a"}]),
        Base.open(tiny_base),
        config(holdout_fraction=0.5),
    )
    assert len(data.train) == 1 and not data.holdout


@pytest.mark.parametrize(
    ("lines", "code", "field"),
    [
        ([], "no_examples", "data"),
        ([{"input": "q" * 90, "output": "a"}], "nothing_to_learn", "config.max_length"),
        ([{"input": "q", "output": "a"}, {"input": "q"}], "bad_data", "output"),
    ],
)
def test_data_that_cannot_be_used(
    tiny_base: Path, write_lines: WriteLines, lines: Any, code: str, field: str
) -> None:
    with pytest.raises(UserError) as caught:
        read_dataset(write_lines(lines), Base.open(tiny_base), config())
    assert (caught.value.code, caught.value.field) == (code, field)


def test_all_bad_lines_are_in_the_error(tiny_base: Path, write_lines: WriteLines) -> None:
    with pytest.raises(UserError, match="2 of 3 lines") as caught:
        read_dataset(
            write_lines(["x", {"input": "q", "output": "a"}, {"output": "a"}]),
            Base.open(tiny_base),
            config(),
        )
    body = json.loads(json.dumps(caught.value.to_json()))
    assert body["line"] == 1 and [item["line"] for item in body["lines"]] == [1, 3]


def test_a_missing_file(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_dataset(tmp_path / "none.jsonl", Base.open(tiny_base), config())
    assert caught.value.field == "data"


def test_more_than_the_base_was_made_for(tiny_base: Path, write_lines: WriteLines) -> None:
    with pytest.raises(UserError, match="300 is more than the 256 tokens") as caught:
        read_dataset(write_lines([]), Base.open(tiny_base), config(max_length=300))
    assert caught.value.field == "config.max_length"


def test_the_estimate_counts_every_epoch(tiny_base: Path, write_lines: WriteLines) -> None:
    base = Base.open(tiny_base)
    setting = config(num_epochs=3, batch_size=2, gradient_accumulation_steps=2, holdout_fraction=0)
    lines = [{"input": f"q{i}", "output": "a"} for i in range(9)]
    data = read_dataset(write_lines(lines), base, setting)
    figures = estimate(data, base, make_plan(setting, base, data.train), threads=1)
    assert figures["steps"] == 9  # 9 examples, 4 a step, 3 epochs
    assert figures["tokens"] == 9 * 7 * 3
    assert figures["memory_bytes"] > 4 * base.parameters and figures["seconds"] >= 0


def test_an_answer_that_is_cut_is_not_learned_as_if_it_ended_there(
    tiny_base: Path, write_lines: WriteLines
) -> None:
    base = Base.open(tiny_base)
    lines = [{"input": "q", "output": "a" * 90}, {"input": "r", "output": "a" * 9}]
    data = read_dataset(write_lines(lines), base, config(holdout_fraction=0))
    learned = [[t for t, m in zip(e.ids, e.trained, strict=True) if m] for e in data.train]
    assert [tokens[-1] in base.stop_ids for tokens in learned] == [False, True]
    assert data.report.counts()["cut"] == 1


def test_rows_of_any_kind_of_file_are_trained_on(tiny_base: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text("input,output\nq,a\nr,b\n")
    data = read_dataset(path, Base.open(tiny_base), config(holdout_fraction=0))
    assert texts(Base.open(tiny_base), data.train) == {"qa", "rb"} and len(data.sha256) == 64


def test_the_default_length_bows_to_a_base_that_was_made_for_less(
    tiny_base: Path, write_lines: WriteLines
) -> None:
    lines = [{"input": "q", "output": "a" * 300}]
    data = read_dataset(
        write_lines(lines), Base.open(tiny_base), TrainingConfig(holdout_fraction=0)
    )
    assert [len(example.ids) for example in data.train] == [256]
