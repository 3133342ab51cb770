"""Times at which something is to be done, as people write them: `02:30` is the next such time, ISO 8601 is that time.

Pure functions: now is an argument. A time without a zone is one of this machine's zone (TZ), as on a wall clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

#: What is written, in the words of a fault.
ALLOWED = "a time of the day such as 02:30, or one such as 2026-11-23T02:30:00+01:00"
#: Further ahead it is a typing error.
FARTHEST = timedelta(days=366)
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", re.ASCII)


def parse_instant(text: str, now: datetime) -> datetime:
    """Return the instant that `text` means, in UTC.

    Args:
        text: a time of the day (the next one after `now`), or ISO 8601.
        now: the time, with its zone.

    Raises:
        ValueError: it is no time, is past, or is more than a year away.
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is not None:
        return _next(time(int(match[1]), int(match[2]), int(match[3] or 0)), now)
    try:
        at = datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError("not a time") from None
    if at <= now:
        raise ValueError(f"past, it is {now.astimezone().isoformat(' ', 'seconds')}")
    if at - now > FARTHEST:
        raise ValueError(f"more than {FARTHEST.days} days away")
    return at


def _next(wanted: time, now: datetime) -> datetime:
    # By the calendar, not by 24 hours: on two days of the year these differ.
    today = now.astimezone().date()
    for days in (0, 1, 2):
        written = datetime.combine(today + timedelta(days), wanted)
        at = written.astimezone(UTC)
        # A time that the clock skips that night comes as much after the change: 02:30 is 03:30 then.
        at += max(timedelta(0), written - at.astimezone().replace(tzinfo=None))
        if at > now:
            return at
    raise ValueError("not a time of a day to come")


def show_instant(at: datetime, now: datetime) -> str:
    """Return an instant as `2026-11-23 02:30:00 CET (+01:00), in 9 h 25 min`, in this machine's zone."""
    local = at.astimezone()
    offset = local.isoformat()[-6:]
    minutes = round((at - now).total_seconds()) // 60
    hours, minutes = divmod(max(0, minutes), 60)
    days, hours = divmod(hours, 24)
    parts = [f"{number} {unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if number]
    return f"{local:%Y-%m-%d %H:%M:%S %Z} ({offset}), in {' '.join(parts) or 'less than a minute'}"
