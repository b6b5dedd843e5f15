"""Request bodies: one JSON object in UTF-8, of limited size and depth, which Postgres can store."""

from __future__ import annotations

import codecs
import json
import math
import re
from contextlib import suppress
from typing import Any, NoReturn, cast

from flask import Request, request
from werkzeug.exceptions import RequestEntityTooLarge

from cyrex.errors import TooMany, UserError
from database.base import UNSTORABLE
from helox.file_kinds import encoding_of
from helox.json_text import unique_keys
from helox.nesting import MAX_DEPTH
from settings import get_settings
from web.http.auth import caller
from web.http.errors import path_of
from web.http.uploads import FILE_TYPES, VALIDATION_FILE, is_upload, read_upload, upload_of
from web.live.waiting import Seats

# A NUL or half a surrogate pair can only arrive as an escape: UTF-8 and JSON refuse them raw.
SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")

# Endpoints that take whole datasets. A dataset fills several times its size of memory, so few are
# read at a time in a process.
CHECK = "datasets.check_dataset"
LARGE = {"training.train_adapter", CHECK}
# Endpoints whose body may be left out.
OPTIONAL = {
    f"adapters.{name}_adapter" for name in ("promote", "rollback", "pin", "unpin", "retire")
} | {"adapters.rollback"}
# Where a file is given to a child process as it came.
FILE = "cyrex.file"
MAX_UPLOADS = 8
_uploads = Seats(MAX_UPLOADS)

Path = tuple[int | str, ...]


class JsonRequest(Request):
    """A Flask request whose body is read strictly: every fault is an error that names it."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Return the body's object. Raises `UserError`, whatever `force` and `silent` say."""
        if "cyrex.body" not in self.environ:
            self.environ["cyrex.body"] = self._read()
        return self.environ["cyrex.body"]

    def _read(self) -> dict[str, Any]:
        sent = self.content_length or self.headers.get("Transfer-Encoding")
        if not sent and self.endpoint in OPTIONAL:
            return {}
        mimetype = self.mimetype
        content_type = self.headers.get("Content-Type", "")
        if self.endpoint in LARGE and is_upload(content_type):
            return self._read_file(content_type)
        if not (mimetype == "application/json" or mimetype.endswith("+json")):
            sent = f"not {mimetype}" if mimetype else "and the request names none"
            raise UserError(
                "unsupported_media_type",
                f"Content-Type must be application/json, {sent}{self._of_files()}",
                param="Content-Type",
                status=415,
            )
        raw = self._read_bytes()
        return parse_rows(raw) if self.endpoint in LARGE else parse_object(raw)

    def _read_file(self, content_type: str) -> dict[str, Any]:
        raw = self._read_bytes()
        if self.endpoint == CHECK:
            sent = upload_of(raw, content_type, self.args)
            if sent.validation is not None:
                message = f"{VALIDATION_FILE}: check it as a file of its own"
                raise UserError("invalid_form", message, VALIDATION_FILE)
            self.environ[FILE] = (sent.name, sent.content)
            return sent.fields
        body = read_upload(raw, content_type, self.args)
        _check(body, strings=True)
        return body

    def _of_files(self) -> str:
        if self.endpoint not in LARGE:
            return ""
        return f"; a file is sent as multipart/form-data, or as {', '.join(sorted(FILE_TYPES))}"

    def _read_bytes(self) -> bytes:
        settings = get_settings()
        name, limit = "max_request_bytes", settings.max_request_bytes
        if self.endpoint in LARGE:
            name, limit = "max_body_bytes", settings.max_body_bytes
            if self.content_length is None or self.content_length > settings.max_request_bytes:
                self._take_seat()
        # Werkzeug silently cuts off a body without a Content-Length at this size. One byte above
        # the limit shows that the body was too large.
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
        """Take a seat for a large upload until `give_seat_back`. Raises `TooMany`."""
        company_id = caller().company_id or ""
        if not _uploads.take(company_id):
            raise TooMany(
                "too_many_uploads", "as many large uploads are coming in as may; try again"
            )
        self.environ["cyrex.upload"] = company_id


def give_seat_back(_error: BaseException | None) -> None:
    """Free the seat of a large upload; called at the end of each request."""
    company_id = request.environ.pop("cyrex.upload", None)
    if company_id is not None:
        _uploads.leave(company_id)


def parse_rows(raw: bytes) -> dict[str, Any]:
    """`parse_object`; a list is the object's `training_data`, in any encoding that names itself."""
    encoding = encoding_of(raw[:64])
    if encoding not in ("utf-8", "utf-8-sig"):
        with suppress(UnicodeError):
            raw = raw.decode(encoding).encode()
    raw = raw.removeprefix(codecs.BOM_UTF8)
    start = raw[:64].lstrip()
    if start.startswith(b"[") and start[1:].lstrip()[:1] == b"{":
        raw = b'{"training_data":' + raw + b"}"
    return parse_object(raw)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse a body that must be one JSON object. Raises `UserError` that names fault and place."""
    text = _decode(raw)
    try:
        value = json.loads(
            text,
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=unique_keys,
        )
    except json.JSONDecodeError as error:
        _refuse(f"not valid JSON: line {error.lineno} column {error.colno}: {error.msg}")
    except RecursionError:
        _refuse(f"nested deeper than {MAX_DEPTH} levels")
    except ValueError as error:
        # Raised by the hooks below, or for an integer of more digits than Python converts.
        _refuse(str(error) if str(error).startswith("the ") else "holds a number that is too long")
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
    """Refuse deep nesting and, if `strings` is true, characters that Postgres cannot store."""
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
