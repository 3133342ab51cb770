from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.units import (
    FASTEST,
    SLOWEST,
    parse_duration,
    parse_rate,
    parse_size,
    show_duration,
    show_rate,
    show_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("1k" + "B", 1000),
        ("10MB", 10_000_000),
        ("2 GB", 2 * 10**9),
        ("1TB", 10**12),
        ("4KiB", 4096),
        ("64MiB", 64 * 1024**2),
        ("64mib", 64 * 1024**2),
        ("20GiB", 20 * 1024**3),
        (" 1TiB ", 1024**4),
    ],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5MiB", "64 Mi", "64MiBs", "1_000", "٣", "64M", "1e6"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number of bytes"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**50))
def test_a_shown_size_is_read_back(size: int) -> None:
    assert parse_size(show_size(size)) == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/s", 20.0),
        ("300/m", 5.0),
        ("1/s", 1.0),
        ("7200/h", 2.0),
        ("2/m", 1 / 30),
        ("0.5/s", 0.5),
        (" 20 / s ", 20.0),
    ],
)
def test_rates_as_people_write_them(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "20", "20/x", "/s", "-1/s", "20/ms", "20s", "20/s/s", "1e3/s", "nan/s", "20/S"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number per s, m or h"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["0/s", "1/m", "119/h", "1000001/s"])
def test_a_rate_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="outside of 2/m to 1000000/s"):
        parse_rate(text)


@given(st.integers(min_value=2, max_value=6000))
def test_a_shown_rate_is_read_back(per_minute: int) -> None:
    rate = parse_rate(f"{per_minute}/m")
    assert parse_rate(show_rate(rate)) == pytest.approx(rate, rel=1e-4)
    assert SLOWEST <= rate <= FASTEST


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("30m", 1800), ("12h", 43200), ("7d", 604800), (" 2 h ", 7200), ("0s", 0)]
)
def test_durations_as_people_write_them(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "7D", "7w", "1h30m", "1e3s", "٣d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number of s, m, h or d"):
        parse_duration(text)


@pytest.mark.parametrize(("seconds", "text"), [(604800, "7d"), (86400, "1d"), (43200, "12h"), (90, "90s"), (0, "0d")])
def test_a_duration_is_shown_in_its_largest_unit(seconds: int, text: str) -> None:
    assert show_duration(seconds) == text


@given(st.integers(min_value=0, max_value=2**40))
def test_a_shown_duration_is_read_back(seconds: int) -> None:
    assert parse_duration(show_duration(seconds)) == seconds
