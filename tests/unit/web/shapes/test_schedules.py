"""Bounds of a retraining schedule."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cyrex.schedules.service import MAX_HOURS, MAX_NEW_EXAMPLES
from web.shapes.schedules import MAX_CRON, NewSchedule, ScheduleChanges


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cron", ""),
        ("cron", "*" * (MAX_CRON + 1)),
        ("every_hours", 0),
        ("every_hours", MAX_HOURS + 1),
        ("min_new_examples", -1),
        ("min_new_examples", MAX_NEW_EXAMPLES + 1),
        ("enabled", "yes"),
    ],
)
@pytest.mark.parametrize("shape", [NewSchedule, ScheduleChanges])
def test_a_value_out_of_bounds_is_refused(
    shape: type[NewSchedule | ScheduleChanges], field: str, value: Any
) -> None:
    with pytest.raises(ValidationError) as refused:
        shape.model_validate({field: value})
    assert refused.value.errors()[0]["loc"] == (field,)


def test_a_change_leaves_out_what_stays() -> None:
    changes = ScheduleChanges.model_validate({"every_hours": 24})
    assert changes.model_dump(exclude_none=True) == {"every_hours": 24}
