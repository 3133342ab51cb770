"""The certificate: whether the old vhost can be deleted, condition by condition (design, section 7).

1. Each condition has a number, the age of that number, what was seen, and what to do where it is not met.
2. What cannot be seen is not met. What nobody can see, or what is good to know and hinders nothing, is a note.
3. It is about this moment: whoever publishes after it is told nothing by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from bridge.core import ladder
from bridge.core.audit import Drained, consuming, holding, listed, publishing
from bridge.core.books import Books, Gap, balanced, total
from bridge.core.old_side import OldSide
from bridge.core.rights import PROBE
from bridge.core.route import Layout
from bridge.core.scope import left_alone
from bridge.core.topology import Queue

#: Exchanges that old workers use among themselves: what they get is no task.
_BETWEEN_WORKERS: Final = ("celeryev", "amq.rabbitmq.trace", "amq.rabbitmq.log", "amq.rabbitmq.event")
_PIDBOX: Final = ".pidbox"
_EVENTS: Final = "celeryev."
#: The copies of a backup on the source.
_BACKUP: Final = "bridge.backup"
#: Messages without an exit that stop a level of the ladder for everyone (design, section 4.12).
_STOPS: Final = 32


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition.

    Attributes:
        name: a word for programs.
        ok: whether it is met.
        number: what is counted; None where nothing is, or it cannot be seen.
        age_s: seconds since it was counted; None where that has no meaning.
        text: what was seen.
        todo: what to do; empty where there is nothing to do.
        note: it hinders nothing, whatever it says.
    """

    name: str
    ok: bool
    number: int | None
    age_s: float | None
    text: str
    todo: str = ""
    note: bool = False


@dataclass(frozen=True, slots=True)
class Number:
    """Something that was counted, or why it could not be; `age` in seconds."""

    count: int | None
    age: float = 0.0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """The daemon that is asked.

    Attributes:
        state: `active`, `standby`, ...
        saved: seconds since its state was last saved in the target; None when it never was.
        fault: why it cannot be saved; empty when it can.
    """

    state: str
    saved: float | None
    fault: str = ""

    @classmethod
    def of(cls, state: str, control: Mapping[str, Any], now: datetime) -> Process:
        """What the daemon says of itself.

        Args:
            state: of the daemon.
            control: its part of the status about the control queue: `saved_at` (ISO 8601) and `fault`.
            now: the time, with its zone.
        """
        at = control["saved_at"]
        saved = None if at is None else max(0.0, (now - datetime.fromisoformat(at)).total_seconds())
        return cls(state, saved, control["fault"] or "")


@dataclass(frozen=True, slots=True)
class Ladder:
    """The target's delays: tasks that wait in all levels, due ones that stay by level, queues that have our exit."""

    waiting: int = 0
    stuck: Mapping[int, int] = field(default_factory=dict)
    exits: tuple[str, ...] = ()
    age: float = 0.0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """An exchange of the old vhost that took a publish `ago` seconds ago."""

    exchange: str
    ago: float


