"""Shapes that several domains share. Unknown fields are refused; request types are strict."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cyrex.tenants.service import COMPANY_ID, check_company_id
from synapse.payloads import ROW_ID

MAX_PAGE = 200
MAX_NAME = 200
MAX_IDEMPOTENCY_KEY = 255
# An example of a time, for the documentation.
MOMENT = ["2026-01-31T12:00:00+00:00"]

CompanyId = Annotated[
    str,
    AfterValidator(check_company_id),
    Field(
        description="The company: letters, digits, `_` and `-`.",
        json_schema_extra={"pattern": f"^{COMPANY_ID.pattern}$", "example": "acme"},
    ),
]
OwnCompanyId = Annotated[
    CompanyId | None,
    Field(description="The company. A company's key may leave it out; an operator's must name it."),
]
# Text in an address. No column can hold a NUL, so no row can match one.
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
RowId = Annotated[str, Field(pattern=ROW_ID)]


class RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AnswerBody(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ErrorShape(AnswerBody):
    message: str = Field(description="The fault, for a person.")
    type: str = Field(description="The kind of error.", examples=["invalid_request_error"])
    param: str | None = Field(
        description="The field at fault.", examples=["training_data[3].output"]
    )
    code: str = Field(description="The fault, for a program.", examples=["invalid_request"])
    details: Any = Field(None, description="All faults that were found, if there are several.")


class Error(AnswerBody):
    """The shape of all errors."""

    error: ErrorShape


_SCHEMAS: dict[type[BaseModel], dict[str, Any]] = {}


class ReadFromTexts(BaseModel):
    """Values from headers, a query or a path. Caches the schema, which flask-openapi3 asks for at
    every request."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        if args or kwargs:
            return super().model_json_schema(*args, **kwargs)
        if cls not in _SCHEMAS:
            _SCHEMAS[cls] = super().model_json_schema()
        return _SCHEMAS[cls]


class Parameters(ReadFromTexts):
    model_config = ConfigDict(extra="forbid")


class CreateHeaders(ReadFromTexts):
    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        description="A repeated request with the same key gets the same answer and has no effect. "
        "Kept for 24 hours; printable ASCII.",
        min_length=1,
        max_length=MAX_IDEMPOTENCY_KEY,
        pattern=r"^[\x20-\x7e]+$",
    )


class CompanyQuery(Parameters):
    company_id: OwnCompanyId = None


class Page(Parameters):
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    after: RowId | None = Field(None, description="`next_after` of the previous page.")


class CompanyPage(Page):
    company_id: Annotated[
        CompanyId | None,
        Field(description="Show only this company's rows. An operator may leave it out."),
    ] = None
