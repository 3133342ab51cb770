"""`bridge plan --time` on real brokers: what it reads of messages, their bytes and the last minute's rates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import cli
from bridge.core import sizing
from bridge.lab.deadline import until
from tests.support.brokers import Vhosts
from tests.support.peers import Peer, message

pytestmark = pytest.mark.functional

#: Seconds in which the broker must have told of messages and rates: twice its own interval.
TOLD_WITHIN = 20.0
COUNT = 600


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_what_the_broker_tells(vhosts: Vhosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bridge.yaml"
    sides = {"source": vhosts.old, "target": vhosts.new}
    file.write_text(yaml.safe_dump({name: {"amqp": side.amqp, "api": side.api} for name, side in sides.items()}))

    def asked() -> dict[str, Any]:
        capsys.readouterr()
        assert cli.main(["-c", str(file), "plan", "--time", "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    with Peer(vhosts.old.amqp) as old:
        old.classic("mail", "quiet")
        old.publish("mail", range(COUNT))
        # A third is worked, and ten are held.
        for number in range(1, COUNT // 3 + 11):
            assert old.channel.basic_get("mail")[0] is not None
            if number <= COUNT // 3:
                old.channel.basic_ack(number)

        body, _ = message(0)
        size = len(body) + sizing.ENVELOPE

        def told() -> bool:
            mail = asked()["queues"][0]
            here = (mail["messages"], mail["message_bytes"]) == (COUNT * 2 // 3, size)
            return here and bool(mail["arriving"] and mail["worked"])

        assert until(told, TOLD_WITHIN), asked()
        found = asked()
    mail, quiet = found["queues"]
    assert (mail["name"], mail["unacked"], mail["ready"]) == ("mail", 10, COUNT * 2 // 3 - 10)
    assert mail["message_bytes"] == size, "the broker tells of the bodies"
    # All of them came in within the minute over which the broker averages.
    assert 0 < mail["worked"] < mail["arriving"] <= COUNT / 5
    assert (quiet["messages"], quiet["arriving"], quiet["old_workers_s"]) == (0, 0.0, 0.0)
    assert found["total"]["seconds"]["expected"] > 0
    assert found["assumed"]["version"][:2] == [4, 3]
    assert (found["basis"]["name"], found["assumed"]["nodes"]) == ("model", 1)
