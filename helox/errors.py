"""What can end a training run, and the exit code that says which of them it was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

EXIT_DONE = 0
EXIT_SYSTEM_ERROR = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again to continue

MAX_MESSAGE_CHARACTERS = 2_000


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one field, and with one line of the data where there is one (from 1)."""

    message: str
    field: str | None = None
    line: int | None = None

    def to_json(self) -> dict[str, Any]:
        values = {"line": self.line, "field": self.field, "message": self.message}
        return {key: value for key, value in values.items() if value is not None}


class TrainingError(Exception):
    """The run cannot go on. `code` is for programs, the message for people."""

    user_error = False
    exit_code = EXIT_SYSTEM_ERROR

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        line: int | None = None,
        lines: list[Problem] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message[:MAX_MESSAGE_CHARACTERS]
        self.field = field
        self.line = line
        self.lines = lines or []

    def to_json(self) -> dict[str, Any]:
        """The content of error.json."""
        body: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "user_error": self.user_error,
        }
        if self.field is not None:
            body["field"] = self.field
        if self.line is not None:
            body["line"] = self.line
        if self.lines:
            body["lines"] = [problem.to_json() for problem in self.lines]
        return body


class UserError(TrainingError):
    """The person who asked for the run can mend it: data, configuration or base model path."""

    user_error = True
    exit_code = EXIT_USER_ERROR


class UnfitTemplate(UserError):
    """The base model's chat template cannot be trained or served with, whatever the data says."""

    def __init__(self, message: str) -> None:
        super().__init__("unfit_chat_template", message, field="base_model")


class Interrupted(Exception):
    """SIGTERM came; whatever was trained is in a checkpoint, and the same command continues."""

    exit_code = EXIT_INTERRUPTED


class LineError(ValueError):
    """A line of training data that cannot be used, by field. The reader adds the line's number."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def refuse_non_finite(steps_done: int, **values: float) -> None:
    """Ends a run that has a loss, gradient or weight which is no longer a number.

    Raises:
        UserError: names the value and the step.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise UserError(
                "not_finite",
                f"the {name} is {value} after {steps_done} steps: the training diverged, or the "
                "base model's weights are broken; try a lower config.learning_rate",
                field="config.learning_rate",
            )
