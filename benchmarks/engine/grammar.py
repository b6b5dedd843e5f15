"""The cost of grammars in a step."""

from __future__ import annotations

from benchmarks.engine.arms import BATCH, Arm, alternate, ratio
from benchmarks.engine.mixed import lengths_of
from benchmarks.engine.models import Model
from cyrex.engine import Grammar

# One string longer than any answer here, so that the grammar never ends an answer.
OBJECT = Grammar.json_schema(
    {
        "type": "object",
        "properties": {"answer": {"type": "string", "minLength": 4000}},
        "required": ["answer"],
        "additionalProperties": False,
    }
)


def overhead(model: Model, is_full: bool) -> float:
    """Extra time of a step, as a share, when a JSON schema constrains every row."""
    print(f"{model.shape.name}: steps a second with and without grammars", flush=True)
    arm = Arm(model)
    size = lengths_of(model, is_full)

    def rate(grammar: Grammar | None) -> float:
        return arm.mixed(0, size.prompt, size.answer, grammar).decode_rate() / BATCH

    try:
        rate(OBJECT)
        samples = alternate(
            {"free": lambda: rate(None), "held to a schema": lambda: rate(OBJECT)}, size.rounds
        )
    finally:
        arm.close()
    return round(ratio(samples, "free", "held to a schema") - 1, 3)
