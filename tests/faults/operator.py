"""What people do to queues, rights and limits while the bridge moves messages."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pika import spec

from bridge import delayed
from bridge.address import AmqpAddress
from bridge.core import ladder
from bridge.lab.deadline import until
from tests.faults.fault import OFFERED_AGAIN, OWN_BROKER, TRAFFIC, Fault, nothing
from tests.faults.stage import MOVER
from tests.support.raw_amqp import RawAmqp

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.stage import Stage

_NONE: frozenset[str] = frozenset()
_NUMBERED = frozenset({TRAFFIC})
_ALL = {"configure": ".*", "write": ".*", "read": ".*"}
_POLICY = "full"
#: Tasks that are published at once, so that there is something to purge; and how often, at most.
_BACKLOG = 6_000
_FLOODS = 10
#: ETA tasks that come out of the ladder when their queue is not there, and after how many seconds.
_IN_LADDER, _LEAVES_LADDER = 100, 6.0
#: Milliseconds: a consumer timeout for tests and how often a channel looks at it, and both as RabbitMQ 3.10 has them.
_SHORT_TIMEOUT, _LOOKS_EVERY = 3_000, 1_000
_USUAL_TIMEOUT, _USUALLY_LOOKS = 1_800_000, 60_000

# -- rights -----------------------------------------------------------------------------------------------------------


def _permit(side: str, **rights: str) -> Callable[[Stage], None]:
    """Set what our user may; a channel that is open remembers what it was allowed, so its connection ends."""

    def act(stage: Stage) -> None:
        admin, at = (stage.old, stage.vhosts.old) if side == "source" else (stage.new, stage.vhosts.new)
        admin.call("PUT", f"permissions/{quote(at.vhost, safe='')}/{MOVER}", {**_ALL, **rights})
        if rights:
            (stage.source if side == "source" else stage.target).cut()

    return act


# -- limits -----------------------------------------------------------------------------------------------------------


def _fill(stage: Stage) -> None:
    """Keep the target queue full. What leaves the ladder would find it full as well and be late: no ETA tasks."""
    stage.producer.share = 0.0
    with stage.quiet():
        stage.after.leave()
    definition = {"max-length": 5, "overflow": "reject-publish"}
    policy = {"pattern": f"^{stage.queue}$", "definition": definition, "apply-to": "queues"}
    stage.new.call("PUT", f"policies/{quote(stage.vhosts.new.vhost, safe='')}/{_POLICY}", policy)


def _empty(stage: Stage) -> None:
    """Work it off, and then take the limit away: RabbitMQ 3.10 tells those it refused that there is room when a message
    leaves a queue that has a limit; to a ladder that was refused it never tells it if the limit went first.
    """
    stage.after.come_back()
    stage.moves()
    stage.new.call("DELETE", f"policies/{quote(stage.vhosts.new.vhost, safe='')}/{_POLICY}")
    stage.producer.share = stage.share


# -- queues -----------------------------------------------------------------------------------------------------------


def _call(url: str, method: Any) -> Any:
    with RawAmqp(url) as amqp:
        return amqp.call(method)


def _delete_target(stage: Stage) -> None:
    # Nothing may be in it: what is deleted with it would be lost by the operator, not by the bridge.
    stage.producer.share = 0.0
    with stage.quiet():
        _delete_empty_target(stage)


def _delete_target_before_the_ladder(stage: Stage) -> None:
    with stage.quiet():
        stage.producer.burst(_IN_LADDER, ahead=_LEAVES_LADDER)
        assert until(stage.idle, _LEAVES_LADDER / 2), "tasks did not reach the ladder in time"
        _delete_empty_target(stage)


def _delete_empty_target(stage: Stage) -> None:
    assert _call(stage.vhosts.new.amqp, spec.Queue.Delete(queue=stage.queue)).message_count == 0


def _declare_target(stage: Stage) -> None:
    stage.declare_target()
    stage.producer.share = stage.share


def _delete_source(stage: Stage) -> None:
    # A task that comes while the queue goes would be confirmed and in no count.
    with stage.producer.held():
        stage.deleted += _call(stage.vhosts.old.amqp, spec.Queue.Delete(queue=stage.queue)).message_count


def _purge_source(stage: Stage) -> None:
    # The bridge may keep pace with a flood: then there is nothing to purge.
    for _ in range(_FLOODS):
        flood = threading.Thread(target=stage.producer.burst, args=(_BACKLOG,))
        flood.start()
        while flood.is_alive():
            stage.deleted += _call(stage.vhosts.old.amqp, spec.Queue.Purge(queue=stage.queue)).message_count
            flood.join(0.05)
        if stage.deleted:
            return
    raise AssertionError("there never was anything to purge")


# -- the ladder -------------------------------------------------------------------------------------------------------


def _unbind(stage: Stage) -> None:
    with RawAmqp(stage.vhosts.new.amqp) as amqp:
        amqp.unbind(stage.queue, ladder.DELIVERY_EXCHANGE, ladder.exit_pattern(stage.queue))


def _delete_level(stage: Stage) -> None:
    """Delete the highest level that tasks of the stage enter: none is on its way to it from a higher one."""
    level = ladder.level_name(int(stage.ahead[1] - 0.5).bit_length() - 1)
    with stage.quiet():
        _call(stage.vhosts.new.amqp, spec.Queue.Delete(queue=level))
        _call(stage.vhosts.new.amqp, spec.Exchange.Delete(exchange=level))


def _declare_ladder(stage: Stage) -> None:
    assert delayed.declare(AmqpAddress.parse(stage.vhosts.new.amqp), None) is None


# -- timeouts ---------------------------------------------------------------------------------------------------------


def _consumer_timeout(stage: Stage, timeout: int, looks: int) -> None:
    stage.vhosts.old.nodes[0].ctl(
        "eval",
        f"application:set_env(rabbit, consumer_timeout, {timeout}),"
        f" application:set_env(rabbit, channel_tick_interval, {looks}).",
    )


def _timed_out(silent: Callable[[Stage], None]) -> Callable[[Stage], None]:
    def inject(stage: Stage) -> None:
        _consumer_timeout(stage, _SHORT_TIMEOUT, _LOOKS_EVERY)
        # A channel reads it when it opens. With nothing in flight: the cut itself shall double nothing.
        with stage.quiet():
            stage.source.cut()
        stage.moves()
        silent(stage)

    return inject


def _timed_in(spoken: Callable[[Stage], None]) -> Callable[[Stage], None]:
    def heal(stage: Stage) -> None:
        _consumer_timeout(stage, _USUAL_TIMEOUT, _USUALLY_LOOKS)
        stage.source.cut()
        spoken(stage)

    return heal


FAULTS = (
    Fault(
        "right to write on the target taken and given back",
        _permit("target", write="^$"),
        _permit("target"),
        5.0,
        _NONE,
        True,
        happens="refused (403) and tried again; the old workers have the queue",
    ),
    Fault(
        "right to read on the source taken and given back",
        _permit("source", read="^$"),
        _permit("source"),
        5.0,
        _NONE,
        True,
        happens="refused (403) and tried again; the old workers have the queue",
        long=True,
    ),
    Fault(
        "target queue full (max-length with reject-publish)",
        _fill,
        _empty,
        6.0,
        _NUMBERED,
        True,
        happens="rejected tasks (basic.nack) go back to the old queue, tried again with back-off",
        late=OFFERED_AGAIN,
    ),
    Fault(
        "target queue deleted and declared again",
        _delete_target,
        _declare_target,
        6.0,
        _NUMBERED,
        True,
        happens="returned tasks (basic.return) go back to the old queue; the old workers have it",
    ),
    Fault(
        "target queue deleted and declared again, ETA tasks in the ladder",
        _delete_target_before_the_ladder,
        _declare_target,
        6.0,
        _NUMBERED,
        True,
        happens="the broker offers what left the ladder and found no queue again after 3 minutes",
        late=OFFERED_AGAIN,
        long=True,
    ),
    Fault(
        "source queue deleted and declared again",
        _delete_source,
        lambda stage: stage.declare_source(),
        3.0,
        _NUMBERED,
        False,
        happens="our consumer is cancelled; the queue is looked for every 10 s",
        long=True,
    ),
    Fault(
        "source queue purged while it moves",
        _purge_source,
        nothing,
        0.0,
        _NUMBERED,
        False,
        happens="what was purged is gone, by the broker's own count; what was in flight arrives",
    ),
    Fault(
        "our exit from the ladder unbound",
        _unbind,
        nothing,
        4.0,
        _NUMBERED,
        False,
        happens="bound again within 10 s; the broker offers what it held again after 3 minutes",
        late=OFFERED_AGAIN,
        long=True,
    ),
    Fault(
        "a level of the ladder deleted and declared again",
        _delete_level,
        _declare_ladder,
        4.0,
        _NUMBERED,
        True,
        happens="ETA tasks come back (basic.return); the old workers have the queue until the ladder is whole",
    ),
    Fault(
        "consumer timeout of the source while the daemon is held (SIGSTOP)",
        _timed_out(lambda stage: stage.daemon.pause()),
        _timed_in(lambda stage: stage.daemon.resume()),
        8.0,
        frozenset({OWN_BROKER}),
        True,
        happens="the channel is closed (406), what it held goes back; subscribed again",
        long=True,
    ),
    Fault(
        "consumer timeout of the source while the target is stalled",
        _timed_out(lambda stage: stage.target.stall()),
        _timed_in(lambda stage: stage.target.restore()),
        8.0,
        frozenset({OWN_BROKER}),
        True,
        happens="the channel is closed (406), what it held goes back; subscribed again",
        long=True,
    ),
)
