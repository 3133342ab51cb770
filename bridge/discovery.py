"""Which queues there are: looked up while running, each in scope with a subscription of its own (design, section 5)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

import gevent

from bridge import sides
from bridge.config import Config
from bridge.config_sections import CapPriority, WhenAway
from bridge.core.route import Route
from bridge.core.scope import left_alone
from bridge.delayed import CHANNEL
from bridge.errors import ConfigError, Fault
from bridge.links import Links
from bridge.management import Management
from bridge.shared import Shared
from bridge.snapshot import SCOPE
from bridge.subscription import Subscription
from bridge.terms import Share, Terms

log = logging.getLogger("bridge.discovery")

#: Each queue has a channel number of its own, the same on all connections; below are those of the ladder, of the
#: quarantine, of the state and of the probe.
FIRST_NUMBER = CHANNEL + 5


class Discovery:
    """The queues in scope and their subscriptions."""

    def __init__(self, config: Config, links: Links, shared: Shared, target: Management | None) -> None:
        self._config = config
        self._links = links
        self._shared = shared
        self._source = sides.management("source", config.source)
        self._target = target
        self._subscriptions: dict[str, Subscription] = {}
        #: The same by name; every second several rooms ask for it. None: to be made again.
        self._by_name: list[Subscription] | None = None
        self._numbers: dict[int, Subscription] = {}
        self._left_alone: dict[str, str] = {}
        #: Why nothing may be moved; and whether that goes for the legacy side too.
        self._suspended = ("", True)
        #: Called with a queue that comes into scope and its configured route, and with one that leaves it.
        self.appeared: Callable[[Subscription, Route], None] = lambda _subscription, _route: None
        self.gone: Callable[[Subscription], None] = lambda _subscription: None
        #: Called with a queue whose state changed, and its states before and after.
        self.on_state: Callable[[Subscription, str, str], None] = lambda _subscription, _before, _after: None

    def lost_features(self) -> list[str]:
        """What is missing because an HTTP API is not configured."""
        lost = []
        if self._source is None:
            lost.append("source.api is not set: queues that appear later are not found, and scope is not checked")
        if self._target is None:
            lost.append("target.api is not set: that a target queue is a quorum queue is not checked")
        return lost

    def all(self) -> list[Subscription]:
        """The subscriptions, by queue name."""
        if self._by_name is None:
            self._by_name = [self._subscriptions[name] for name in sorted(self._subscriptions)]
        return self._by_name

    # -- what is there
    # --------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Look at the source again: new queues are taken up, vanished ones end.

        Raises:
            BridgeError: the source's API does not answer; what was known stays.
        """
        names = set(self._names())
        free = (number for number in range(FIRST_NUMBER, 1 << 16) if number not in self._numbers)
        for name in sorted(names - self._subscriptions.keys()):
            self._take_up(name, next(free))
        self._links.shared_by(max(1, len(names)))
        for name in self._subscriptions.keys() - names:
            subscription = self._subscriptions.pop(name)
            self._by_name = None
            log.info('queue "%s": gone from the source or from the scope', name)
            self.gone(subscription)
            subscription.end()
            gevent.spawn(self._forget, subscription)

    def _forget(self, subscription: Subscription) -> None:
        """A channel number is free only when its subscription has left."""
        subscription.ended.wait()
        self._numbers.pop(subscription.number, None)

    def _names(self) -> Iterator[str]:
        config = self._config
        if self._source is None:
            yield from config.explicit_names()
            return
        named = set(config.explicit_names())
        for queue in self._source.queues(config.source.amqp[0].vhost, SCOPE, again=True):
            if not config.wants(queue.name):
                continue
            reason = left_alone(queue, named=queue.name in named)
            if reason is None:
                yield queue.name
            elif self._left_alone.get(queue.name) != reason:
                self._left_alone[queue.name] = reason
                log.log(
                    logging.WARNING if queue.name in named else logging.INFO,
                    'queue "%s" is left alone: %s',
                    queue.name,
                    reason,
                )

    def _take_up(self, name: str, number: int) -> None:
        subscription = Subscription(name, number, self._terms(name), self._links, self._shared)
        self._subscriptions[name] = self._numbers[number] = subscription
        self._by_name = None
        log.info('queue "%s": in scope', name)
        subscription.on_state = self.on_state
        subscription.suspend(*self._suspended)
        self.appeared(subscription, self._config.setting_for(name).route)
        gevent.spawn(subscription.run)

    def _terms(self, name: str) -> Terms:
        config = self._config
        setting = config.setting_for(name)
        canary = setting.canary
        share = None if canary is None else Share(canary.rate, canary.first, canary.percent, canary.tasks)
        return Terms(
            setting.target,
            share,
            config.gate.consumers,
            config.relay.window,
            config.relay.read_ahead,
            config.relay.priority,
            config.eta.cap_priority is CapPriority.AUTO,
            config.dual.when_away is WhenAway.DEGRADE,
        )

    # -- waking and ending
    # ----------------------------------------------------------------------------------------------

    def begin(self, seconds: float) -> None:
        """Wait until each queue that is not on `legacy` moves, or says why it does not; at most so long."""
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(seconds):
            for subscription in self.all():
                if subscription.route is not Route.LEGACY:
                    subscription.begun.wait()

    def beside(self, subscription: Subscription) -> None:
        """Run a subscription that is none of the queues in scope: woken, suspended and ended as they are."""
        self._numbers[subscription.number] = subscription
        subscription.suspend(*self._suspended)
        gevent.spawn(subscription.run)

    def wake(self) -> None:
        """Something changed for all."""
        for subscription in self._numbers.values():
            subscription.wake()

    def wake_numbers(self, numbers: set[int]) -> None:
        """Something happened on these channels."""
        for number in numbers:
            if (subscription := self._numbers.get(number)) is not None:
                subscription.wake()

    def suspend(self, reason: str, legacy_too: bool = True) -> None:
        """Move nothing, for a reason that is this daemon's, or only what goes to the legacy side; empty: go on."""
        self._suspended = (reason, legacy_too)
        for subscription in self._numbers.values():
            subscription.suspend(reason, legacy_too)

    def drop(self) -> None:
        """End all subscriptions and forget them: `refresh` takes all queues up anew."""
        self.end()
        self._subscriptions.clear()
        self._by_name = None
        self._numbers.clear()

    def end(self) -> None:
        """End all subscriptions in an orderly way."""
        for subscription in self._numbers.values():
            subscription.end()
        for subscription in list(self._numbers.values()):
            subscription.ended.wait()

    # -- reload
    # ---------------------------------------------------------------------------------------------------------

    def check_reload(self, config: Config) -> None:
        """Refuse a configuration that only a restart can bring into force.

        Raises:
            ConfigError: with the settings that may not change.
        """
        fixed = (
            *("source", "target", "legacy", "instance", "admin", "metrics", "export", "backup", "celery"),
            *("probe", "watchdog"),
        )
        faults = [
            Fault(name, "changed", "the value that the daemon was started with; restart it to change this")
            for name in fixed
            if getattr(config, name) != getattr(self._config, name)
        ]
        if faults:
            raise ConfigError("configuration", faults)

    def reload(self, before: Config, config: Config) -> Iterator[tuple[Subscription, Route]]:
        """Take over a configuration; a changed `route:` or canary share is a verb, and yielded to be carried out."""
        self._config = config
        for name, subscription in list(self._subscriptions.items()):
            was, now = before.setting_for(name), config.setting_for(name)
            subscription.set_terms(self._terms(name))
            if (was.route, was.canary) != (now.route, now.canary):
                yield subscription, now.route
