from __future__ import annotations

from bridge.core.pairs import pairs
from tests.support.topologies import queue, vhost


def test_queues_in_scope_and_their_sisters_by_name() -> None:
    source = vhost(
        "chost", queue("mail"), queue("a.q1"), queue("w1.dq2"), queue("w2.dq2"), queue("out"), queue("x", kind="quorum")
    )
    found = pairs(source, lambda name: name != "out", {"w1.dq2"}, lambda name: "mail-v2" if name == "mail" else name)
    assert [(pair.source.name, pair.target) for pair in found] == [
        ("a.q1", "a.q1"),
        ("mail", "mail-v2"),
        ("w1.dq2", "w1.dq2"),
    ]
