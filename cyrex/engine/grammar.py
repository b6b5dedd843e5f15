"""Grammars for constrained decoding, as plain data. Nothing here imports a model library."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cyrex.engine.errors import RequestRefused

MAX_SOURCE_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar that constrains an answer token by token. Raises RequestRefused when empty.

    kind: what `source` is written in: a JSON schema, or llguidance's dialect of Lark.
    """

    kind: Literal["json_schema", "lark"]
    source: str

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise RequestRefused("grammar: must not be empty")
        if len(self.source) > MAX_SOURCE_CHARACTERS:
            raise RequestRefused(f"grammar: longer than {MAX_SOURCE_CHARACTERS} characters")
        require_utf8("grammar", self.source)

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any]) -> Grammar:
        """One JSON value that is valid against `schema`, written without blanks."""
        return cls("json_schema", json.dumps(schema))

    @classmethod
    def choices(cls, choices: Sequence[str]) -> Grammar:
        """Exactly one of `choices`."""
        return cls("lark", f"start: {alternatives(choices)}")

    @classmethod
    def lark(cls, source: str) -> Grammar:
        return cls("lark", source)


def literal(text: str) -> str:
    """`text` as a Lark string."""
    # A Lark string holds no control character; JSON escapes all of them but U+007F.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def alternatives(choices: Sequence[str]) -> str:
    """A Lark rule's body that matches one of `choices`. Raises RequestRefused."""
    if not choices or not all(choices):
        raise RequestRefused("grammar: at least one choice, none of them empty")
    return " | ".join(literal(choice) for choice in dict.fromkeys(choices))


def require_utf8(field: str, text: str) -> None:
    """Raise RequestRefused for a lone surrogate: JSON can carry it, tokenizers cannot encode it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RequestRefused(f"{field}: holds half a surrogate pair") from None
