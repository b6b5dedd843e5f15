"""Cron expressions by the clock of a zone, and what a change of the clocks does."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cyrex.schedules.cron import Cron, CronRefused, zone_of


def times(expression: str, zone: str, after: str, count: int) -> list[str]:
    """The next fires, in UTC."""
    cron, moment, found = Cron.parse(expression), datetime.fromisoformat(after + "+00:00"), []
    for _ in range(count):
        moment = cron.next_after(moment, zone_of(zone))
        assert moment.tzinfo is UTC
        found.append(moment.strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/15 * * * *", ["01-31 12:15", "01-31 12:30"]),
        ("0 3 * * *", ["02-01 03:00", "02-02 03:00"]),
        ("30 2 * * mon", ["02-02 02:30", "02-09 02:30"]),
        ("0 0 1 */3 *", ["04-01 00:00", "07-01 00:00"]),
        ("0 12 * * 7", ["02-01 12:00", "02-08 12:00"]),
        ("0 12 * * sat-sun", ["02-01 12:00", "02-07 12:00"]),
        ("0 12 * * 5-7", ["02-01 12:00", "02-06 12:00"]),
        ("30 23-1 * * *", ["01-31 23:30", "02-01 00:30"]),
        ("5,10 9-17/4 * jan-feb *", ["01-31 13:05", "01-31 13:10"]),
        ("0 50/5 * * *", None),
        # Either kind of day, where both are limited.
        ("0 0 13 * fri", ["02-06 00:00", "02-13 00:00"]),
        ("0 0 */2 * fri", ["02-13 00:00", "02-27 00:00"]),
        ("10/20 13 * * *", ["01-31 13:10", "01-31 13:30"]),
    ],
)
def test_next_times_in_utc(expression: str, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(CronRefused, match="hour '50/5'"):
            Cron.parse(expression)
    else:
        assert times(expression, "UTC", "2026-01-31T12:00", 2) == expected


def test_a_leap_day_is_waited_for() -> None:
    moment = Cron.parse("0 0 29 2 *").next_after(datetime(2096, 3, 1, tzinfo=UTC), zone_of("UTC"))
    assert moment == datetime(2104, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("* * * *", "5 fields"),
        ("61 * * * *", "minute '61': must be from 0 to 59"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of the month '0': must be from 1 to 31"),
        ("* * * 13 *", "month '13'"),
        ("* * * * 8", "weekday '8'"),
        ("* * * * funday", "weekday 'funday'"),
        ("mon * * * *", "minute 'mon'"),
        ("*/0 * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("1-5x * * * *", "minute"),
        ("-1 * * * *", "minute"),
    ],
)
def test_a_refusal_names_the_field(expression: str, said: str) -> None:
    with pytest.raises(CronRefused, match=said):
        Cron.parse(expression)


def test_a_day_that_never_comes() -> None:
    with pytest.raises(CronRefused, match="ever"):
        Cron.parse("0 0 30 2 *").next_after(datetime(2026, 1, 1, tzinfo=UTC), zone_of("UTC"))


def test_an_unknown_zone() -> None:
    for name in ("Mars/Olympus", "", "../etc/passwd", "CEST"):
        with pytest.raises(CronRefused, match="no time zone"):
            zone_of(name)


# Berlin puts its clocks forward on 29 March 2026 (02:00 → 03:00, 01:00 UTC), and back on
# 25 October 2026 (03:00 → 02:00, 01:00 UTC).


def test_a_time_that_is_jumped_over_fires_after_the_jump() -> None:
    found = times("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00", 3)
    assert found == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_minutes_that_are_jumped_over_fire_once_together() -> None:
    found = times("*/20 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 3)
    assert found == ["03-29 01:00", "03-30 00:00", "03-30 00:20"]
    found = times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00", 4)
    assert found == ["03-29 00:30", "03-29 01:00", "03-29 01:30", "03-29 02:00"]


def test_a_time_that_comes_twice_fires_the_first_time() -> None:
    found = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2)
    assert found == ["10-25 00:30", "10-26 01:30"]
    found = times("*/30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 3)
    assert found == ["10-25 00:00", "10-25 00:30", "10-26 01:00"]


def test_what_fires_every_hour_fires_in_both() -> None:
    found = times("30 * * * *", "Europe/Berlin", "2026-10-24T23:00", 4)
    assert found == ["10-24 23:30", "10-25 00:30", "10-25 01:30", "10-25 02:30"]


def test_a_half_hour_of_change() -> None:
    """Lord Howe Island puts its clocks back by half an hour, at 02:00 on 5 April 2026."""
    assert times("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00", 2) == [
        "04-04 14:45",
        "04-05 15:15",
    ]


def test_the_clock_goes_on_at_midnight() -> None:
    """Beirut's clocks jump at midnight: 29 March 2026 begins at 01:00."""
    assert times("0 0 * * *", "Asia/Beirut", "2026-03-28T00:00", 2) == [
        "03-28 22:00",
        "03-29 21:00",
    ]
