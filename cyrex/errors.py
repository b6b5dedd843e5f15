"""Errors that a caller can cause or must be told of: each has a code and names its field."""

from __future__ import annotations

from typing import Any


class UserError(Exception):
    """`param` is the field's path (`training_data[3].output`); `details` is JSON."""

    status = 400

    def __init__(
        self,
        code: str,
        message: str,
        param: str | None = None,
        status: int | None = None,
        details: Any = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.status = status or self.status
        self.details = details

    def as_json(self) -> dict[str, Any]:
        found = {"code": self.code, "message": self.message, "param": self.param}
        return found if self.details is None else {**found, "details": self.details}


class NotFound(UserError):
    status = 404


class Conflict(UserError):
    status = 409


class TooMany(UserError):
    """`retry_after_seconds`: when it is worth asking again; None: soon."""

    status = 429

    def __init__(
        self,
        code: str,
        message: str,
        param: str | None = None,
        status: int | None = None,
        details: Any = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(code, message, param, status, details)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(UserError):
    status = 503
