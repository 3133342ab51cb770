"""The one snapshot, of a daemon between real brokers that moves real traffic."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge.admin_client import fetch
from bridge.core import ladder
from bridge.lab.deadline import until
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, Status, queue_of, running, takeover
from tests.support.peers import Peer, Producer, message

pytestmark = pytest.mark.e2e
one_world = pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)

#: Delays in seconds, each with its part of the histogram; what is lost on the way is less than ten seconds.
DELAYS = {
    50: "minute",
    70: "hour",
    3_590: "hour",
    3_610: "day",
    86_390: "day",
    86_410: "week",
    604_790: "week",
    604_810: "later",
    30_000_000: "later",
}
EACH = 3
#: Messages a second of the producer.
RATE = 100.0


def ahead(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def keys(told: object, path: str = "") -> set[str]:
    """Every key of a status."""
    if isinstance(told, dict):
        return {f"{path}.{name}" for name in told} | {
            key for name in told for key in keys(told[name], f"{path}.{name}")
        }
    if isinstance(told, list):
        return {key for one in told for key in keys(one, f"{path}[]")}
    return set()


DUE = {part: EACH * list(DELAYS.values()).count(part) for part in ("minute", "hour", "day", "week", "later")}
CONVERTED = EACH * len(DELAYS)


def publish_later(old: Peer) -> None:
    for number, delay in enumerate(DELAYS):
        old.publish("mail", range(number * EACH, (number + 1) * EACH), eta=ahead(delay))


@one_world
def test_one_answer_has_delays_confirm_times_gates_and_the_last_hour(vhosts: Vhosts, tmp_path: Path) -> None:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("mail", "gone")
        new.quorum("mail")
        old.publish("mail", range(1_000, 1_500))
        with running(takeover(vhosts, tmp_path, route="quorum"), tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["moved"] == 500)
            publish_later(old)
            told = daemon.wait_until(lambda status: status["totals"]["ladder"]["waiting"] == CONVERTED)
            mail = queue_of(told, "mail")
            assert mail["due"] == told["totals"]["due"] == DUE
            assert told["totals"]["converted"] == CONVERTED
            assert mail["ladder"] == {"waiting": CONVERTED}
            for one in (mail, told["totals"]):
                assert 0 < one["confirm"]["p50_ms"] <= one["confirm"]["p99_ms"] < 60_000
            its_gate_is_told(daemon)
            its_history_is_told(daemon)


@pytest.mark.long
@one_world
def test_what_waits_is_known_to_the_next_daemon(vhosts: Vhosts, tmp_path: Path) -> None:
    config = takeover(vhosts, tmp_path, route="quorum")
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("mail")
        new.quorum("mail")
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["taken"] == 0 and status["state"] == "active")
            publish_later(old)
            before = daemon.wait_until(lambda status: status["totals"]["ladder"]["waiting"] == CONVERTED)
        with running(config, tmp_path) as daemon:
            told = daemon.wait_until(lambda status: status["totals"]["ladder"]["waiting"] == CONVERTED)
            assert told["totals"]["due"] == DUE
            assert keys({**before, "changes": []}) - keys(told) == set()


def its_gate_is_told(daemon: Daemon) -> None:
    """A queue without its sister: the gate says so in the status and when it is asked, and why is said first."""
    told = daemon.wait_until(lambda status: queue_of(status, "gone")["gate"] is not None)
    rows = {row["check"]: row for row in queue_of(told, "gone")["gate"]}
    assert [name for name, row in rows.items() if row["ok"]] == ["publishes"]
    assert rows["queue"]["text"] == 'queue "gone": target queue "gone" does not exist'
    assert rows["queue"]["hint"].startswith('declare "gone" as a quorum queue')
    assert told["why_first"].startswith('queue "gone" waits for the gate to quorum: target queue "gone" does not exist')
    asked = fetch(daemon.socket, "gate?queue=mail")
    assert (asked["queue"], asked["verb"], asked["ok"]) == ("mail", "cutover", True)
    assert fetch(daemon.socket, "gate?queue=gone")["checks"] == queue_of(told, "gone")["gate"]


def its_history_is_told(daemon: Daemon) -> None:
    told, history = daemon.status(), fetch(daemon.socket, "history?queue=mail")
    assert (history["every_s"], history["queue"]) == (5, "mail")
    at = history["points"][-1][0]
    assert abs(at - datetime.fromisoformat(told["now"]).timestamp()) < 10
    assert all(len(point) == 7 for point in history["points"])
    assert fetch(daemon.socket, "history")["queue"] is None


@pytest.mark.long
@one_world
def test_what_comes_and_goes_is_measured_and_no_end_is_told_while_the_source_grows(
    vhosts: Vhosts, tmp_path: Path
) -> None:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("mail")
        new.quorum("mail")
        config = takeover(vhosts, tmp_path, route="quorum")
        with running(config, tmp_path) as daemon, Producer(vhosts.old.amqp, "mail", rate=RATE) as producer:
            daemon.ask("rate", "mail", rate=f"{RATE / 2:g}/s")

            def grows(status: Status) -> bool:
                rates = status["totals"]["rates"]
                if not near(rates["in"]["10s"], RATE) or not near(rates["out"]["10s"], RATE / 2):
                    return False
                finish = queue_of(status, "mail")["finish"]
                assert (finish["seconds"], finish["at"]) == (None, None)
                # The broker says later what waits than what came.
                return bool(finish["grows"])

            told = daemon.wait_until(grows, 60)
            assert told["totals"]["finish"]["why"].startswith('queue "mail": the source grows as fast or faster')
            assert told["why_first"].startswith('queue "mail": the source grows as fast or faster')
            assert held_for(daemon, 5, lambda status: status["totals"]["finish"]["seconds"] is None)
            assert near(told["totals"]["rates"]["in"]["1m"], RATE, 0.3)
            # Twice as fast as it comes: what had gathered is moved in the time that is told.
            daemon.ask("rate", "mail", rate=f"{2 * RATE:g}/s")

            def shrinks(status: Status) -> bool:
                seconds = status["totals"]["finish"]["seconds"]
                return seconds is not None and near(status["totals"]["rates"]["out"]["10s"], 2 * RATE)

            told = daemon.wait_until(shrinks, 60)
            said = datetime.fromisoformat(told["totals"]["finish"]["at"])
            told = daemon.wait_until(lambda status: status["totals"]["finish"]["seconds"] == 0, 120)
            took = said - datetime.fromisoformat(told["now"])
            assert abs(took.total_seconds()) < 30
            # Who still publishes is named by his connection.
            named = daemon.wait_until(lambda status: bool(status["old_side"]["publishers"]), 60)["old_side"]
            assert "Pika" in named["publishers"][0]["name"]
            assert named["publishers"][0]["queues"] == ["mail"]
            assert named["more"] == {"publishers": 0, "holders": 0}
            assert daemon.status()["why_first"] == ""
            points = fetch(daemon.socket, "history?queue=mail")["points"]
            assert any(near(point[4], RATE) and near(point[5], RATE / 2) for point in points)
            producer.stop()


@pytest.mark.long
@pytest.mark.parametrize("world", ["3.10->3.10", "3.10->4.3"], indirect=True)
def test_a_stuck_level_and_who_holds_messages_are_named(vhosts: Vhosts, tmp_path: Path) -> None:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("mail")
        new.quorum("mail")
        old.publish("mail", range(5))
        for _ in range(3):
            old.channel.basic_get("mail")
        with running(takeover(vhosts, tmp_path), tmp_path) as daemon:
            body, properties = message(0)
            new.channel.basic_publish(*ladder.entry(1, "nobody"), body, properties)
            told = daemon.wait_until(lambda status: status["ladder"]["stuck"] == [0], 60)
            assert told["ladder"]["levels"] == [{"level": 0, "messages": 1, "due": 1}]
            assert told["ladder"]["messages"] == 1
            assert told["why_first"] == "due messages stay in level 0 of the target's ladder"
            new.channel.queue_delete(ladder.level_name(0))
            daemon.wait_until(lambda status: status["ladder"]["stuck"] == [], 60)
            (holder,) = daemon.wait_until(lambda status: bool(status["old_side"]["holders"]), 60)["old_side"]["holders"]
            assert (holder["unacked"], holder["queues"]) == (3, ["mail"])
            assert "Pika" in holder["name"]


def near(rate: float | None, wanted: float, share: float = 0.15) -> bool:
    return rate is not None and abs(rate - wanted) <= share * wanted


def held_for(daemon: Daemon, seconds: float, holds: Callable[[Status], bool]) -> bool:
    """Whether something holds for so long."""
    return not until(lambda: not holds(daemon.status()), seconds)
