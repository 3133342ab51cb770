"""The daemon: signals, reload, discovery, and the order in which things start and stop.

1. A signal only enqueues; what it means is done in the main greenlet, one after the other.
2. The target is ready before the source is consumed. What cannot be reached at the start ends the daemon with its
   reason and exit code; what
   breaks later is tried again.
3. `SIGTERM` and `SIGINT` finish what is in flight, ack it and leave; a second one leaves at once, which is safe too:
   what is unacked goes back.
"""

from __future__ import annotations

import contextlib
import enum
import gc
import logging
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event
from gevent.queue import Empty, Queue

from bridge import config as configuration
from bridge import gate_looks, logs, old_side, sides
from bridge.apart import setter
from bridge.check_look import CheckLook
from bridge.clock import ClockWatch
from bridge.config import Config
from bridge.config_sections import BackupSide
from bridge.control import Control, Request
from bridge.core.certificate import Process
from bridge.core.pace import Budget
from bridge.core.route import VERB_OF, Layout, Verb
from bridge.delayed import Exits
from bridge.discovery import Discovery
from bridge.doubles import Doubles
from bridge.ending import LOOK, ending
from bridge.errors import BridgeError, ConfigError, Exit
from bridge.exit_watch import ExitWatch
from bridge.export import exporter
from bridge.health import Health
from bridge.hooks import Hooks
from bridge.ladder_back import LadderBack
from bridge.link import Link
from bridge.links import Links
from bridge.metrics_prometheus import Scrapes
from bridge.metrics_statsd import Statsd
from bridge.notify import Notify
from bridge.old_side_short import OldSideShort
from bridge.shared import Shared
from bridge.standing import Standing
from bridge.target_types import TargetTypes
from bridge.throttle import Throttles
from bridge.watchdog import Watchdog
from bridge.way import Kind
from bridge.web.doors import Doors

if TYPE_CHECKING:
    from bridge.backup import Stream
    from bridge.round_trip import RoundTrip

log = logging.getLogger("bridge.daemon")

#: Seconds between two looks at the source's queues.
DISCOVER = 10.0
#: Seconds between two tries of a gate that keeps the configured route closed.
GATE = 2.0
#: Seconds that the gates have at the start before the doors open, and then the queues to begin.
FIRST = 0.3
#: Seconds between two looks at the exits of quiet queues.
EXITS = 30.0
#: Seconds between two looks at all levels of the ladder.
LADDER_WATCH = 60.0
#: Queues from which on looks at all of them come less often: what a look costs is by the queue.
MANY = 500
#: Seconds between two samples of the rates and snapshots for statsd.
REPORT = 1.0
#: Seconds that all queues together may take to leave.
LEAVE = 30.0


class Command(enum.Enum):
    """What a signal asks for."""

    CUTOVER = enum.auto()
    LEGACY = enum.auto()
    RELOAD = enum.auto()
    STOP = enum.auto()
    #: Not a signal: whether this daemon is the active one may have changed.
    LOOK = enum.auto()


SIGNALS = {
    signal.SIGUSR1: Command.CUTOVER,
    signal.SIGUSR2: Command.LEGACY,
    signal.SIGHUP: Command.RELOAD,
    signal.SIGTERM: Command.STOP,
    signal.SIGINT: Command.STOP,
}


def run(file: str) -> int:
    """Run the daemon in the foreground until a signal ends it.

    Returns:
        The exit code.

    Raises:
        BridgeError: it cannot start.
    """
    config = configuration.load(file, os.environ)
    logs.set_up(config.log.level, config.log.format)
    return Daemon(file, config).run()


