"""Who gets a message: exactly the share, whatever went back in between."""

from __future__ import annotations

import json
import math
import zlib
from fractions import Fraction

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core import bodies, frames, split
from bridge.core import properties as p
from bridge.core.split import ByTask, Everything, FirstOnes, Percent, PerSecond, Split, To
from tests.support import wire


def choose(which: Split, message: bytes = b"", at: float = 0.0) -> To:
    size = frames.frame_at(message, 0)[2] if message else 0
    return which.choose(message, size, at)


def test_dual_is_everything_to_both() -> None:
    both = Everything()
    assert {choose(both) for _ in range(5)} == {To.BOTH}
    assert (both.taken, both.finished) == (5, False)


@given(st.one_of(st.sampled_from([10, 0.5, 33.3, 100, 12.5]), st.floats(0.001, 100)), st.integers(1, 500))
def test_a_share_is_exact_after_every_message(percent: float, count: int) -> None:
    which = Percent(percent)
    share = Fraction(repr(percent)) / 100
    for seen in range(1, count + 1):
        choose(which)
        assert which.taken in (math.floor(seen * share), math.ceil(seen * share))


def test_ten_per_cent_is_every_tenth() -> None:
    which = Percent(10)
    found = [number for number in range(40) if choose(which) is To.TARGET]
    assert found == [4, 14, 24, 34]


@given(st.floats(1, 99), st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), min_size=1, max_size=10))
def test_a_share_stays_exact_when_messages_go_back(percent: float, runs: list[tuple[int, float]]) -> None:
    which = Percent(percent)
    acked = to_target = 0
    for count, lost in runs:
        given_to = [choose(which) for _ in range(count)]
        back = given_to[len(given_to) - int(lost * count) :]
        kept = given_to[: len(given_to) - len(back)]
        which.undone(back.count(To.TARGET), back.count(To.LEGACY))
        acked += len(kept)
        to_target += kept.count(To.TARGET)
        assert which.taken == to_target
        assert abs(to_target - acked * Fraction(repr(percent)) / 100) <= Fraction(1, 2)


def test_so_many_a_second() -> None:
    which = PerSecond(20)
    given_to = [choose(which, at=number / 400) for number in range(4000)]
    assert 199 <= which.taken == given_to.count(To.TARGET) <= 203
    assert [choose(which, at=1000.0) for _ in range(50)].count(To.TARGET) == 2, "a pause is not made up for"
    which.undone(2, 48)
    assert [choose(which, at=1000.0) for _ in range(5)].count(To.TARGET) == 2
    assert not which.finished


def test_less_than_one_a_second() -> None:
    which = PerSecond(0.5)
    assert [choose(which, at=float(second)) for second in range(5)] == [
        To.TARGET, To.LEGACY, To.TARGET, To.LEGACY, To.TARGET,
    ]  # fmt: skip


def test_the_first_ones_and_then_no_more() -> None:
    which = FirstOnes(5, 2)
    assert [choose(which) for _ in range(5)] == [To.TARGET] * 3 + [To.LEGACY] * 2
    assert (which.taken, which.finished) == (5, True)
    which.undone(1, 2)
    assert not which.finished
    assert [choose(which) for _ in range(2)] == [To.TARGET, To.LEGACY]


# -- by the names of tasks
# -----------------------------------------------------------------------------------------------------


def old(task: object, content_type: bytes = b"application/json", body: bytes | None = None) -> bytes:
    """A task of protocol 1."""
    given = json.dumps({"task": task, "args": [], "kwargs": {}}).encode() if body is None else body
    return wire.task(given, {p.CONTENT_TYPE: wire.shortstr(content_type), p.HEADERS: None})


def test_tasks_whose_names_match() -> None:
    which = ByTask(["shop.mail", "billing.*"])
    names = ["shop.mail", "shop.mailing", "billing.pay", "billing", "x.billing.pay", "billing.\nodd", "shop.mail"]
    found = [choose(which, wire.task(task=name)) is To.TARGET for name in names]
    assert found == [True, False, True, False, False, True, True]
    assert (which.taken, which.finished) == (4, False)
    which.undone(1, 0)
    assert which.taken == 3


def test_names_of_protocol_1_stand_in_the_body() -> None:
    which = ByTask(["shop.*"])
    packed = msgpack.packb({"task": "shop.mail", "args": [[1] * 40]})
    assert choose(which, old("shop.mail")) is To.TARGET
    assert choose(which, old("other.mail")) is To.LEGACY
    assert choose(which, old("", b"application/x-msgpack", packed)) is To.TARGET
    squeezed = wire.task(bodies_of({"task": "shop.mail"}), headers={"compression": "application/x-gzip"})
    assert choose(which, squeezed) is To.TARGET


def bodies_of(entries: dict[str, object]) -> bytes:
    return zlib.compress(json.dumps(entries).encode())


def test_what_is_no_task_is_not_for_the_target() -> None:
    assert choose(ByTask(["*"]), old("", body=b"[1]")) is To.LEGACY


@pytest.mark.parametrize(
    "message",
    [
        old("", body=b"{"),
        old(["a", "list"]),
        old("", b"application/of-their-own", b"x"),
        wire.task(task=5),
        frames.header_frame(5, b"\x00\x3c\x00\x00" + b"\x00" * 8 + b"\xff\xff"),
    ],
)
def test_a_name_that_cannot_be_read_is_for_the_legacy_side_and_known_as_such(message: bytes) -> None:
    assert choose(ByTask(["*"]), message) is To.UNREADABLE


def test_a_name_that_is_not_utf_8() -> None:
    named = wire.task(task=b"S\x00\x00\x00\x02a\xff")
    assert split.task_name(named, frames.frame_at(named, 0)[2]) == "a\ufffd"


def test_names_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_REMEMBERED", 3)
    which = ByTask(["t1*"])
    for number in range(20):
        assert (choose(which, wire.task(task=f"t{number}")) is To.TARGET) is (number == 1 or number >= 10)
    assert len(which._known) <= 3


def test_the_bounded_readers_are_used() -> None:
    large = old("", body=b" " * (bodies.MAX_BODY + 1))
    with pytest.raises(bodies.Unreadable):
        split.task_name(large, frames.frame_at(large, 0)[2])
