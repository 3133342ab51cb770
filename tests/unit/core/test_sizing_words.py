"""The estimate in words: no more digits than are meant, and the notes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.core import sizing
from bridge.core.sizing import Assumptions, Backlog, Estimate, Seconds, estimate
from bridge.core.sizing_words import Facts, notes, number, size, span, time
from bridge.core.topology import Node

PLAIN = Assumptions()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "never"),
        (0.0, "0 s"),
        (0.2, "under 1 s"),
        (1.0, "1 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (42.4, "42 s"),
        (90.0, "1.5 min"),
        (3599.0, "60 min"),
        (40_000.0, "11 h"),
        (181_440.0, "2.1 d"),
    ],
)
def test_times(seconds: float | None, text: str) -> None:
    assert time(seconds) == text


def test_a_span() -> None:
    assert span(Seconds(12.0, 6.0, 24.0)) == "12 s (6 s to 24 s)"
    assert span(Seconds(4320.0, 1200.0, None)) == "1.2 h (20 min to never)"
    assert span(Seconds(0.0, 0.0, 0.0)) == "0 s"
    assert span(Seconds(0.4, 0.2, 0.8)) == "under 1 s"
    assert span(Seconds(None, None, None)) == "never"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (828, "828 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (130 << 20, "130 MiB"), (5 << 50, "5120 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0.0, "0"), (0.254, "0.25"), (4.5, "4.5"), (451.0, "450"), (11_900.0, "12000")]
)
def test_numbers(count: float, text: str) -> None:
    assert number(count) == text


def told(*backlogs: Backlog, assumed: Assumptions = PLAIN, facts: Facts | None = None) -> list[str]:
    found: Estimate = estimate(backlogs, sizing.model(), assumed)
    return list(notes(found, assumed, facts or Facts()))


def test_nothing_to_be_said() -> None:
    assert told() == []


def test_never_and_perhaps_never() -> None:
    [text, *_] = told(Backlog("mail", 10, 0, 10, 50.0, 1.0), assumed=replace(PLAIN, rate=40.0))
    assert text.startswith("the backlog never ends: 50/s come in, 40/s are expected to be moved: measure")
    [text, *_] = told(Backlog("mail", 10, 0, 10, 50.0, 1.0), assumed=replace(PLAIN, rate=60.0))
    assert text.startswith("at the slow end of the range the backlog never ends: ")


def test_what_workers_hold_is_counted() -> None:
    assert told(Backlog("mail", 0, 12, 1200, 0.0, 0.0))[0].startswith("12 messages are held unacked by workers")


def test_eta_is_an_assumption() -> None:
    one = Backlog("mail", 11_000, 0, 11_000 * 384, 0.0, 100.0)
    text = told(one, assumed=replace(PLAIN, eta_share=0.3))[0]
    assert text.startswith(
        "which tasks have an ETA cannot be seen from outside: 30 % are assumed (--eta-share); if all"
    )
    seen = told(one, assumed=replace(PLAIN, eta_shares=(("mail", 0.1),)))[0]
    assert seen == "the share of tasks with an ETA is what the daemon has seen of each queue so far"
    assert "ETA" not in " ".join(told(one, assumed=replace(PLAIN, eta_share=1.0)))


def test_the_old_workers_may_do_it() -> None:
    quick, stuck = Backlog("mail", 100, 0, 100, 1.0, 11.0), Backlog("slow", 100, 0, 100, 1.0, 1.0)
    assert told(quick)[-1].startswith("left to the old workers (route legacy) the backlog is worked down in 10 s; cut")
    assert told(quick, stuck)[-1] == 'the old workers do not work the backlog down: "slow"'
    many = [replace(stuck, name=f"q{at}") for at in range(7)]
    assert told(*many)[-1].endswith('"q3", "q4" and 2 more')
    inline = told(quick, facts=Facts(inline=True))
    assert inline[-1].startswith("inline: ")
    assert "route legacy" not in " ".join(inline)


def test_what_is_not_known() -> None:
    unknown = told(Backlog("mail", 100, 0, 0), facts=Facts(counted=False, limits=('"mail" 5/s',)))
    assert unknown[-3:] == [
        "the source's broker counts no rates: what comes in meanwhile is not in the estimate",
        '"mail": nothing to be weighed, taken to be as large as the others\' messages',
        'measured with a limit in force: "mail" 5/s',
    ]


def test_a_quiet_queue_is_not_weighed() -> None:
    assert told(Backlog("mail", arriving=0.0)) == []
    assert [text[:8] for text in told(Backlog("mail", arriving=5.0, worked=5.0))] == ['"mail": ']


def test_room_on_the_disks() -> None:
    one = Backlog("mail", 1 << 20, 0, 384 << 20, 0.0, 100.0)
    needed = estimate([one], sizing.model(), PLAIN).cost.disk + sizing.WRITE_AHEAD
    roomy = Node("a", disk_free=needed + 100, disk_limit=100)
    tight = Node("b", disk_free=needed + 99, disk_limit=100)
    full = Node("c", disk_free=50, disk_limit=100)
    unknown = Node("d")
    found = told(one, facts=Facts(nodes=(roomy, tight, full, unknown)))
    assert [text.split()[:3] for text in found[:2]] == [["target", "node", "b"], ["target", "node", "c"]]
    assert "has 0 B on disk before its alarm, and up to 1.6 GiB are needed" in found[1]
    with_backup = replace(PLAIN, backup=True)
    assert "node a" in told(one, assumed=with_backup, facts=Facts(nodes=(roomy,), backup_on_target=True))[0]
    assert "node a" not in told(one, assumed=with_backup, facts=Facts(nodes=(roomy,)))[0]
