"""The order for one training run: `spec.json`, checked before anything else happens.

Needs pydantic alone, so that the API checks a configuration with the very same ranges.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from helox.errors import Problem, UserError
from helox.methods import METHODS, SUPERVISED

SMALL_BASE_PARAMETERS = 100_000_000

# Defaults where every answer is a JSON object or a call: measured on 300 examples, a small base.
PROMPT_NOISE = 0.25
COPY_VARIATION = 0.8

AUTO = "auto"

ModuleName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


@dataclass(frozen=True)
class Amounts:
    """How much examples change from epoch to epoch, as shares.

    noise: of users' words; variation: of the examples whose copied words are replaced.
    """

    noise: float
    variation: float


class TrainingConfig(_Strict):
    """How to train. Every value has a default; lengths are in tokens.

    Where None is the default, `helox.plan` chooses by the data and the base; "auto" says the same.
    """

    lora_rank: int = Field(default=16, ge=1, le=256)
    lora_alpha: int = Field(default=32, ge=1, le=1024)
    lora_dropout: float = Field(default=0.0, ge=0, le=0.9)
    use_rslora: bool = False
    # Linear layers by the last part of their name, or all of them but the output layer.
    target_modules: Annotated[list[ModuleName], Field(max_length=64)] | Literal["all-linear"] = (
        "all-linear"
    )
    max_length: int = Field(default=512, ge=16, le=131_072)
    packing: bool = True
    # Tokens in a packed row; None packs to 256 or the longest example, whichever is more.
    pack_length: int | None = Field(default=None, ge=16, le=131_072)
    num_epochs: int | None = Field(default=None, ge=1, le=100)  # None: more for fewer examples
    batch_size: int | None = Field(default=None, ge=1, le=1024)  # examples, packed or not
    gradient_accumulation_steps: int = Field(default=1, ge=1, le=1024)
    learning_rate: float | None = Field(default=None, gt=0, le=1)  # None: by the width of the base
    lr_scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float | None = Field(default=None, ge=0, le=1)  # of all steps
    warmup_steps: int | None = Field(default=None, ge=0, le=1_000_000)  # wins over warmup_ratio
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0, le=1000)
    # Share of the words of users that random ones replace, anew in each epoch; those that an answer
    # repeats are spared. None: PROMPT_NOISE where the answers are JSON objects or calls and the
    # base is small, else 0.
    prompt_noise: float | None = Field(default=None, ge=0, le=0.5)
    # Share of the examples in which words that the answer copies from a user are replaced, in both,
    # by random ones. None: COPY_VARIATION where the answers are JSON or calls and the base is
    # small, else 0.
    copy_variation: float | None = Field(default=None, ge=0, le=1)
    holdout_fraction: float = Field(default=0.1, ge=0, le=0.5)
    # "auto" is bf16 on a GPU and whatever measured faster at equal accuracy on a CPU.
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    checkpoint_every_steps: int | None = Field(
        default=None, ge=1, le=1_000_000
    )  # None: by the clock
    method: str = SUPERVISED  # a name in helox.methods.METHODS

    @field_validator("num_epochs", "batch_size", "learning_rate", "warmup_ratio", mode="before")
    @classmethod
    def _read_auto(cls, value: Any) -> Any:
        return None if value == AUTO else value

    @field_validator("method")
    @classmethod
    def _know_the_method(cls, value: str) -> str:
        if value not in METHODS:
            raise ValueError(f"is not a training method; there is {', '.join(METHODS)}")
        return value

    @field_validator("target_modules", mode="before")
    @classmethod
    def _refuse_before_each_branch_does(cls, value: Any) -> Any:
        if value != "all-linear" and not isinstance(value, list):
            raise ValueError('must be a list of names of modules, or "all-linear"')
        return value

    @field_validator("target_modules")
    @classmethod
    def _name_modules_once(cls, value: str | list[str]) -> str | list[str]:
        if isinstance(value, list):
            if not value:
                raise ValueError('must name at least one module, or be "all-linear"')
            return sorted(set(value))
        return value

    @field_validator("pack_length")
    @classmethod
    def _fit_examples_in_rows(cls, value: int | None, info: ValidationInfo) -> int | None:
        max_length = info.data.get("max_length")
        if value is not None and max_length is not None and value < max_length:
            raise ValueError(f"{value} is below max_length {max_length}: an example may not fit")
        return value

    def augmentation_for(self, structured: bool, base_parameters: int) -> Amounts:
        """`structured`: every answer is a JSON object or a call of a tool.

        A base of SMALL_BASE_PARAMETERS and more has learned to copy already.
        """
        needed = structured and base_parameters < SMALL_BASE_PARAMETERS
        noise = PROMPT_NOISE if needed else 0.0
        variation = COPY_VARIATION if needed else 0.0
        return Amounts(
            noise=noise if self.prompt_noise is None else self.prompt_noise,
            variation=variation if self.copy_variation is None else self.copy_variation,
        )


class TrainingSpec(_Strict):
    """One run: what to read, where to write, how to train. Paths may be relative to the caller."""

    base_model: Path
    enable_thinking: bool = False  # a base that can reason before it answers does so
    data: Path
    # Examples to evaluate on, instead of a part of `data`.
    validation_file: Path | None = None
    # The directory of an adapter that Helox made on the same base, to go on from.
    continue_from: Path | None = None
    work_dir: Path
    output_dir: Path
    use_qlora: bool = False
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    threads: int = Field(default=1, ge=1, le=1024)
    config: TrainingConfig = TrainingConfig()
    # True: go on from the newest intact checkpoint in work_dir, if one belongs to this run.
    # False: start afresh. A path: go on from that checkpoint, or fail if it is another run's.
    resume: bool | Path = True


def problems_of(error: ValidationError) -> list[Problem]:
    """pydantic's complaints as (field, message), without the input's values."""
    problems = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(part) for part in item["loc"] if not _is_branch(part))
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "is not a setting"
        problems.append(Problem(message, field=path or None))
    return problems


def _is_branch(part: int | str) -> bool:
    """Parts of pydantic's path that name a branch of a union and not a field."""
    return isinstance(part, str) and (part.startswith(("literal[", "list[")) or part == "bool")


def parse_spec(text: str | bytes) -> TrainingSpec:
    """Reads spec.json.

    Raises:
        UserError: the text is not JSON or a field is out of range; it names the field.
    """
    try:
        values: Any = json.loads(text)
    except ValueError as error:
        raise UserError("invalid_spec", f"the spec is not JSON: {error}") from error
    try:
        return TrainingSpec.model_validate(values)
    except ValidationError as error:
        problems = problems_of(error)
        first = problems[0]
        message = "; ".join(f"{p.field or 'spec'}: {p.message}" for p in problems)
        raise UserError("invalid_config", message, field=first.field) from error