@dataclass(frozen=True, slots=True)
class Transfer:
    """A shovel or a federation upstream that names the old vhost: its kind, name and vhost."""

    kind: str
    name: str
    vhost: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was looked at for one certificate.

    Attributes:
        layout: which vhost the old one is: the source's, or inline the legacy one.
        vhost: its name.
        process: the daemon.
        queues: all queues of the old vhost; None when they cannot be seen, then `fault` says why.
        fault: why they cannot be seen.
        age: seconds since they were looked at.
        scope: names of the queues in scope.
        named: those that the configuration names in full.
        drained: of each queue in scope.
        old: who is still there; None when that cannot be seen, then `old_fault` says why.
        old_age: seconds since that was looked at.
        received: exchanges that took publishes lately; None when they cannot be seen.
        watched: seconds for which exchanges have been watched.
        after: seconds for which nothing may have been published.
        connections: names of connections that are not ours; None when they cannot be seen.
        quarantine: messages in it. `exported`: messages in files.
        books: of each queue. `gaps`: times of which they know nothing.
        duplicates: possible ones.
        ladder: of the target; None without its API.
        transfers: None when they cannot be seen, then `transfers_fault` says why.
        ingress: inline, messages that wait in the source vhost; None where they cannot be seen, or in takeover.
    """

    layout: Layout
    vhost: str
    process: Process
    queues: Mapping[str, Queue] | None = None
    fault: str = ""
    age: float = 0.0
    scope: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    drained: tuple[Drained, ...] = ()
    old: OldSide | None = None
    old_fault: str = ""
    old_age: float = 0.0
    received: tuple[Received, ...] | None = None
    watched: float = 0.0
    after: float = 0.0
    connections: tuple[str, ...] | None = None
    quarantine: Number = Number(0)
    exported: Number = Number(0)
    books: Mapping[str, Books] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    duplicates: int = 0
    ladder: Ladder | None = None
    transfers: tuple[Transfer, ...] | None = None
    transfers_fault: str = ""
    ingress: Number | None = None


def certificate(facts: Facts) -> tuple[Condition, ...]:
    """Every condition, those first that hinder most."""
    return tuple(condition for rule in _RULES for condition in rule(facts))


def certified(conditions: Iterable[Condition]) -> bool:
    """Whether the old vhost can be deleted."""
    return all(condition.ok for condition in conditions)


def as_json(conditions: Iterable[Condition]) -> dict[str, Any]:
    """For programs."""
    found = list(conditions)
    return {"ok": certified(found), "conditions": [asdict(condition) for condition in found]}


def _condition(
    name: str, number: int | None, age: float | None, text: str, todo: str, *, ok: bool | None = None
) -> Condition:
    """A condition that is met when its number is 0; where there is nothing to do, nothing is said of it."""
    met = number == 0 if ok is None else ok
    return Condition(name, met, number, None if age is None else round(age, 1), text, "" if met else todo)


def _unseen(name: str, what: str, why: str) -> Condition:
    return Condition(
        name, False, None, None, f"{what} cannot be seen: {why}", "make it visible to the bridge, then ask again"
    )


def _note(name: str, number: int | None, age: float | None, text: str, todo: str = "") -> Condition:
    return Condition(name, True, number, None if age is None else round(age, 1), text, todo, note=True)


# -- the bridge itself
# ------------------------------------------------------------------------------------------------------------


def _daemon(facts: Facts) -> Iterator[Condition]:
    process = facts.process
    saved = process.saved
    when = "was never saved" if saved is None else f"was saved {saved:.0f} s ago"
    text = f"the daemon is {process.state}, its state {when}"
    if process.fault:
        text += f" and cannot be saved: {process.fault}"
    ok = process.state == "active" and saved is not None and not process.fault
    todo = "ask the active daemon" if process.state == "standby" else "see its log"
    yield _condition("daemon", None, saved, text, todo, ok=ok)


def _drained(facts: Facts) -> Iterator[Condition]:
    waiting = [one for one in facts.drained if not one.yes]
    text = f"{len(facts.drained) - len(waiting)} of {len(facts.drained)} queues in scope are drained"
    if waiting:
        text += "; waiting: " + listed(f'"{one.queue}" for {_first(one.waits_for)}' for one in waiting)
    ages = facts.age if facts.queues is not None else None
    yield _condition("drained", len(waiting), ages, text, "stop what is named; bridge status has every queue")


def _first(reasons: tuple[str, ...]) -> str:
    """The first reason, and how many more there are."""
    more = len(reasons) - 1
    return f"{reasons[0]} (and {more} more)" if more else reasons[0]


def _books(facts: Facts) -> Iterator[Condition]:
    wrong = sorted(name for name, one in facts.books.items() if not balanced(one))
    whole = total(facts.books.values())
    text = (
        f"{whole.taken} taken = {whole.confirmed} confirmed + {whole.quarantined} quarantined + "
        f"{whole.exported} exported + {whole.given_back} given back + {whole.in_flight} in flight"
    )
    if wrong:
        shown = (f'"{name}" by {facts.books[name].difference}' for name in wrong)
        text += f"; it does not balance for {listed(shown)}"
    yield _condition("books", len(wrong), 0.0, text, "compare the queue's numbers in bridge status with the log")
    if facts.gaps:
        seconds = sum(gap.until - gap.since for gap in facts.gaps)
        text = (
            f"the books have {len(facts.gaps)} gaps of {seconds:.0f} s in all: processes that did not end by themselves"
        )
        yield _note("books-gaps", len(facts.gaps), None, text, "bridge duplicates lists what may have run twice")


def _duplicates(facts: Facts) -> Iterator[Condition]:
    number = facts.duplicates
    text = f"{number} tasks may have run twice" if number else "no task is known that may have run twice"
    yield _note("duplicates", number, 0.0, text, "bridge duplicates lists them" if number else "")


# -- what is set apart
# ------------------------------------------------------------------------------------------------------------


def _apart(facts: Facts) -> Iterator[Condition]:
    for name, what, found in (
        ("quarantine", "the quarantine on the target", facts.quarantine),
        ("exported", "export.folder", facts.exported),
    ):
        if found.count is None:
            yield _unseen(name, f"what is in {what}", found.fault)
            continue
        text = f"{found.count} messages are in {what}" if found.count else f"{what} is empty"
        yield _condition(name, found.count, found.age, text, "send them on: bridge quarantine list, then redrive")


# -- the old vhost
# ------------------------------------------------------------------------------------------------------------


def _queues(facts: Facts) -> Iterator[Condition]:
    queues = facts.queues
    if queues is None:
        for name, what in (("scope", "the queues of the old vhost"), ("unacked", "what is unacked in the old vhost")):
            yield _unseen(name, what, facts.fault)
        return
    # The probe's is neither in scope nor anybody's: a message of our own passes through it.
    queues = {name: queue for name, queue in queues.items() if not name.startswith(PROBE)}
    outside = {name: queue for name, queue in sorted(queues.items()) if name not in facts.scope}
    yield _scope(facts, outside)
    yield from _replies(facts, outside)
    unacked = {
        name: queue.unacked for name, queue in sorted(queues.items()) if queue.unacked and not _workers_own(queue)
    }
    held = listed(f'"{name}" {count}' for name, count in unacked.items())
    text = f"unacked messages in the old vhost: {held}" if unacked else "nothing is unacked in the old vhost"
    if unacked and facts.old is not None and facts.old.holders:
        text += f"; waiting for {listed(map(holding, facts.old.holders))}"
    todo = "stop who holds them: they go back to their queues, and move"
    yield _condition("unacked", sum(unacked.values()), facts.age, text, todo)
    yield from _workers(facts, outside)
    if (copies := queues.get(_BACKUP)) is not None:
        text = f"the backup is in this vhost, and is deleted with it ({copies.messages} copies)"
        yield _note("backup", copies.messages, facts.age, text, "replay what is still wanted before")


def _scope(facts: Facts, outside: Mapping[str, Queue]) -> Condition:
    left = [(queue, _why_outside(facts, queue)) for queue in outside.values() if not _known(queue)]
    full = [(queue, why) for queue, why in left if queue.messages]
    text = f"{len(facts.scope)} queues are in scope, {len(left)} others may hold tasks"
    if left:
        text += ": " + listed(f'"{queue.name}" {queue.messages} messages ({why})' for queue, why in full or left)
    number = sum(queue.messages for queue, _ in full)
    todo = "take them into queues.include and cut them over, or empty or delete them"
    return _condition("scope", number, facts.age, text, todo)


def _why_outside(facts: Facts, queue: Queue) -> str:
    reason = left_alone(queue, named=queue.name in facts.named)
    return reason or "queues.include and queues.exclude leave it out"


def _workers_own(queue: Queue) -> bool:
    """Whether a queue is remote control or events: messages between workers, gone with them."""
    return queue.name.endswith(_PIDBOX) or queue.name.startswith(_EVENTS)


def _reply(queue: Queue) -> bool:
    """Whether a queue holds results: it ends by itself, and is not one of the workers' own (semantics.md, 5.1)."""
    ends = queue.auto_delete or queue.exclusive or "x-expires" in queue.arguments or "expires" in queue.policy
    return ends and not _workers_own(queue)


