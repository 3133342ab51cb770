"""What is moved in a benchmark: messages of the size that was asked for, that the bridge reads as Celery's."""

from __future__ import annotations

import pytest

from bridge.core import frames
from bridge.errors import LabError
from tests.bench.load import DAY, Load, queue_names


@pytest.mark.parametrize("size", [300, 1024, 16 * 1024, 131_072, 200_000, 1024 * 1024])
@pytest.mark.parametrize("ahead", [None, DAY])
def test_a_message_has_the_bytes_that_were_asked_for(size: int, ahead: int | None) -> None:
    message = Load(1, size, ahead).template()
    at = 0
    while at < len(message):
        at += frames.frame_at(message, at)[2] + frames.OVERHEAD
        assert message[at - 1] == frames.END
    # A head more is needed when one byte more would make another body frame.
    assert size - frames.OVERHEAD <= len(message) <= size
    assert (b"eta" in message) == (size >= 900 or ahead is not None)


def test_a_task_takes_some_bytes() -> None:
    with pytest.raises(LabError, match="100 bytes on the wire are asked for, a task takes at least"):
        Load(1, 100).template()


def test_due_messages_arrive_in_turn_in_their_queues() -> None:
    assert Load(10).places == {"orders": 10}
    assert Load(10, queues=3).places == {"orders-0000": 4, "orders-0001": 3, "orders-0002": 3}
    assert queue_names(2) == ["orders-0000", "orders-0001"]


def test_what_has_an_eta_arrives_in_the_level_of_its_highest_bit() -> None:
    assert Load(10, ahead=DAY).places == {"celery_delayed_16": None}
    assert Load(10, ahead=DAY, share=0.3).places == {"orders": None, "celery_delayed_16": None}


def test_a_short_wait_is_looked_at_against_its_way() -> None:
    assert list(Load(10, ahead=10).places) == ["orders", *(f"celery_delayed_{level}" for level in range(4))]
    # One second past a power of two: the first will be below it when the last is published.
    assert "celery_delayed_11" in Load(10, ahead=4097).places
