from __future__ import annotations

from bridge.core.old_publishers import flows
from bridge.core.old_side import Crossing, QueueSeen
from tests.unit.core.old_looks import BRIDGE, EVENTS, OTHER, WEB, WORKER, channel, look

WORKERS = {WORKER: "celery@w1"}


def shown(found):
    return [(one.connection, one.rate, one.certain) for flow in found for one in flow.publishers]


def test_nothing_comes_so_nobody_publishes():
    queues = [QueueSeen("q1", published=10, rate=0.0), QueueSeen("replies", published=9, rate=3.0, tasks=False)]
    assert flows(look(queues, [channel(WEB, published=10, rate=3.0)]), None, WORKERS, "main") == ()
    # Nor is it known where nothing is counted.
    assert flows(look([QueueSeen("q1")], [channel(WEB)]), None, WORKERS, "main") == ()


def test_one_look_has_the_rates_of_the_broker():
    seen = look([QueueSeen("q1", published=10, rate=4.0)], [channel(WEB, published=10, rate=4.0)])
    (flow,) = flows(seen, None, WORKERS, "main")
    assert (flow.exchange, flow.queues, flow.unnamed) == (None, {"q1": 4.0}, 0.0)
    assert shown([flow]) == [(WEB, 4.0, True)]


def test_two_looks_show_what_the_last_seconds_do_not():
    # A message a minute is a rate of nothing at most moments.
    before = look([QueueSeen("q1", published=10, rate=0.0)], [channel(WEB, published=10, rate=0.0)])
    now = look(
        [QueueSeen("q1", published=13, rate=0.0), QueueSeen("q2", published=3, rate=0.0)],
        [channel(WEB, published=13), channel(OTHER, published=2), channel(OTHER, 2, published=1)],
        after=30,
    )
    (flow,) = flows(now, before, WORKERS, "main")
    assert flow.queues == {"q1": 0.1, "q2": 0.1}
    # Who of them published where is not told.
    assert shown([flow]) == [(WEB, 0.1, False), (OTHER, 0.1, False)]


def test_a_worker_s_events_make_no_producer_of_it():
    queues = [QueueSeen("q1", published=10, rate=4.0)]
    events = channel(EVENTS, published=10, rate=0.5)
    seen = look(queues, [channel(WEB, published=10, rate=4.0), events])
    assert shown(flows(seen, None, WORKERS, "main")) == [(WEB, 4.0, True)]
    # Where the worker is on another side, its host says that there is one.
    assert shown(flows(seen, None, {}, "main", frozenset({"10.0.0.4"}))) == [(WEB, 4.0, True)]
    # Unless nobody else explains what came.
    (flow,) = flows(look(queues, [events]), None, WORKERS, "main")
    assert shown([flow]) == [(EVENTS, 0.5, True)]
    # More than a worker does for itself makes it one.
    busy = look(queues, [channel(WEB, published=10, rate=4.0), channel(EVENTS, published=10, rate=1.5)])
    assert shown(flows(busy, None, WORKERS, "main")) == [(WEB, 4.0, False), (EVENTS, 1.5, False)]


def test_ours_explain_their_part_and_are_not_named():
    seen = look([QueueSeen("q1", published=10, rate=4.0)], [channel(BRIDGE, published=10, rate=4.0)])
    (flow,) = flows(seen, None, WORKERS, "main")
    assert (flow.publishers, flow.unnamed) == ((), 0.0)
    assert shown(flows(seen, None, WORKERS, "another")) == [(BRIDGE, 4.0, True)]


def test_what_nobody_explains_is_said():
    # A script that connected, published and was gone before the broker counted its channel.
    (flow,) = flows(look([QueueSeen("q1", published=10, rate=4.0)]), None, WORKERS, "main")
    assert (flow.publishers, flow.unnamed) == ((), 4.0)


def crossing(queues: dict[str, tuple[int, float]], channels: dict[str, tuple[int, float]]) -> Crossing:
    return Crossing("", channels, queues)


def test_a_broker_that_counts_in_detail_says_who_published_where():
    queues = [QueueSeen("q1"), QueueSeen("q2"), QueueSeen("replies", tasks=False)]
    channels = [channel(WEB), channel(EVENTS)]
    first = crossing({"q1": (10, 0.0)}, {f"{WEB} (1)": (10, 0.0)})
    second = crossing(
        {"q1": (13, 0.0), "q2": (0, 0.0), "replies": (5, 1.0), "gone": (5, 1.0)},
        # The worker publishes as little as events, and into this exchange all the same; its channel is closed since.
        {f"{WEB} (1)": (10, 0.0), f"{EVENTS} (7)": (3, 0.0)},
    )
    before = look(queues, channels, crossings=(first,))
    now = look(queues, channels, after=30, crossings=(second,))
    (flow,) = flows(now, before, WORKERS, "main")
    assert (flow.exchange, flow.queues, flow.unnamed) == ("", {"q1": 0.1}, 0.0)
    assert shown([flow]) == [(EVENTS, 0.1, True)]
    # Without a look before, or without this exchange in it, the broker's own rates count.
    assert flows(now, None, WORKERS, "main") == ()
    told = look(queues, channels, after=30, crossings=(crossing({"q1": (13, 0.2)}, {f"{WEB} (1)": (10, 0.2)}),))
    assert shown(flows(told, look(queues, crossings=()), WORKERS, "main")) == [(WEB, 0.2, True)]
    assert shown(flows(told, None, WORKERS, "main")) == [(WEB, 0.2, True)]
    unseen = look(queues, channels, after=30, crossings=(crossing({"q1": (13, 0.2)}, {}),))
    (flow,) = flows(unseen, look(queues), WORKERS, "main")
    assert (flow.publishers, flow.unnamed) == ((), 0.2)
