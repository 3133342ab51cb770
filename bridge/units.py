"""Sizes, rates and durations as people write them, and back: pure functions, checked where they are read."""

from __future__ import annotations

import re

#: Bytes per unit. `k` and friends are powers of ten, `Ki` and friends powers of two, as the IEC has them.
_BYTES: dict[str, int] = {
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", start=1)},
}
#: Seconds per unit of a rate.
_SECONDS = {"s": 1, "m": 60, "h": 3600}
#: Seconds per unit of a duration.
_DURATIONS = {**_SECONDS, "d": 86400}
_SIZE = re.compile(r"(\d+)\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(\d+)\s*([smhd])", re.ASCII)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*([smh])", re.ASCII)

#: Messages per second. Slower than one in 30 s, a fetched message could wait for more than 60 s, which none may.
SLOWEST = 1 / 30
#: Messages per second; far above what one queue can do, so that a typing error is seen.
FASTEST = 1_000_000.0


def parse_size(text: str) -> int:
    """Return the number of bytes that `64MiB`, `10MB`, `512` and the like mean.

    Raises:
        ValueError: it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    factor = _BYTES.get((match[2] or "b").lower()) if match else None
    if match is None or factor is None:
        raise ValueError("not a number of bytes")
    return int(match[1]) * factor


def show_size(size: int) -> str:
    """Return `size` bytes in the largest unit that shows it as a whole number; `parse_size` reads it back."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit.lower()] == 0:
            return f"{size // _BYTES[unit.lower()]}{unit}"
    return str(size)


def parse_rate(text: str) -> float:
    """Return the messages per second that `20/s`, `300/m` or `7200/h` mean.

    Raises:
        ValueError: it is no rate, or one outside of one message in 30 s to a million per second.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a number per s, m or h")
    rate = float(match[1]) / _SECONDS[match[2]]
    if not SLOWEST <= rate <= FASTEST:
        raise ValueError("outside of 2/m to 1000000/s")
    return rate


def parse_duration(text: str) -> int:
    """Return the seconds that `7d`, `12h`, `30m` or `45s` mean.

    Raises:
        ValueError: it is no duration.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a number of s, m, h or d")
    return int(match[1]) * _DURATIONS[match[2]]


def show_duration(seconds: int) -> str:
    """Return `seconds` in the largest unit that shows it as a whole number; `parse_duration` reads it back."""
    unit = next(unit for unit in "dhms" if seconds % _DURATIONS[unit] == 0)
    return f"{seconds // _DURATIONS[unit]}{unit}"


def show_rate(rate: float) -> str:
    """Return messages per second as `20/s`, or per minute where that is below one per second."""
    return f"{rate:g}/s" if rate >= 1 else f"{rate * 60:g}/m"
