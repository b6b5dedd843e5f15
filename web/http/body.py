"""Request bodies: a JSON object in UTF-8, of limited size and depth, that Postgres can store."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from typing import Any, NoReturn, cast

from flask import Request, request
from werkzeug.exceptions import RequestEntityTooLarge

from cyrex.errors import TooMany, UserError
from database.base import UNSTORABLE
from settings import get_settings
from web.http.auth import caller
from web.http.errors import path_of
from web.live.waiting import Seats

MAX_DEPTH = 64
# A NUL or half a surrogate pair can only come as an escape: UTF-8 and JSON refuse them raw.
SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")

# Endpoints that take whole datasets, which fill several times their size of a process's memory:
# so many at a time.
LARGE = {"training.train_adapter"}
MAX_UPLOADS = 8
_uploads = Seats(MAX_UPLOADS)

Path = tuple[int | str, ...]


class JsonRequest(Request):
    """A Flask request whose body is read strictly: what is wrong with it is said, never ignored."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Return the body's object. Raises `UserError`, whatever `force` and `silent` say."""
        if "cyrex.body" not in self.environ:
            self.environ["cyrex.body"] = self._read()
        return self.environ["cyrex.body"]

    def _read(self) -> dict[str, Any]:
        mimetype = self.mimetype
        if not (mimetype == "application/json" or mimetype.endswith("+json")):
            sent = f"not {mimetype}" if mimetype else "and the request names none"
            raise UserError(
                "unsupported_media_type",
                f"Content-Type must be application/json, {sent}",
                param="Content-Type",
                status=415,
            )
        return parse_object(self._read_bytes())

    def _read_bytes(self) -> bytes:
        settings = get_settings()
        name, limit = "max_request_bytes", settings.max_request_bytes
        if self.endpoint in LARGE:
            name, limit = "max_body_bytes", settings.max_body_bytes
            if self.content_length is None or self.content_length > settings.max_request_bytes:
                self._take_seat()
        # Werkzeug cuts a body without a Content-Length off here, silently: one byte more than is
        # allowed shows that it was too large.
        self.max_content_length = limit + 1
        with suppress(RequestEntityTooLarge):
            raw = self.get_data(cache=False)
            if len(raw) <= limit:
                return raw
        raise UserError(
            "body_too_large",
            f"the body is larger than {name.upper()}, which is {limit} bytes",
            status=413,
        )

    def _take_seat(self) -> None:
        """Until `give_seat_back`."""
        company_id = caller().company_id or ""
        if not _uploads.take(company_id):
            raise TooMany(
                "too_many_uploads", "as many large uploads are coming in as may; try again"
            )
        self.environ["cyrex.upload"] = company_id


def give_seat_back(_error: BaseException | None) -> None:
    """At the end of each request."""
    company_id = request.environ.pop("cyrex.upload", None)
    if company_id is not None:
        _uploads.leave(company_id)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse a body that must be one JSON object. Raises `UserError` that says what and where."""
    text = _decode(raw)
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        _refuse(f"not valid JSON: line {error.lineno} column {error.colno}: {error.msg}")
    except RecursionError:
        _refuse(f"nested deeper than {MAX_DEPTH} levels")
    except ValueError as error:
        # From the hooks below, or an integer of more digits than Python converts.
        _refuse(str(error) if "not allowed" in str(error) else "holds a number that is too long")
    if not isinstance(value, dict):
        _refuse("must be a JSON object")
    _check(value, strings=SUSPECT.search(text) is not None)
    return cast(dict[str, Any], value)


def _refuse(message: str, path: Path = ()) -> NoReturn:
    param = path_of(path)
    raise UserError("invalid_json", f"{param or 'the body'}: {message}", param=param)


def _decode(raw: bytes) -> str:
    if not raw:
        _refuse("is empty; send a JSON object")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(f"not valid UTF-8 at byte {error.start}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name} is not allowed")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:20]} is too large and not allowed")
    return value


def _check(root: dict[str, Any], strings: bool) -> None:
    """Refuse what is nested too deep and, if `strings`, characters that Postgres cannot store."""
    level: list[tuple[Any, Path]] = [(root, ())]
    for _depth in range(MAX_DEPTH):
        below: list[tuple[Any, Path]] = []
        for value, path in level:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, child in items:
                if isinstance(child, (dict, list)):
                    below.append((child, (*path, key)))
                elif strings and isinstance(child, str):
                    _check_string(child, (*path, key))
                if strings and isinstance(key, str):
                    _check_string(key, path)
        if not below:
            return
        level = below
    _refuse(f"nested deeper than {MAX_DEPTH} levels")


def _check_string(value: str, path: Path) -> None:
    found = UNSTORABLE.search(value)
    if found:
        kind = "a NUL character" if found[0] == "\0" else "half a surrogate pair"
        _refuse(f"holds {kind} (\\u{ord(found[0]):04x}), which cannot be stored", path)
