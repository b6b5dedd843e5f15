"""Requests and answers about retraining schedules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from cyrex.schedules.service import MAX_HOURS, MAX_NEW_EXAMPLES
from web.shapes.common import (
    MAX_NAME,
    MOMENT,
    AnswerBody,
    OwnCompanyId,
    Parameters,
    RequestBody,
    RowId,
)

MAX_CRON = 200

Cron = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_CRON,
        description="Minute, hour, day of the month, month, weekday: `30 2 * * mon` is Mondays at "
        "half past two. A time that daylight saving skips fires right after the change; a time "
        "that comes twice fires once.",
        examples=["30 2 * * mon"],
    ),
]
Hours = Annotated[
    int, Field(ge=1, le=MAX_HOURS, description="Hours between two fires, instead of `cron`.")
]
Zone = Annotated[
    str, Field(max_length=100, description="An IANA time zone.", examples=["Europe/Berlin"])
]
NewExamples = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_NEW_EXAMPLES,
        description="Train only if at least this many examples arrived since the last training.",
    ),
]
Config = Annotated[
    dict[str, Any], Field(description="Settings of the trainer, as in `train-adapter`.")
]
Name = Annotated[str, Field(max_length=MAX_NAME)]


class NewSchedule(RequestBody):
    """Trains on the newest dataset of the company."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "company_id": "acme",
                "name": "weekly",
                "cron": "30 2 * * mon",
                "timezone": "Europe/Berlin",
                "min_new_examples": 50,
                "config": {"num_epochs": 3},
            }
        }
    )

    company_id: OwnCompanyId = None
    name: Name = ""
    cron: Cron | None = None
    every_hours: Hours | None = None
    timezone: Zone = "UTC"
    min_new_examples: NewExamples = 0
    config: Config = Field(default_factory=dict)
    use_qlora: bool | None = Field(None, description="As for `train-adapter`.")
    enabled: bool = True


class ScheduleChanges(RequestBody):
    """The fields to change; others stay. `cron` replaces `every_hours`, and the reverse."""

    model_config = ConfigDict(json_schema_extra={"example": {"every_hours": 24}})

    name: Name | None = None
    cron: Cron | None = None
    every_hours: Hours | None = None
    timezone: Zone | None = None
    min_new_examples: NewExamples | None = None
    config: Config | None = None
    use_qlora: bool | None = None
    enabled: bool | None = None


class SchedulePath(Parameters):
    schedule_id: RowId


class FiresQuery(Parameters):
    limit: int = Field(50, ge=1, le=1000)


class ScheduleView(AnswerBody):
    schedule_id: str
    company_id: str
    name: str
    cron: str | None
    every_hours: int | None
    timezone: str
    min_new_examples: int
    config: dict[str, Any]
    use_qlora: bool
    enabled: bool
    next_fire_at: str | None = Field(
        description="In UTC; null: the schedule is disabled.", examples=MOMENT
    )
    last_fire_at: str | None
    created_at: str
    updated_at: str


class Schedules(AnswerBody):
    schedules: list[ScheduleView]
    next_after: str | None


class ScheduleDeleted(AnswerBody):
    schedule_id: str
    deleted: bool


class FireView(AnswerBody):
    fire_at: str = Field(description="The due time.", examples=MOMENT)
    outcome: Literal["requested", "skipped"]
    reason: str = Field(description="Why no training was requested; empty otherwise.")
    request_id: str | None = Field(description="The training that was requested.")
    created_at: str


class Fires(AnswerBody):
    schedule_id: str
    fires: list[FireView]
