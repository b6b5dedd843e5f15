"""What grammars add to a step."""

from __future__ import annotations

from benchmarks.engine.arms import BATCH, Arm, alternate, ratio
from benchmarks.engine.mixed import lengths_of
from benchmarks.engine.models import Model
from cyrex.engine import Grammar

# One string that is longer than any answer here: the grammar is never at its end.
OBJECT = Grammar.json_schema(
    {
        "type": "object",
        "properties": {"answer": {"type": "string", "minLength": 4000}},
        "required": ["answer"],
        "additionalProperties": False,
    }
)


def overhead(model: Model, is_full: bool) -> float:
    """How much longer a step takes when every row is held to a JSON schema."""
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
