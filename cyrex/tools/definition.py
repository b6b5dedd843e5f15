"""A tool's definition: the body of `register-tools`, checked field by field."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from cyrex.tools.addresses import MAX_URL, AddressRefused, parse_url
from cyrex.tools.parameters import SchemaRefused, check_schema

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

NAME = r"^[A-Za-z0-9_-]{1,64}$"
MAX_DESCRIPTION = 1000
MAX_HEADERS = 32
MAX_HEADER_VALUE = 4096
MAX_SECRET = 8192
MAX_REQUESTS = 10_000
MAX_WINDOW_SECONDS = 86_400
# RFC 9110: a token; visible ASCII with spaces inside.
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|")
SECRET_VALUE = re.compile(r"[\x21-\x7e]+")
# The client writes these itself; another value would change the message or its receiver.
RESERVED_HEADERS = {
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
SECRET_WORDS = (
    *("auth", "cookie", "credential", "key", "passw", "secret", "session", "signature", "token"),
)


def is_secret_header(name: str) -> bool:
    """Whether a header's value is kept like a password."""
    return any(word in name.lower() for word in SECRET_WORDS)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class RateLimit(Strict):
    """At most `requests` calls in any `window` seconds, for the company, over all processes."""

    requests: int = Field(ge=1, le=MAX_REQUESTS)
    window: int = Field(ge=1, le=MAX_WINDOW_SECONDS, description="Seconds.")


class Auth(Strict):
    """`{type: bearer, token}` or `{type: api_key, header, key}`."""

    type: Literal["bearer", "api_key"]
    token: SecretStr | None = Field(None, validate_default=True, description="For `bearer`.")
    header: str | None = Field(None, validate_default=True, description="For `api_key`.")
    key: SecretStr | None = Field(None, validate_default=True, description="For `api_key`.")

    @field_validator("token", "header", "key")
    @classmethod
    def _belongs(cls, value: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("type")
        belongs = (info.field_name == "token") == (kind == "bearer")
        if kind is None:
            return value
        if belongs and value is None:
            raise ValueError(f"is required for type {kind!r}")
        if not belongs and value is not None:
            raise ValueError(f"does not belong to type {kind!r}")
        return value

    @field_validator("token", "key")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            text = value.get_secret_value()
            if not SECRET_VALUE.fullmatch(text) or len(text) > MAX_SECRET:
                raise ValueError(f"must be 1 to {MAX_SECRET} visible ASCII characters")
        return value

    @field_validator("header")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        if value is not None:
            _check_header_name(value)
        return value

    @property
    def sent(self) -> tuple[str, str]:
        """The header that carries the secret, and its value."""
        if self.type == "bearer":
            assert self.token is not None
            return "Authorization", f"Bearer {self.token.get_secret_value()}"
        assert self.header is not None
        assert self.key is not None
        return self.header, self.key.get_secret_value()


def _check_header_name(name: str) -> None:
    if not HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name[:40]!r} is no header name")
    if name.lower() in RESERVED_HEADERS or name.lower().startswith(("proxy-", "sec-")):
        raise ValueError(f"{name!r} is written by the client itself")


class ToolDefinition(Strict):
    """A tool as its company registers it."""

    name: str = Field(pattern=NAME, description="Unique in the company.")
    endpoint: Annotated[str, Field(max_length=MAX_URL, description="https, and public.")]
    method: Method = "POST"
    headers: dict[str, str] = Field(
        default_factory=dict,
        max_length=MAX_HEADERS,
        repr=False,
        description="Sent with each call. Values of names like `Authorization` or `X-Api-Key` "
        "are kept as secrets.",
    )
    auth: Auth | None = None
    description: str = Field(
        "", max_length=MAX_DESCRIPTION, description="Tells the model when to use it."
    )
    rate_limit: RateLimit | None = None
    parameters: dict[str, Any] | None = Field(
        None,
        description="JSON schema of the arguments, an object. Left out: any names, with text.",
    )
    idempotent: bool = Field(
        False,
        description="True: a call may be repeated under the same `Idempotency-Key` when its "
        "outcome is not known. False: it is made at most once.",
    )

    @field_validator("endpoint")
    @classmethod
    def _reachable(cls, value: str) -> str:
        try:
            parse_url(value)
        except AddressRefused as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("headers")
    @classmethod
    def _sendable(cls, value: dict[str, str]) -> dict[str, str]:
        seen: set[str] = set()
        for name, content in value.items():
            _check_header_name(name)
            if name.lower() in seen:
                raise ValueError(f"{name!r} is given twice")
            if not HEADER_VALUE.fullmatch(content) or len(content) > MAX_HEADER_VALUE:
                raise ValueError(
                    f"{name!r}: the value must be at most {MAX_HEADER_VALUE} visible ASCII "
                    "characters"
                )
            seen.add(name.lower())
        return value

    @field_validator("parameters")
    @classmethod
    def _schema(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            return None if value is None else check_schema(value)
        except SchemaRefused as error:
            raise ValueError(str(error)) from None

    @field_validator("auth")
    @classmethod
    def _one_authorization(cls, value: Auth | None, info: ValidationInfo) -> Auth | None:
        if value is not None:
            name = value.sent[0]
            if name.lower() in {header.lower() for header in info.data.get("headers", {})}:
                raise ValueError(f"sends {name!r}, which is among the headers too")
        return value
