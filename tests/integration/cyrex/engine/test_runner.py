"""A step that breaks is computed again, row by row."""

from __future__ import annotations

import logging
import weakref
from typing import Any

import pytest
import torch

from cyrex.engine import (
    GenerationFailed,
    Request,
)
from cyrex.engine.layout import Piece
from cyrex.engine.loop import Engine
from cyrex.engine.model import LanguageModel
from tests.support.engine_requests import ask


def test_what_a_broken_step_hits_fails_and_the_loop_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = type(engine.model).forward

    def broken(*arguments: object, **options: object) -> torch.Tensor:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(type(engine.model), "forward", broken)
        with pytest.raises(GenerationFailed, match="out of memory"):
            ask(engine)
    assert type(engine.model).forward is forward
    assert isinstance(ask(engine), str)


def test_what_a_broken_step_held_is_free_when_its_rows_run_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or memory that ran out for all of them together runs out for each of them too."""
    requests = [Request("company0", None, [60 + i], 20) for i in range(4)]
    expected = [engine.submit(request).result(60).tokens for request in requests]
    forward = type(engine.model).forward
    held: list[weakref.ref[torch.Tensor]] = []
    seen_alone: list[bool] = []

    def short_of_memory(
        model: LanguageModel, decoding: list[Piece], prompts: list[Piece], *rest: Any
    ) -> torch.Tensor:
        if len(decoding) + len(prompts) > 1:
            large = torch.empty(1)
            held.append(weakref.ref(large))
            raise torch.OutOfMemoryError("out of memory")
        if held:
            seen_alone.append(held[-1]() is None)
        return forward(model, decoding, prompts, *rest)

    monkeypatch.setattr(logging.getLogger("cyrex.engine.runner"), "disabled", True)
    monkeypatch.setattr(type(engine.model), "forward", short_of_memory)
    handles = [engine.submit(request) for request in requests]
    assert [handle.result(60).tokens for handle in handles] == expected
    assert seen_alone and all(seen_alone)
