"""Datasets as files: a body that is the file, or a form with it, becomes what JSON would have said.

What a file is, its first bytes say (`helox.sources`), not its name or Content-Type.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import FileStorage
from werkzeug.formparser import MultiPartParser
from werkzeug.http import parse_options_header

from cyrex.errors import UserError
from cyrex.training.check import TRAINING, VALIDATION
from cyrex.training.uploads import rows_of
from helox.json_text import refuse_constant, unique_keys

# A body of one of these is a file. Clients that do not care send others, by mistake.
FILE_TYPES = frozenset(
    {
        "application/csv",
        "application/gzip",
        "application/jsonl",
        "application/jsonlines",
        "application/octet-stream",
        "application/vnd.apache.parquet",
        "application/x-gzip",
        "application/x-jsonlines",
        "application/x-ndjson",
        "application/x-parquet",
        "text/csv",
        "text/tab-separated-values",
    }
)
FORM = "multipart/form-data"
FILE_FIELDS = ("file", "training_data", "training_file", "data")
VALIDATION_FILE = "validation_file"
JSON_FIELDS = ("config", "use_qlora", "seed", "replace")
FIELDS = ("company_id", "base_model", "promote", "continue_from", *JSON_FIELDS)
MAX_PARTS = 20
MAX_FIELD_BYTES = 256 * 1024


def is_upload(content_type: str) -> bool:
    """Whether a Content-Type says that the body is a file, or a form with one."""
    mimetype, options = parse_options_header(content_type)
    return mimetype in FILE_TYPES or (mimetype == FORM and bool(options.get("boundary")))


def read_upload(raw: bytes, content_type: str, query: Mapping[str, str]) -> dict[str, Any]:
    """The body of the request that sends the same rows as JSON. Raises `UserError`.

    query: the fields beside the rows, for a body that is the file.
    """
    sent = upload_of(raw, content_type, query)
    body = {**sent.fields, TRAINING: rows_of(sent.content, sent.name)}
    if sent.validation is not None:
        body[VALIDATION] = rows_of(sent.validation, VALIDATION_FILE, VALIDATION)
    return body


@dataclass(frozen=True)
class Upload:
    """A file, its name and the fields beside it; validation: a second file's bytes, if one came."""

    name: str
    content: bytes
    fields: dict[str, Any]
    validation: bytes | None = None


def upload_of(raw: bytes, content_type: str, query: Mapping[str, str]) -> Upload:
    """Raises `UserError` for a form that cannot be read."""
    mimetype, options = parse_options_header(content_type)
    if mimetype != FORM:
        return Upload("the body", raw, _fields(query))
    try:
        parser = MultiPartParser(max_form_memory_size=MAX_FIELD_BYTES, max_form_parts=MAX_PARTS)
        form, files = parser.parse(io.BytesIO(raw), options["boundary"].encode("latin-1"), len(raw))
    except (ValueError, UnicodeError) as error:
        raise UserError("invalid_form", f"the form cannot be read: {error}") from None
    found = _file_of(files)
    own = files.getlist(VALIDATION_FILE)
    if len(own) > 1:
        message = f"{VALIDATION_FILE}: {len(own)} were sent, one is read"
        raise UserError("invalid_form", message, VALIDATION_FILE)
    validation = own[0].read() if own else None
    return Upload(found.filename or "the file", found.read(), _fields(form), validation)


def _file_of(files: Any) -> FileStorage:
    unknown = sorted(name for name in files if name not in (*FILE_FIELDS, VALIDATION_FILE))
    sent: list[FileStorage] = [file for name in FILE_FIELDS for file in files.getlist(name)]
    if unknown or len(sent) != 1:
        said = f"{unknown[0]} is not one" if unknown else f"{len(sent)} were sent"
        raise UserError(
            "invalid_form", f"file: the form must hold one file, under that name; {said}", "file"
        )
    return sent[0]


def _fields(texts: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in FIELDS:
            known = ", ".join(FIELDS)
            raise UserError(
                "invalid_request", f"{name}: is not a field beside a file: {known}", name
            )
        fields[name] = _json(name, text) if name in JSON_FIELDS else text
    return fields


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique_keys, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError("invalid_request", f"{name}: is not JSON: {error}", name) from None
