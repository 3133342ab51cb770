"""Values of a vhost."""

from __future__ import annotations

from bridge.core.topology import Queue


def test_the_messages_of_a_queue_are_ready_and_unacked() -> None:
    queue = Queue("mail", "classic", True, False, False, {}, {}, ready=3, unacked=4)
    assert queue.messages == 7
