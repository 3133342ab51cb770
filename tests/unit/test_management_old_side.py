"""The calls of one look, on a web server that answers as RabbitMQ does; the functional tier has real ones."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bridge.address import HttpAddress
from bridge.core import old_holders, old_side
from bridge.core.old_publishers import flows
from bridge.core.old_side import OldSide
from bridge.management import Management
from bridge.management_old_side import look

#: Path below /api to what is answered; a number is a status without an answer.
Answers = dict[str, Any]


@contextmanager
def api(answers: Answers) -> Iterator[tuple[Management, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            name = unquote(parts.path.removeprefix("/api/"))
            asked.append(name)
            found = answers.get(name, 404)
            pages = parse_qs(parts.query).get("page")
            if pages:
                at = (int(pages[0]) - 1) * 500
                found = {"items": found[at : at + 500], "page_count": -(-len(found) // 500)}
            body = b"{}" if isinstance(found, int) else json.dumps(found).encode()
            self.send_response(found if isinstance(found, int) else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    management = Management(
        "source", HttpAddress.parse(f"http://127.0.0.1:{server.server_port}"), "bridge", "secret", True, None
    )
    try:
        yield management, asked
    finally:
        management.close()
        server.shutdown()
        server.server_close()
        thread.join(10)


def queue(name: str, unacked: int = 0, published: int = 0, rate: float = 0.0) -> dict[str, Any]:
    stats = {"publish": published, "publish_details": {"rate": rate}}
    return {
        "name": name,
        "type": "classic",
        "durable": not name.endswith(".pidbox"),
        "exclusive": False,
        "auto_delete": name.endswith(".pidbox"),
        "arguments": {},
        "effective_policy_definition": [],
        "messages_unacknowledged": unacked,
        "message_stats": stats if published else [],
    }


def connection(number: int) -> dict[str, Any]:
    name = f"10.0.{number // 250}.{number % 250}:{4000 + number} -> 10.9.9.9:5672"
    return {
        "name": name,
        "user": "app",
        "peer_host": name.partition(":")[0],
        "peer_port": 4000 + number,
        "client_properties": {"product": "py-amqp", "product_version": "5.4.2"},
    }


def channel(number: int, channel: int, unacked: int = 0, rate: float = 0.0) -> dict[str, Any]:
    name = connection(number)["name"]
    stats = {"publish": 1000, "publish_details": {"rate": rate}}
    return {
        "name": f"{name} ({channel})",
        "connection_details": {"name": name, "peer_port": 4000 + number},
        "messages_unacknowledged": unacked,
        "message_stats": stats if rate else [],
    }


def consumer(queue: str, number: int, channel: int = 1, **more: Any) -> dict[str, Any]:
    name = connection(number)["name"]
    details = {"name": f"{name} ({channel})", "connection_name": name, "user": "app"}
    return {"queue": {"name": queue}, "consumer_tag": "None1", "arguments": {}, "channel_details": details, **more}


def small(**changed: Any) -> Answers:
    return {
        "overview": {"rates_mode": "basic", "disable_stats": False},
        "whoami": {"name": "bridge", "tags": ["monitoring"]},
        "queues/v": [queue("q1", 7, 100, 4.0), queue("celery@w1.celery.pidbox")],
        "consumers/v": [
            consumer("q1", 1, arguments={"x-priority": 5}),
            consumer("celery@w1.celery.pidbox", 1, 2),
            # The broker does not know its channel yet.
            {"queue": {"name": "q1"}, "consumer_tag": "new", "arguments": [], "channel_details": []},
        ],
        "vhosts/v/channels": [channel(1, 1, 7), channel(1, 2), channel(2, 1, rate=4.0)],
        "vhosts/v/connections": [connection(1), {"name": "10.0.0.2:4002 -> 10.9.9.9:5672"}],
        **changed,
    }


def test_what_a_broker_tells_of_who_is_there():
    with api(small()) as (management, asked):
        seen = look(management, "v")
    assert asked == ["overview", "queues/v", "whoami", "consumers/v", "vhosts/v/channels", "vhosts/v/connections"]
    assert (seen.queues["q1"].unacked, seen.queues["q1"].published, seen.queues["q1"].rate) == (7, 100, 4.0)
    assert [name for name, one in seen.queues.items() if one.tasks] == ["q1"]
    assert [(one.queue, one.priority, one.connection[:8]) for one in seen.consumers] == [
        ("q1", 5, "10.0.0.1"),
        ("celery@w1.celery.pidbox", 0, "10.0.0.1"),
        ("q1", 0, ""),
    ]
    first, second = seen.connections.values()
    assert (first.host, first.client, first.user) == ("10.0.0.1:4001", "py-amqp 5.4.2", "app")
    # A connection that is just opening has a name and no more.
    assert (second.host, second.client, second.user) == ("10.0.0.2:4002", "", "")
    assert sorted(one.rate or 0 for one in seen.channels.values()) == [0, 0, 4.0]
    assert (seen.crossings, seen.unknown) == (None, ())


def test_a_broker_that_counts_in_detail_is_asked_for_each_exchange_that_tasks_pass():
    def passed(name: str, count: int = 1) -> dict[str, Any]:
        return {"name": name, "message_stats": {"publish_in": count}}

    stats = {"publish": 10, "publish_details": {"rate": 4.0}}
    answers = small(overview={"rates_mode": "detailed"})
    answers["exchanges/v"] = [
        passed(""),
        passed("tasks", 0),
        passed("celeryev"),
        passed("celery.pidbox"),
        {"name": "x"},
    ]
    answers["exchanges/v/amq.default"] = {
        "incoming": [{"channel_details": {"name": "c (1)"}, "stats": stats}, {"channel_details": [], "stats": stats}],
        "outgoing": [{"queue": {"name": "q1"}, "stats": stats}, {"queue": {"name": "q2"}, "stats": {}}],
    }
    with api(answers) as (management, asked):
        (crossing,) = look(management, "v").crossings or ()
    assert asked[6:] == ["exchanges/v", "exchanges/v/amq.default"]
    assert (crossing.exchange, crossing.channels, crossing.queues) == ("", {"c (1)": (10, 4.0)}, {"q1": (10, 4.0)})

    answers["exchanges/v"] = [passed(f"e{number:02}") for number in range(60)]
    with api(answers) as (management, asked):
        assert look(management, "v").unknown[0] == "who publishes into 10 of 60 exchanges: too many"
    assert len(asked) == 7 + 50


def test_what_may_not_be_seen_is_said():
    with api(small(whoami={"name": "bridge", "tags": "management"})) as (management, _):
        seen = look(management, "v")
    assert (list(seen.queues), seen.consumers) == (["q1", "celery@w1.celery.pidbox"], ())
    assert 'user "bridge" may not see them, that takes the tag "monitoring"' in seen.unknown[0]

    with api(small(**{"consumers/v": 401, "vhosts/v/channels": 404, "overview": {"disable_stats": True}})) as (
        management,
        _,
    ):
        seen = look(management, "v")
    assert seen.unknown[0] == "who publishes: the broker collects no statistics"
    assert seen.unknown[1].startswith("consumers: source: the HTTP API at")
    assert seen.unknown[2] == "channels: this version of RabbitMQ does not tell"


def test_a_thousand_queues_and_five_hundred_connections_cost_eight_calls():
    queues = [queue(f"q{number:04}", 3, 1000, 2.0) for number in range(1000)]
    queues += [queue(f"celery@w{number}.celery.pidbox") for number in range(250)]
    # Half of the connections are workers with four queues and a mailbox, half publish.
    consumers = [consumer(f"q{number * 4 + each:04}", number) for number in range(250) for each in range(4)]
    consumers += [consumer(f"celery@w{number}.celery.pidbox", number, 2) for number in range(250)]
    channels = [channel(number, 1, 12) for number in range(250)] + [channel(number, 2) for number in range(250)]
    channels += [channel(number, 1, rate=8.0) for number in range(250, 500)]
    answers = small(
        **{
            "queues/v": queues,
            "consumers/v": consumers,
            "vhosts/v/channels": channels,
            "vhosts/v/connections": [connection(number) for number in range(500)],
        }
    )
    with api(answers) as (management, asked):
        seen = look(management, "v")
    workers = old_side.mailboxes(seen, "celery")
    held, left = old_holders.holders(seen, workers, "main", {})
    found = OldSide(
        seen.at, flows(seen, None, workers, "main"), old_side.consumers(seen, "main", workers), held, workers, left
    )
    told = json.dumps(found.as_json())
    # Three pages of queues.
    assert len(asked) == 8
    assert (len(found.consumers), len(held), left) == (1000, 1000, {})
    assert all(one.unacked == 3 for one in held)
    (flow,) = found.flows
    assert (len(flow.queues), len(flow.publishers), flow.unnamed) == (1000, 250, 0.0)
    assert len(found.of("q0000").publishers) == 250
    assert len(told) < 1_000_000
