"""When a schedule fires: five-field cron expressions, read by the clock of a time zone.

    minute 0-59   hour 0-23   day of the month 1-31   month 1-12, jan-dec   weekday 0-7, sun-sat

`*`, lists, ranges and steps, as cron has them; where both kinds of day are limited, either will do.
When the clocks change:
    - a time that the clock jumps over fires at the moment after the jump;
    - a time that comes twice fires the first time, but an expression with `*` for the hour goes on
      by the minutes that pass, through both.

Not the library cronsim: like Debian's cron it skips the fires of `*/20 2 * * *` in an hour that is
jumped over, fires twice in an hour that comes twice, and knows no range past the end (`sat-sun`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from celery.schedules import crontab_parser

FIELDS = ("minute", "hour", "day of the month", "month", "weekday")
# (values, least) as the parser wants them; 7 is Sunday too, and becomes 0.
RANGES = ((60, 0), (24, 0), (31, 1), (12, 1), (8, 0))
MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
WEEKDAYS = "sun|mon|tue|wed|thu|fri|sat"
NAMES = ("", "", "", MONTHS, WEEKDAYS)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
# 29 February may stay away for eight years.
MAX_DAYS = 9 * 366


class CronRefused(ValueError):
    """An expression or a zone that cannot be read; the message says what is wrong."""


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_of(name: str) -> ZoneInfo:
    """The IANA zone. Raises `CronRefused`."""
    if name not in _zones():
        raise CronRefused(f"{name!r} is no time zone such as UTC or Europe/Berlin")
    return ZoneInfo(name)


@dataclass(frozen=True)
class Cron:
    """The values of each field that fire."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0: Sunday
    either_day: bool

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Raises `CronRefused`, which names the field."""
        fields = text.lower().split()
        if len(fields) != len(FIELDS):
            raise CronRefused(f"must have 5 fields ({', '.join(FIELDS)}), this has {len(fields)}")
        minutes, hours, days, months, weekdays = map(_expand, range(len(FIELDS)), fields)
        return cls(
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days=frozenset(days),
            months=frozenset(months),
            weekdays=frozenset(day % 7 for day in weekdays),
            either_day=not (fields[2].startswith("*") or fields[4].startswith("*")),
        )

    def next_after(self, moment: datetime, zone: ZoneInfo) -> datetime:
        """The first time after `moment` (aware), in UTC. Raises `CronRefused` if there is none."""
        first = moment.astimezone(zone).date() - DAY
        for offset in range(MAX_DAYS):
            day = first + offset * DAY
            if self._has(day):
                later = [found for found in self._moments(day, zone) if found > moment]
                if later:
                    return min(later)
        raise CronRefused("no such day ever comes")

    def _has(self, day: date) -> bool:
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        fits = by_date or by_weekday if self.either_day else by_date and by_weekday
        return fits and day.month in self.months

    def _moments(self, day: date, zone: ZoneInfo) -> Iterator[datetime]:
        every_hour = len(self.hours) == 24
        for hour in self.hours:
            for minute in self.minutes:
                wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                first = wall.astimezone(UTC)
                second = wall.replace(fold=1).astimezone(UTC)
                if first.astimezone(zone).replace(tzinfo=None) != wall.replace(tzinfo=None):
                    yield _end_of_jump(second, zone)
                    continue
                yield first
                if every_hour and second != first:
                    yield second


def _end_of_jump(before: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which the clock that is about to jump has jumped."""
    offset = before.astimezone(zone).utcoffset()
    while before.astimezone(zone).utcoffset() == offset:
        before += MINUTE
    return before


def _expand(index: int, field: str) -> set[int]:
    count, least = RANGES[index]
    value = rf"(?:\d{{1,2}}{'|' + NAMES[index] if NAMES[index] else ''})"
    part = rf"(?:\*|{value}(?:-{value})?)(?:/[1-9]\d?)?"
    # A step goes from a value to the end.
    words = [re.sub(rf"^({value})/", rf"\1-{least + count - 1}/", w) for w in field.split(",")]
    if index == 4:
        words = [word.replace("*", "0-6") for word in words]
    try:
        if not re.fullmatch(rf"{part}(?:,{part})*", field):
            raise ValueError("is not of the form *, 1, 1-5, */2 or 1,3")
        return set(crontab_parser(count, least).parse(",".join(words)))
    except ValueError as error:
        reason = f"must be from {least} to {least + count - 1}" if "range" in str(error) else error
        raise CronRefused(f"{FIELDS[index]} {field!r}: {reason}") from None