class Daemon:
    """One bridge from start to stop."""

    def __init__(self, file: str, config: Config) -> None:
        self.file = file
        self.config = config
        self.commands: Queue[tuple[Command, str]] = Queue()
        self._stopping = Event()
        #: Set when each gate that keeps a configured route closed was asked once.
        self._gates_asked = Event()
        self._ended_by_fault = False
        self._notify = Notify()
        self.clock = ClockWatch()
        self._budget = Budget(config.relay.window_bytes // (1 if config.backup is None else 2))
        self.links = Links(self._link, inline=config.layout is Layout.INLINE)
        self.link = self.links.forward
        self.exits = Exits(self.link.target, sides.ladder(config.target))
        target = sides.management("target", config.target)
        self.doubles = Doubles()
        self.exit_watch = ExitWatch(target, config.target.amqp[0].vhost, self.exits.bind)
        shared = Shared(
            exits=self.exits,
            target_type=TargetTypes(target, config.target.amqp[0].vhost).of,
            set_apart=setter(exporter(Path(config.export.folder)), lambda: self.link),
            doubles=self.doubles,
            look_at_exit=self.exit_watch.look,
            budget=self._budget,
            stream=self._stream(),
        )
        self.discovery = Discovery(config, self.links, shared, target)
        every = (config.source, config.target, config.legacy)
        addresses = tuple(str(side.amqp[0]) for side in every if side is not None)
        self.control = Control(config.instance, self.links, shared, addresses, self.discovery.all, self.clock)
        self.discovery.appeared, self.discovery.gone = self.control.appeared, self.control.gone
        self.throttles = Throttles(
            config.throttle, self.exits.ready, lambda: self.link.target.blocked, self.discovery.all
        )
        self.hooks = Hooks(config.instance, config.hooks)
        self.throttles.on_throttled = self.hooks.throttled
        self.discovery.on_state = self.hooks.state
        self.control.on_change.append(self.hooks.changed)
        self.control.more.append(lambda: {"hooks": self.hooks.status()})
        self.ending = ending(lambda: self.config, self.discovery.all, lambda: self.doubles.total)
        self.ending.watch = self.old_side = old_side.watch(config)
        self.control.kept["ending"] = self.ending.dump, self.ending.took_over
        self.control.depth = self.ending.depth
        self.control.more.append(self.ending.status)
        self.control.more_of_queue.append(self.ending.status_of)
        self.ending.on_drained = self.hooks.drained
        figures = self.control.figures
        figures.depths, figures.levels = self.ending.depths, self.ending.levels
        self._statsd = Statsd.of(config, lambda: gevent.sleep(0))
        #: What may be read over the doors: the name in the path, and what answers.
        self.looks: dict[str, Callable[..., Any]] = {
            "status": self.control.snapshot,
            "duplicates": self.control.duplicates,
            "certify": self.ending.certify,
            "check": CheckLook(file).look,
            "history": figures.history,
            "gate": self.control.gates.ask,
        }
        self.health = Health(self.control, self.discovery.all, self._sentence)
        self.watchdog = Watchdog(config.watchdog)
        #: The same for what is not JSON: the path, and what gives status code, content type and text.
        self.texts: dict[str, Callable[[], tuple[int, str, str]]] = {
            "/metrics": Scrapes(self.control.snapshot, lambda: gevent.sleep(0)),
            "/livez": self.health.live,
            "/readyz": self.health.ready,
        }
        if self.old_side is not None:
            self.looks["old-side"] = self.old_side.as_json
            self.control.old_side = OldSideShort(self.old_side, config.layout).status
        self.control.lost_features = self.discovery.lost_features()
        self.ladder_back = LadderBack(config, self.discovery.all, self.doubles)
        figures.brought = self.ladder_back.memory.brought.__getitem__
        self.control.more.append(self.ladder_back.for_status)
        self.control.more_of_queue.append(self.ladder_back.of_queue)
        self.standing = Standing(config, self.links, self.discovery, self.control, self.exits, target, self._attempt)
        self.ending.process = lambda: Process.of(self.control.state, self.standing.queue.status(), datetime.now(UTC))
        self.standing.on_change = lambda: self.commands.put((Command.LOOK, ""))
        self.standing.on_active = self._became_active
        self.links.told(self._woken, self.discovery.wake_numbers)
        self.round_trip = self._round_trip(shared)
        self.control.more.append(lambda: {"probe": None if self.round_trip is None else self.round_trip.status()})

    def _link(self, kind: Kind, apart: bool) -> Link:
        """The connections of one kind of way: those of all queues, or of one queue alone."""
        config = self.config
        old = ("source", config.source) if config.legacy is None else ("legacy", config.legacy)
        ends = {
            Kind.FORWARD: (("source", config.source), ("target", config.target)),
            Kind.LEGACY: (("source", config.source), old),
            Kind.BACK: (("target", config.target), old),
        }
        backup = None
        if config.backup is not None and kind is Kind.FORWARD:
            side = config.source if config.backup.on is BackupSide.SOURCE else config.target
            backup = sides.connection("backup", side, config.instance)
        read, written = (sides.connection(name, broker, config.instance) for name, broker in ends[kind])
        leg = None
        if config.legacy is not None and kind is Kind.FORWARD:
            leg = sides.connection(*old, config.instance)
        return Link(
            read,
            written,
            backup,
            self._budget,
            make_leg=leg,
            backup_required=backup is not None and config.backup is not None and config.backup.required,
            apart=apart,
        )

    def _stream(self) -> Stream | None:
        """The backup's stream, if there is to be one."""
        settings, connection = self.config.backup, self.link.backup
        if settings is None or connection is None:
            return None
        from bridge.backup import Stream

        return Stream(connection, settings)

    def _round_trip(self, shared: Shared) -> RoundTrip | None:
        """What measures the whole way, if it is to be measured."""
        probe = self.config.probe
        if probe is None:
            return None
        from bridge.round_trip import RoundTrip

        made = RoundTrip(self.config, probe.every, self.links, self.discovery, shared, lambda: self.standing.active)
        self.health.contradiction = made.contradiction
        return made

    def run(self) -> int:
        """Start, serve commands, stop."""
        for number in SIGNALS:
            gevent.signal_handler(number, self._signalled, number)
        doors = Doors(self.config.admin)
        self.watchdog.start()
        try:
            self._start()
            # What waits in the queues comes first: the doors take their time to open.
            if self.standing.active:
                self._gates_asked.wait(FIRST)
                self.discovery.begin(FIRST)
            doors.answer(self.control, self.looks, self.texts)
            # What is there now stays: it is not looked through again and again, which would hold messages up.
            gc.freeze()
            gc.enable()
            self.control.state = "active" if self.standing.active else "standby"
            self._notify.ready(self._sentence())
            log.info("ready: %d queues in scope, admin socket %s", len(self.discovery.all()), self.config.admin.socket)
            try:
                self._serve()
            finally:
                self._stop()
        finally:
            doors.close()
            self.watchdog.stop()
        return Exit.REFUSED if self._ended_by_fault else Exit.DONE

    def _signalled(self, number: signal.Signals) -> None:
        """Runs in the hub: nothing but to enqueue, except that the second stop leaves at once."""
        command = SIGNALS[number]
        if command is Command.STOP:
            if self._stopping.is_set():
                Path(self.config.admin.socket).unlink(missing_ok=True)
                os._exit(Exit.DONE)
            self._stopping.set()
        self.commands.put((command, signal.Signals(number).name))

    # -- start and stop
    # -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        for lost in self.control.lost_features:
            log.warning("%s", lost)
        self.standing.compete()
        gevent.spawn(self._every, "gates", GATE, self._ask_gates)
        gevent.spawn(self._every, "postponed verbs", REPORT, lambda: self.control.tick(datetime.now(UTC)))
        gevent.spawn(self._every, "discovery", DISCOVER, self._discover, done=True)
        gevent.spawn(self._every, "ladder", LADDER_WATCH, self.exits.watch, done=True)
        gevent.spawn(self._every, "exits", EXITS, self._while_active(self._look_at_exits), done=True)
        gevent.spawn(self._every, "report", REPORT, self._report)
        gevent.spawn(self._every, "drained", LOOK, self._while_active(self.ending.look), unhurried=True)
        if self.old_side is not None:
            gevent.spawn(self._every, "old side", old_side.LOOK, self._while_active(self.old_side.look), unhurried=True)
        if self.round_trip is not None:
            gevent.spawn(self._every, "probe", self.round_trip.every, self.round_trip.look, unhurried=True)
        gevent.spawn(self.ladder_back.run)
        gevent.spawn(
            self._every, "gate looks", gate_looks.EVERY, self._while_active(self.control.gates.look), unhurried=True
        )
        gevent.spawn(self._every, "throttles", REPORT, self.throttles.look)
        gevent.spawn(self._every, "hooks", REPORT, self.hooks.look)
        gevent.spawn(self.hooks.run)
        if self._notify.watchdog is not None:
            gevent.spawn(self._every, "systemd", self._notify.watchdog, lambda: self._notify.alive(self._sentence()))

    def _every(
        self, name: str, seconds: float, act: Callable[[], object], *, done: bool = False, unhurried: bool = False
    ) -> None:
        """Do something again and again until the end; a `BridgeError` is said and does not end it.

        Args:
            name: of the duty.
            seconds: from one time to the next.
            act: what is done.
            done: the start has just done it.
            unhurried: not before the gates were asked, and up to twice as many seconds with more than MANY queues.
        """
        duty = self.health.duty(name, seconds)
        with self._guarded():
            if done and self._stopping.wait(seconds):
                return
            if unhurried:
                self._gates_asked.wait(seconds)
            while True:
                duty.begins()
                self._attempt(act)
                more = min(2.0, max(1.0, len(self.discovery.all()) / MANY)) if unhurried else 1.0
                duty.rests(seconds * more)
                if self._stopping.wait(seconds * more):
                    return

    def _while_active(self, act: Callable[[], object]) -> Callable[[], object]:
        """A standby looks at no queue."""
        return lambda: act() if self.standing.active else None

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """What nobody foresaw ends the daemon, with its reason."""
        try:
            yield
        except Exception as fault:
            log.error("stopping, because of an unexpected error: %s: %s", type(fault).__name__, fault)
            log.debug("traceback", exc_info=True)
            self._ended_by_fault = True
            self._stopping.set()
            self.commands.put((Command.STOP, "an unexpected error"))

    def _attempt(self, act: Callable[[], object]) -> None:
        """Do something that is done again later: its failure is said, and ends neither the daemon nor what moves."""
        try:
            act()
        except BridgeError as fault:
            if not self._stopping.is_set():  # at the end the connections go under its hands
                log.warning("%s", fault)

    def _stop(self) -> None:
        self._notify.stopping()
        self.control.state = "stopping"
        log.info("stopping: leaving %d queues", len(self.discovery.all()))
        with contextlib.suppress(gevent.Timeout), gevent.Timeout(LEAVE):
            self.ladder_back.end()
            self.discovery.end()
        self.standing.leave()
        self.links.close()
        # Commands may take their time: another daemon has the queues meanwhile.
        self.hooks.end()
        log.info("stopped")

    # -- while it runs
    # --------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Carry out commands until one ends it."""
        duty = self.health.duty("commands", 1.0)
        while True:
            duty.rests(1.0)
            try:
                command, by = self.commands.get(timeout=1.0)
            except Empty:
                command, by = Command.LOOK, ""
            duty.begins()
            if command is Command.STOP:
                return
            if command is Command.LOOK:
                self.standing.look()
                continue
            if command is Command.RELOAD:
                self._reload()
            else:
                verb = Verb.CUTOVER if command is Command.CUTOVER else Verb.LEGACY
                # Gates may take long: the next signal does not wait for them.
                gevent.spawn(self._ask, Request(verb, None, by, "signal"))

    def _ask(self, request: Request) -> None:
        """Carry out a verb that no answer is waited for; each answer is in the log and the journal."""
        with self._guarded():
            self._attempt(lambda: self.control.ask(request))

    def _sentence(self) -> str:
        """One line for `systemctl status`."""
        queues = self.discovery.all()
        moving = sum(queue.state == "moving" for queue in queues)
        faulted = sum(queue.state == "faulted" for queue in queues)
        why = self.control.why_first()
        if self.control.standby:
            return f"{self.control.state}: {self.control.standby}"
        stand = f"{self.control.state}: {moving} of {len(queues)} queues moving, {faulted} faulted"
        refused = "the last reload was refused, see the log" if self.control.reload_fault else ""
        return "; ".join(part for part in (stand, refused, why) if part)

    def _became_active(self) -> None:
        self.hooks.active()
        if self._statsd is not None and self.standing.queue.term > 1:
            self._statsd.inherit(self.control.snapshot())

    def _look_at_exits(self) -> None:
        """Wake the quiet queues whose exit from the ladder is not known to be there: they see to it."""
        ahead = {queue.terms.target: queue for queue in self.discovery.all() if queue.to_target is not None}
        for target in self.exit_watch.missing(ahead):
            ahead[target].wake()

    def _woken(self) -> None:
        """A connection opened, closed, was blocked or unblocked."""
        self.standing.queue.wake()
        self.discovery.wake()

    def _discover(self) -> None:
        if not self.standing.active:
            return
        if self.link.down() is None and self.exits.fault is not None:
            self.exits.ensure_ladder()
            if self.exits.fault is None:
                log.info("the ladder on the target is complete")
                self.discovery.wake()
        self.discovery.refresh()

    def _report(self) -> None:
        """The rates of the status, and everything for statsd."""
        self.clock.look()
        for subscription in self.discovery.all():
            subscription.sample()
        self.control.sample()
        if self._statsd is not None:
            self._statsd.send(self.control.snapshot())

    def _ask_gates(self) -> None:
        """Try the route that the configuration wants, for queues whose gate kept it closed so far."""
        if not self.standing.active:
            return
        for subscription in self.discovery.all():
            wanted = subscription.wanted
            if wanted is not None and self.link.down() is None:
                self.control.try_wanted(subscription, VERB_OF[wanted])
        self._gates_asked.set()

    def _reload(self) -> None:
        """Take over what changed in the file; a file with faults changes nothing."""
        self._notify.reloading()
        try:
            config = configuration.load(self.file, os.environ)
            self.discovery.check_reload(config)
        except ConfigError as fault:
            self.control.reload_fault = str(fault)
            log.error("reload refused, the old configuration stays in force: %s", str(fault).replace("\n", "; "))
        else:
            self.control.reload_fault = None
            logs.set_up(config.log.level, config.log.format)
            before, self.config = self.config, config
            self.throttles.reload(config.throttle)
            self.hooks.reload(config.hooks)
            wanted: defaultdict[Verb, list[str]] = defaultdict(list)
            for subscription, route in self.discovery.reload(before, config):
                wanted[VERB_OF[route]].append(subscription.queue)
            for verb, queues in wanted.items():
                self._ask(Request(verb, tuple(queues), "reload", "reload"))
            self._attempt(self._discover)
            log.info("reloaded %s", self.file)
        self._notify.ready(self._sentence())