def _known(queue: Queue) -> bool:
    """Whether a queue outside of the scope is judged by a condition of its own."""
    return _workers_own(queue) or _reply(queue) or queue.name == _BACKUP


def _replies(facts: Facts, outside: Mapping[str, Queue]) -> Iterator[Condition]:
    replies = [queue for queue in outside.values() if _reply(queue)]
    full = [queue for queue in replies if queue.messages]
    waiting = sum(queue.messages for queue in full)
    text = f"{len(replies)} queues for results, events or copies end by themselves"
    if full:
        text += "; with messages: " + listed(f'"{queue.name}" {queue.messages}' for queue in full)
    todo = "let their clients fetch the results, or wait until they expire, or delete the queues"
    yield _condition("results", waiting, facts.age, text, todo)


def _workers(facts: Facts, outside: Mapping[str, Queue]) -> Iterator[Condition]:
    # `<node>.<control exchange>.pidbox`, and `<id>.reply.<control exchange>.pidbox` of those who ask workers.
    names = [name.rsplit(".", 2)[0] for name in outside if name.endswith(_PIDBOX)]
    names = [name for name in names if not name.endswith(".reply")]
    events = sum(name.startswith(_EVENTS) for name in outside)
    if names:
        text = f"{len(names)} old workers are still connected: {listed(sorted(names))}"
        yield _note("workers", len(names), facts.age, text, "stop them: they cannot work without their vhost")
    else:
        text = f"no old worker has a mailbox in the vhost; {events} queues for events are left"
        yield _note("workers", 0, facts.age, text)


