"""A job as it is asked for: one form for HTTP, Python and the stream, and for both ways in."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cyrex.errors import UserError
from database.base import Json, new_id
from database.transitions import JOB
from helox.nesting import TOO_DEEP, is_too_deep
from helox.render import LineError, order_matters, question_of

DEFAULT_TASK_TYPE = "automation"
TASK_TYPE = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
MAX_CHOICES = 1000
MAX_CHOICE_CHARACTERS = 500


@dataclass(frozen=True)
class NewJob:
    """A job without a row yet. `data` is JSON; `check_data` checks data that did not come as JSON.

    agent_id: None is the company's default agent. choices: the answer will be one of these.
    Raises `UserError` for a task type or choices that are none, and for data in a form of training
    data that asks nothing.
    """

    company_id: str
    data: Any
    task_type: str = DEFAULT_TASK_TYPE
    use_adapter: bool = True
    metadata: Json | None = None
    agent_id: str | None = None
    choices: Sequence[str] | None = None
    source: str = "api"
    job_id: str = field(default_factory=new_id)

    def __post_init__(self) -> None:
        check_task_type(self.task_type)
        check_question(self.data)
        if self.choices is not None:
            object.__setattr__(self, "choices", check_choices(self.choices))

    def values(self) -> Json:
        """The attributes of its row."""
        asked = {"data": self.data}
        if order_matters(self.data):
            asked["ordered"] = json.dumps(self.data)
        if self.choices is not None:
            asked["choices"] = self.choices
        return {
            "job_id": self.job_id,
            "company_id": self.company_id,
            "job_type": self.task_type,
            "input_data": asked,
            "use_adapter": self.use_adapter,
            "agent_id": self.agent_id,
            "details": self.metadata or {},
            "source": self.source,
            "status": "queued",
            "step": JOB.steps[0],
        }


def check_task_type(task_type: str) -> None:
    """Raises `UserError`."""
    if not isinstance(task_type, str) or not re.fullmatch(TASK_TYPE, task_type):
        raise UserError(
            "invalid_task_type",
            "task_type: 1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit",
            param="task_type",
        )


def check_data(data: Any) -> None:
    """Raises `UserError` for what is not JSON; the API's requests are JSON already."""
    try:
        json.dumps(data, allow_nan=False)
        too_deep = is_too_deep(data)
    except RecursionError:
        too_deep = True
    except (TypeError, ValueError) as error:
        raise UserError("invalid_data", f"data: is not JSON: {error}", param="data") from None
    if too_deep:
        raise UserError("invalid_data", f"data: {TOO_DEEP}", param="data")


def check_question(data: Any) -> None:
    """Raises `UserError` for data in a form of training data that asks nothing, or cannot be."""
    try:
        question_of(data)
    except LineError as error:
        field = "" if error.field in ("data", "line") else f".{error.field}"
        raise UserError(
            "invalid_data", f"data{field}: {error.message}", param=f"data{field}"
        ) from None


def check_choices(choices: Sequence[str]) -> list[str]:
    """Return `choices` if an answer can be held to them. Raises `UserError`."""
    found = list(choices)
    if not 1 <= len(found) <= MAX_CHOICES or len(set(found)) < len(found):
        raise UserError(
            "invalid_choices",
            f"choices: from 1 to {MAX_CHOICES} texts, no two of them equal",
            param="choices",
        )
    for i, choice in enumerate(found):
        if not choice.strip() or len(choice) > MAX_CHOICE_CHARACTERS:
            raise UserError(
                "invalid_choices",
                f"choices[{i}]: must be text of 1 to {MAX_CHOICE_CHARACTERS} characters",
                param=f"choices[{i}]",
            )
    return found
