"""A message that the target takes at no time is put aside, and those behind it flow: semantics.md section 9, 32."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.functional.cases import iso, task
from tests.functional.cases_content import LARGEST
from tests.functional.passage import LOST, QUORUM
from tests.support.brokers import Vhosts
from tests.support.daemon import running, takeover
from tests.support.raw_amqp import RawAmqp

pytestmark = pytest.mark.functional


# 3.10 takes 128 MiB on both sides: what its old vhost holds, its new one takes.
@pytest.mark.parametrize("world", ["3.10->4.0", "3.10->4.3"], indirect=True)
def test_too_large_is_exported_and_the_rest_flows(vhosts: Vhosts, tmp_path: Path) -> None:
    due, later = (task(os.urandom(LARGEST + 1), eta=eta).raw() for eta in (None, iso(time.time() + 60)))
    small = task(b"small").raw()
    with RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        for queue in ("q1", "q2"):
            old.declare(queue)
            new.declare(queue, **QUORUM)
            new.consume(queue)
        for message in (small, due, small, later, small):
            old.publish("", "q1", message)
        old.publish("", "q2", small)
        with running(takeover(vhosts, tmp_path, route="quorum"), tmp_path) as daemon:
            status = daemon.wait_until(lambda status: status["totals"].get("exported") == 2, 30)
            status = daemon.wait_until(
                lambda status: status["totals"]["moved"] == 4 and not status["totals"]["in_flight"]
            )
            assert [queue["state"] for queue in status["queues"]] == ["moving", "moving"]
        assert old.depth("q1") == old.depth("q2") == 0
        deadline = time.monotonic() + LOST
        arrived = [new.receive(deadline) for _ in range(4)]
        assert sorted(one.queue for one in arrived if one is not None) == ["q1", "q1", "q1", "q2"]
        assert new.receive(time.monotonic() + 0.5) is None
    exported = [_read(file) for file in sorted((tmp_path / "export" / "q1").iterdir())]
    same = exported == [(due.properties, due.body), (later.properties, later.body)]
    assert same, "what was exported is not what was sent"


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_smaller_frames_of_the_target(vhosts: Vhosts, tmp_path: Path) -> None:
    """Bodies are cut again; a header that is larger than a frame would close the connection of all queues."""
    due = time.time() + 2.9
    bodies = [os.urandom(100_000), os.urandom(8192 - 8), os.urandom(8192 - 7)]
    fit = [task(body).raw() for body in bodies] + [task(bodies[0], eta=iso(due)).raw()]
    fat = task(b"fat", argsrepr="x" * 8192).raw()
    config = takeover(vhosts, tmp_path, route="quorum")
    config["target"]["amqp"] += "?frame_max=8192"
    with RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        old.declare("q1")
        new.declare("q1", **QUORUM)
        new.consume("q1")
        for message in (fat, *fit):
            old.publish("", "q1", message)
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["moved"] == 4)
            # Its file is written by a thread while the others move on.
            status = daemon.wait_until(lambda status: status["totals"]["exported"] == 1)
            assert status["totals"]["possible_duplicates"] == 0
            arrived = [new.receive(time.monotonic() + LOST) for _ in fit]
        assert [one is not None and one.body == sent.body for one, sent in zip(arrived, fit, strict=True)] == [True] * 4
    [file] = (tmp_path / "export" / "q1").iterdir()
    assert _read(file) == (fat.properties, fat.body)


def _read(file: Path) -> tuple[bytes, bytes]:
    """Properties and body of an exported message; its file is for nobody but the daemon's user."""
    assert file.stat().st_mode & 0o777 == 0o600
    line, _, rest = file.read_bytes().partition(b"\n")
    told = json.loads(line)
    header, body = rest[: told["header_bytes"]], rest[told["header_bytes"] :]
    assert len(body) == told["body_bytes"]
    return header[12:], body