def _clients(facts: Facts) -> Iterator[Condition]:
    old = facts.old
    if old is None:
        for name, what in (("consumers", "who consumes"), ("publishers", "who publishes")):
            yield _unseen(name, f"{what} in the old vhost", facts.old_fault or "not looked at yet")
        return
    theirs = [one for one in old.consumers if not one.ours]
    text = f"waiting for {listed(map(consuming, theirs))}" if theirs else "nobody but the bridge consumes tasks"
    todo = "stop these workers, or have them cancel their consumers: bridge workers cancel"
    yield _condition("consumers", len(theirs), facts.old_age, text, todo)
    if facts.layout is Layout.TAKEOVER:
        # Inline, it is the source vhost in which they publish, and may; the legacy side's exchanges tell of others.
        them = list(publishing(old))
        text = f"waiting for {listed(them)}" if them else "nobody but the bridge publishes tasks"
        yield _condition("publishers", len(them), facts.old_age, text, "point them at the new vhost")
    for unknown in old.unknown:
        yield _unseen("seen", "everything", unknown)


def _exchanges(facts: Facts) -> Iterator[Condition]:
    received = facts.received
    if received is None:
        yield _unseen("exchanges", "what exchanges of the old vhost take", facts.fault or "not looked at yet")
        return
    found = [one for one in received if one.ago < facts.after and _for_tasks(one.exchange)]
    if found:
        shown = listed(f"{_exchange(one.exchange)} {one.ago:.0f} s ago" for one in found)
        text = f"exchanges that took a publish: {shown}; {facts.after:.0f} s without one are wanted"
        todo = "look for who publishes: bridge certify names connections, drained_after is the time"
        yield _condition("exchanges", len(found), facts.age, text, todo)
    elif facts.watched < facts.after:
        text = f"exchanges are watched for {facts.watched:.0f} s, {facts.after:.0f} s are wanted"
        yield _condition("exchanges", None, facts.age, text, "wait", ok=False)
    else:
        text = f"no exchange took a publish for {facts.after:.0f} s"
        yield _condition("exchanges", 0, facts.age, text, "")


