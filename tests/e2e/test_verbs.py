"""The verbs on a running daemon, as an operator types them: done, refused, planned, taken back, and kept."""

from __future__ import annotations

import contextlib
import io
import json
import signal
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main
from bridge.core.route import Cell, Layout, Route, State, Verb, cell
from bridge.lab.deadline import until
from bridge.lab.fingerprint import caps_priority
from tests.support.brokers import Three, Vhosts
from tests.support.celery_traffic import CeleryTraffic
from tests.support.daemon import Daemon, inline, queue_of, running, takeover
from tests.support.peers import Peer, Producer, Worker

pytestmark = [pytest.mark.e2e]

#: Most tests are about the verbs, and one world is enough.
in_one_world = pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)


@dataclass(frozen=True)
class Typed:
    """What a command came to: its exit code, and what it answered for each queue, or the error."""

    code: int
    told: dict[str, Any]

    @property
    def outcomes(self) -> dict[str, str]:
        return {answer["queue"]: answer["outcome"] for answer in self.told["answers"]}

    def of(self, queue: str) -> dict[str, Any]:
        return next(answer for answer in self.told["answers"] if answer["queue"] == queue)


def bridge(daemon: Daemon, *words: str) -> Typed:
    """What `bridge -c FILE <words> --json` comes to."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(["-c", str(daemon.file), *words, "--json"])
    return Typed(code, json.loads(out.getvalue()) if out.getvalue() else {})


@in_one_world
def test_every_verb_does_what_it_says_under_traffic(vhosts: Vhosts, tmp_path: Path):
    """Each task runs once, on the side that the route says, through every verb of this layout."""
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1", "q2")
        new.quorum("q1", "q2")
        with (
            running(takeover(vhosts, tmp_path, gate={"consumers": 1}), tmp_path) as daemon,
            Worker(vhosts.old.amqp, "q1") as before,
            Worker(vhosts.new.amqp, "q1") as after,
            Producer(vhosts.old.amqp, "q1", rate=200) as producer,
        ):

            def works(side: Worker, state: str) -> bool:
                """Whether only that side gets new ones, once the traffic has followed."""
                daemon.wait_until(lambda status: queue_of(status, "q1")["state"] == state)
                mark, other = producer.sent, after if side is before else before
                side.wait_until(lambda got: bool(got) and got[-1] >= mark + 20)
                return not [number for number in other.got if number > mark + 10]

            assert bridge(daemon, "cutover", "q1", "--reason", "the night").code == 0
            assert works(after, "moving")
            assert bridge(daemon, "pause", "q1").of("q1")["paused"]
            assert works(before, "paused")
            assert bridge(daemon, "resume", "q1").code == 0
            assert works(after, "moving")
            assert bridge(daemon, "canary", "q1", "--rate", "50/s").of("q1")["route"] == "canary"
            seen = len(before.got), len(after.got)
            assert until(lambda: len(before.got) > seen[0] + 20 and len(after.got) > seen[1] + 20, 20), "a share each"
            assert bridge(daemon, "rollback", "q1").of("q1")["route"] == "legacy"
            assert works(before, "idle")
            assert bridge(daemon, "cutover", "--all").outcomes == {"q1": "done", "q2": "refused"}
            assert works(after, "moving")

            producer.stop()
            assert until(lambda: len(before.got) + len(after.got) >= producer.sent, 20)
            assert sorted(before.got + after.got) == list(producer.numbers)

            told = [(change["verb"], change["outcome"]) for change in daemon.status()["changes"]]
            assert told[:2] == [("cutover", "done"), ("pause", "done")]
            assert told[-2:] == [("cutover", "done"), ("cutover", "refused")]
            assert daemon.status()["changes"][0]["reason"] == "the night"
            assert daemon.status()["totals"]["possible_duplicates"] == 0


@in_one_world
def test_what_is_refused_changes_nothing(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("mail", "reports")
        new.quorum("mail")
        with running(takeover(vhosts, tmp_path, gate={"consumers": 1}), tmp_path) as daemon:
            wrong = bridge(daemon, "cutover", "mail", "mial")
            assert (wrong.code, 'queue "mial": not in scope' in wrong.told["error"]) == (1, True)
            assert "mail" in wrong.told["hint"]
            assert "named one by one" in bridge(daemon, "cutover", "--all", "--force").told["error"]
            for words in (("cutover", "mail"), ("canary", "mail", "--rate", "5/s"), ("dual", "mail")):
                typed = bridge(daemon, *words)
                assert (typed.code, typed.outcomes) == (1, {"mail": "refused"}), words
                assert typed.of("mail")["hint"]
            assert "has 0 consumers, 1 are wanted" in bridge(daemon, "cutover", "mail").of("mail")["text"]
            assert "takeover layout" in bridge(daemon, "dual", "mail").of("mail")["text"]

            # A dry run is refused as the verb would be, and binds nothing on the target.
            dry = bridge(daemon, "cutover", "mail", "reports", "--force", "--dry-run")
            assert dry.outcomes == {"mail": "would", "reports": "refused"}
            assert {queue["route"] for queue in daemon.status()["queues"]} == {"legacy"}
            assert [change["outcome"] for change in daemon.status()["changes"]] == ["refused"] * 5
            assert bridge(daemon, "cutover", "mail", "--force").outcomes == {"mail": "done"}
            daemon.wait_until(lambda status: queue_of(status, "mail")["state"] == "moving")


@in_one_world
def test_a_postponed_cutover_waits_is_refused_and_goes(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("mail", "reports")
        new.quorum("mail", "reports")
        old.publish("mail", range(30))
        with running(takeover(vhosts, tmp_path, gate={"consumers": 1}), tmp_path) as daemon:
            at = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
            assert bridge(daemon, "cutover", "reports", "--at", at).outcomes == {"reports": "planned"}
            daemon.wait_until(lambda status: bool((queue_of(status, "reports")["planned"] or {}).get("refused")))
            assert "has 0 consumers" in queue_of(daemon.status(), "reports")["planned"]["refused"]

            later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
            assert bridge(daemon, "cutover", "mail", "--at", later).outcomes == {"mail": "planned"}
            assert "cancel" in queue_of(daemon.status(), "mail")["next"]
            assert bridge(daemon, "cancel", "mail").outcomes == {"mail": "done"}
            assert queue_of(daemon.status(), "mail")["planned"] is None

            # The broker's numbers are some seconds old: the one for this queue is waited for.
            assert until(
                lambda: bridge(daemon, "cutover", "mail", "--when-backlog", "10").outcomes == {"mail": "planned"}, 20
            )
            daemon.wait_until(lambda status: "30 are now" in queue_of(status, "mail")["planned"]["waits_for"], 30)
            with (
                Worker(vhosts.new.amqp, "mail"),
                Worker(vhosts.new.amqp, "reports"),
                Worker(vhosts.old.amqp, "mail"),
            ):
                daemon.wait_until(lambda status: {queue["route"] for queue in status["queues"]} == {"quorum"}, 30)
            assert {queue["planned"] for queue in daemon.status()["queues"]} == {None}
            done = [change for change in daemon.status()["changes"] if change["outcome"] == "done"]
            assert [(change["door"], change["verb"]) for change in done] == [
                ("cli", "cancel"),
                ("schedule", "cutover"),
                ("schedule", "cutover"),
            ]


@in_one_world
def test_what_was_asked_outlives_the_daemon(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("mail", "reports")
        new.quorum("mail", "reports")
        config = takeover(vhosts, tmp_path)
        at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        with running(config, tmp_path) as daemon:
            assert bridge(daemon, "cutover", "mail", "--reason", "the night").code == 0
            assert bridge(daemon, "cutover", "reports", "--at", at).outcomes == {"reports": "planned"}
            assert bridge(daemon, "rate", "mail", "500/s").code == 0
            # What is said to be done is saved soon after, not before the answer.
            saved = datetime.now(UTC).isoformat(timespec="milliseconds")
            daemon.wait_until(lambda status: (status["control"]["saved_at"] or "") > saved)
            daemon.kill()
        with running(config, tmp_path) as daemon:
            status = daemon.wait_until(lambda status: bool(status["queues"]))
            mail, reports = queue_of(status, "mail"), queue_of(status, "reports")
            assert (mail["route"], mail["limit"], mail["reason"]) == ("quorum", 500.0, "the night")
            assert (reports["route"], reports["planned"]["verb"]) == ("legacy", "cutover")
            assert [change["verb"] for change in status["changes"]] == ["cutover", "cutover", "rate"]
            assert bridge(daemon, "cancel", "--all").outcomes == {"mail": "unchanged", "reports": "done"}


@in_one_world
def test_what_waits_on_the_target_is_brought_back_and_can_go_again(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        old.publish("q1", range(200))
        with running(takeover(vhosts, tmp_path), tmp_path) as daemon:
            daemon.signal(signal.SIGUSR1)
            daemon.wait_until(lambda status: status["totals"]["moved"] == 200)
            assert bridge(daemon, "rollback", "--reverse", "q1").of("q1")["route"] == "reverse"
            assert until(lambda: old.look("q1") == (200, 0), 20)
            assert bridge(daemon, "cutover", "q1").outcomes == {"q1": "done"}
            with Worker(vhosts.new.amqp, "q1") as worker:
                assert sorted(worker.wait_for(200)) == list(range(200))


# -- every change of the table, with Celery ----------------------------------------------------------------------------


def changes(layout: Layout) -> list[tuple[State, Verb, State]]:
    """A walk over every change that the table has, from `legacy` on; some are gone twice."""
    states = [State(route, paused) for route in Route for paused in (False, True)]
    arcs = {
        (state, verb): found.state
        for state in states
        for verb in Verb
        if isinstance(found := cell(state, verb, layout), Cell)
        and (found.state != state or (verb is Verb.CANARY and not state.paused))
        and Route.DUAL not in (state.route, found.state.route)
    }
    left, now, walked = set(arcs), State(Route.LEGACY), []
    while left:
        # The way to the nearest change that was not made yet.
        ways: list[tuple[State, tuple[Verb, ...]]] = [(now, ())]
        for at, way in ways:
            ahead = next((verb for state, verb in left if state == at), None)
            if ahead is not None:
                break
            ways += [(arcs[state, verb], (*way, verb)) for state, verb in arcs if state == at]
        assert ahead is not None
        for verb in (*way, ahead):
            walked.append((now, verb, arcs[now, verb]))
            left.discard((now, verb))
            now = arcs[now, verb]
    return walked


def sides(state: State, layout: Layout) -> tuple[str, ...]:
    """Where new tasks start in a state."""
    if state.paused:
        return ("old",) if layout is Layout.TAKEOVER else ()
    return {Route.QUORUM: ("new",), Route.CANARY: ("old", "new")}.get(state.route, ("old",))


@pytest.mark.long
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("world", ["3.10->4.3", "3.10->4.0", "3.10->3.10"], indirect=True)
def test_every_change_of_the_table_under_live_celery_traffic(layout: Layout, three: Three, tmp_path: Path):
    takes_over = layout is Layout.TAKEOVER
    config = takeover(Vhosts(three.ingress, three.new), tmp_path) if takes_over else inline(three, tmp_path)
    old = three.ingress if takes_over else three.legacy
    if not takes_over:
        with Peer(three.ingress.amqp) as ingress:
            ingress.classic("q1")
    with (
        CeleryTraffic(
            tmp_path / "traffic",
            into=three.ingress.amqp,
            sides={"old": old.amqp, "new": three.new.amqp},
            queues=("q1",),
            capped=caps_priority(three.new.version),
        ) as traffic,
        running(config, tmp_path) as daemon,
    ):
        traffic.starts_on("old", 20)
        for before, verb, after in changes(layout):
            words = [*verb.typed.split(), "q1", *(["--rate", "100/s"] if verb is Verb.CANARY else [])]
            answer = bridge(daemon, *words).of("q1")
            assert (answer["before"], answer["outcome"]) == (str(before), "done"), (verb, answer)
            assert (answer["route"], answer["paused"]) == (after.route, after.paused)
            for side in sides(after, layout):
                traffic.starts_on(side, 20)
        assert bridge(daemon, "legacy", "q1").code == 0
        bridge(daemon, "resume", "q1")
        daemon.wait_until(lambda status: queue_of(status, "q1")["in_flight"] == 0)
        report = traffic.settle()
        assert (report.lost, report.executed_twice, report.early, report.changed) == (0, 0, 0, 0), report.faults
        assert daemon.status()["totals"]["possible_duplicates"] == 0
