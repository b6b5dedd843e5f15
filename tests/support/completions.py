"""An answer, as an engine would give it."""

from __future__ import annotations

from typing import Any

from cyrex.engine import Completion


def completion(text: str = "ab", **values: Any) -> Completion:
    given: dict[str, Any] = {
        "text": text,
        "tokens": [1, 2],
        "logprobs": [0.0, -float("inf")],
        "finish_reason": "stop",
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "adapter_id": None,
        "sha256": None,
    }
    return Completion(**given | values)
