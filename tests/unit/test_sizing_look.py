"""What the estimate stands on: rates out of the API's JSON, and the speed of a daemon out of its status."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from bridge.applying import Survey
from bridge.config import Config, parse
from bridge.core import sizing
from bridge.core.pairs import Pair
from bridge.core.sizing import Assumptions
from bridge.core.topology import Node, Queue
from bridge.errors import Refused
from bridge.sizing_look import Traffic, backlogs, sized, traffic
from tests.support.topologies import queue, vhost

MAIL = replace(queue("mail", ready=1000), unacked=24, message_bytes=1024 * (1024 - sizing.ENVELOPE))


class Api:
    """Answers with fixed JSON, read as the API's real answers are."""

    def __init__(self, *items: dict[str, Any], **overview: object) -> None:
        self.items, self.overview = items, overview

    def get(self, path: str, read: Callable[[Any], Any], columns: str) -> Any:
        assert (path, columns) == ("overview", "rates_mode,disable_stats")
        return read(self.overview)

    def pages(
        self, path: str, read: Callable[[Any], Any], columns: str, more: Mapping[str, str]
    ) -> Iterator[tuple[str, Traffic]]:
        assert path == "queues/chost"
        assert more == {"msg_rates_age": "60", "msg_rates_incr": "5"}
        assert "message_stats.publish_details.avg_rate" in columns.split(",")
        return map(read, self.items)


def rates(*items: dict[str, Any], **overview: object) -> dict[str, Traffic] | None:
    return traffic(Api(*items, **overview), "chost")  # type: ignore[arg-type]  # as much of it as is asked for


def test_rates_of_the_last_minute() -> None:
    stats = {
        "publish_details": {"avg_rate": 5.5},
        "ack_details": {"avg_rate": 2.0},
        "deliver_no_ack_details": {"avg_rate": 1.0},
        "get_no_ack_details": {},
    }
    assert rates({"name": "mail", "message_stats": stats}, {"name": "quiet"}, rates_mode="basic") == {
        "mail": Traffic(5.5, 3.0),
        "quiet": Traffic(0.0, 0.0),
    }


@pytest.mark.parametrize("overview", [{"rates_mode": "none"}, {"disable_stats": True}])
def test_a_broker_that_counts_no_rates(overview: dict[str, object]) -> None:
    assert rates({"name": "mail"}, **overview) is None


def test_backlogs() -> None:
    [one] = backlogs([MAIL], {"mail": Traffic(5.0, 3.0)})
    assert (one.messages, one.size, one.arriving, one.worked) == (1024, 1024, 5.0, 3.0)
    [one] = backlogs([MAIL], {})
    assert (one.arriving, one.worked) == (0.0, 0.0), "a queue that has just come"
    [one] = backlogs([MAIL], None)
    assert (one.arriving, one.worked) == (None, None)


def config(**more: Any) -> Config:
    sides = {
        "source": {"amqp": "amqp://u:p@old/chost", "api": "http://old:15672"},
        "target": {"amqp": "amqp://u:p@new/qhost", "api": "http://new:15672"},
    }
    return parse(json.dumps({**sides, **more}), {})


def seen(*queues: Queue) -> Survey:
    target = replace(vhost("qhost", version=(4, 0, 5)), nodes=(Node("a"), Node("b", running=False)))
    return Survey(vhost("chost", *queues), target, tuple(Pair(one, one.name) for one in queues))


def test_what_is_known_of_the_target_is_put_in() -> None:
    found = sized(config(backup={"on": "target"}), seen(MAIL), None, Assumptions(eta_share=0.5))
    assert (found.assumed.version, found.assumed.nodes, found.assumed.backup) == ((4, 0, 5), 2, True)
    assert (found.assumed.eta_share, found.basis.name) == (0.5, "model")
    assert [node.name for node in found.facts.nodes] == ["a"]
    assert (found.facts.counted, found.facts.backup_on_target, found.facts.inline) == (False, True, False)


def test_a_rate_that_is_given() -> None:
    found = sized(config(), seen(MAIL), {}, Assumptions(rate=512.0))
    assert (found.basis.name, found.estimate.together.expected) == ("given", 2.0)
    assert found.facts.counted


def status(limit: float | None = None, **queues: dict[str, Any]) -> dict[str, Any]:
    usual = {"state": "moving", "route": "quorum", "rate": 0.0, "moved": 0, "converted": 0, "limit": None}
    return {"limit": limit, "queues": [{"name": name, **usual, **more} for name, more in queues.items()]}


def test_a_daemon_that_is_measured() -> None:
    half = 0.5 / sizing.seconds_each(1024)
    few = replace(MAIL, ready=round(half), message_bytes=(round(half) + 24) * (1024 - sizing.ENVELOPE))
    said = status(
        5000.0,
        mail={"rate": half, "moved": 10, "converted": 1, "limit": 40.0},
        quiet={"state": "idle", "route": "legacy", "rate": 7.0},
        new={"rate": 0.0},
    )
    found = sized(config(), seen(few, queue("quiet"), queue("new")), {}, Assumptions(), said)
    assert found.basis.name == "measured"
    # A tenth of its messages went into the ladder, so the same rate is a little more of the limit.
    assert found.assumed.speed == pytest.approx(0.5 * (1 + 0.1 * (sizing.LADDER_COST - 1)))
    assert found.assumed.eta_shares == (("mail", 0.1),)
    assert found.facts.limits == ("all queues together 5000/s", '"mail" 40/s')
    assert found.estimate.queues[0].rate == pytest.approx(half)
    worked = [one.backlog.worked for one in found.estimate.queues]
    assert worked == [None, 0.0, None], "the daemon's acks are no worker's"


@pytest.mark.parametrize(
    "one",
    [
        {"rate": 1001.0},
        {"rate": 0.0},
        {"rate": 20.0, "route": "canary"},
        {"rate": 20.0, "state": "throttled"},
    ],
)
def test_a_daemon_whose_speed_does_not_show(one: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="moves no queue in which messages wait"):
        sized(config(), seen(MAIL), {}, Assumptions(), status(mail=one))
