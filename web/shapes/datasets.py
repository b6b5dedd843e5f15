"""Requests and answers about datasets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from cyrex.training.order import MAX_SEED
from web.shapes.common import AnswerBody, OwnCompanyId, Parameters, RequestBody
from web.shapes.training import COUNTS


class CheckDataset(RequestBody):
    company_id: OwnCompanyId = None
    training_data: list[Any] | None = Field(
        None, min_length=1, description="Examples, as for `train-adapter`; or send a file."
    )
    config: dict[str, Any] | None = Field(None, description="Settings of the trainer.")
    use_qlora: bool | None = Field(None, description="As for `train-adapter`.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="As for `train-adapter`.")
    base_model: str | None = Field(
        None, max_length=4096, description="Must be the base model that is served."
    )


class CheckQuery(Parameters):
    model_config = ConfigDict(extra="ignore")  # beside a file, the body's fields stand here

    format: Literal["json", "html"] = Field("json", description="`html`: a page for people.")


class DatasetReport(AnswerBody):
    """The findings in a dataset; lists of lines are cut at 1000."""

    model_config = ConfigDict(extra="allow")

    ok: bool = Field(description="Whether it can be trained on: no bad rows, and an example.")
    lines: int
    examples: int
    counts: dict[str, Any] = Field(description=COUNTS)
    problem_count: int
    problems: list[dict[str, Any]] = Field(description="Bad rows: line, field, message.")
    warnings: list[dict[str, Any]]
    hints: list[str] = Field(description="Remarks on the rows as a whole.")
    histogram: list[dict[str, Any]] | None = Field(description="Rows by their length in tokens.")
    labels: list[dict[str, Any]] | None = Field(description="Null: the answers are no labels.")
    contradiction_pairs: list[dict[str, Any]]
    near_duplicates: dict[str, Any] | None
    leakage: dict[str, Any] | None = Field(description="Near duplicates across the split.")
    control_tokens: dict[str, Any]
    personal_data: dict[str, Any] = Field(description="By kind: rows and lines, never values.")
    estimate: dict[str, Any] | None = Field(description="Steps, tokens, seconds, memory_bytes.")