def _for_tasks(exchange: str) -> bool:
    return not (exchange in _BETWEEN_WORKERS or exchange.endswith(_PIDBOX) or exchange.startswith("bridge."))


def _exchange(name: str) -> str:
    return f'"{name}"' if name else "the default exchange"


def _transfers(facts: Facts) -> Iterator[Condition]:
    found = facts.transfers
    if found is None:
        text = f"shovels and federation cannot be seen: {facts.transfers_fault}; what they do shows as connections"
        yield _note("transfers", None, None, text, 'give the API\'s user the tag "policymaker", or look yourself')
        return
    named = listed(f'{one.kind} "{one.name}" of vhost "{one.vhost}"' for one in found)
    text = f"these name the old vhost: {named}" if found else "no shovel and no federation upstream names the old vhost"
    yield _condition("transfers", len(found), facts.age, text, "delete them")


def _connections(facts: Facts) -> Iterator[Condition]:
    found = facts.connections
    if found:
        text = f"{len(found)} connections that are not ours are open in the vhost: {listed(found)}"
        yield _note(
            "connections", len(found), facts.age, text, "deleting the vhost closes them: see that none is missed"
        )


def _ingress(facts: Facts) -> Iterator[Condition]:
    if facts.layout is not Layout.INLINE:
        return
    waiting = facts.ingress
    text = "the certificate is about the legacy vhost; the source vhost stays for as long as producers publish there"
    if waiting is not None and waiting.count is not None:
        text += f" ({waiting.count} messages wait there)"
    yield _note("ingress", None if waiting is None else waiting.count, None if waiting is None else waiting.age, text)


# -- the target
# ------------------------------------------------------------------------------------------------------------


def _ladder(facts: Facts) -> Iterator[Condition]:
    found = facts.ladder
    if found is None or found.fault:
        yield _unseen("ladder", "the target's ladder", found.fault if found else "target.api is not set")
        return
    stuck = {level: due for level, due in found.stuck.items() if due}
    if stuck:
        shown = listed(f"{ladder.level_name(level)} {due}" for level, due in sorted(stuck.items()))
        text = f"due tasks stay in the target's ladder: {shown}; {_STOPS} stop a level for everyone"
    else:
        text = f"no due task stays in the target's ladder, {found.waiting} wait there for their time"
    todo = "see findings level-waiting and level-stopped of bridge check"
    yield _condition("ladder", sum(stuck.values()), found.age, text, todo)
    if found.exits:
        text = (
            f"{len(found.exits)} of our bindings must stay on {ladder.DELIVERY_EXCHANGE} of the target: "
            f"{listed(ladder.exit_pattern(queue) for queue in found.exits)}; for as long as a task that came through "
            f"them can be retried, and while the {found.waiting} that wait are there"
        )
        yield _note("exits", len(found.exits), found.age, text, "do not unbind them with the bridge")


def _revoked(_facts: Facts) -> Iterator[Condition]:
    text = "tasks that were revoked are known to the memory of old workers only"
    yield _note("revoked", None, None, text, "bridge workers revoked carries them over, while old workers run")


_RULES: Final[tuple[Callable[[Facts], Iterator[Condition]], ...]] = (
    _daemon,
    _drained,
    _queues,
    _clients,
    _exchanges,
    _transfers,
    _apart,
    _books,
    _ladder,
    _ingress,
    _connections,
    _duplicates,
    _revoked,
)
