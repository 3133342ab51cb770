"""Which rights the bridge needs on either side, and whether it has them.

RabbitMQ grants by regular expressions for configure, write and read. Two sources tell: a trial over AMQP (the broker's
own answer, `bridge/probe.py`) and the expressions, where the HTTP API shows them. A trial wins: other authorisation
back ends than the internal one do not know the expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bridge.core import copies, ladder
from bridge.core.topology import Permissions, Trial

#: What RabbitMQ's permissions call the default exchange.
DEFAULT_EXCHANGE = "amq.default"

#: The probe's queues, and the exchange before the one on the source, are called this; or this, a dot and a name.
PROBE = "bridge.probe"

#: Exchange and queue of the quarantine.
QUARANTINE = "bridge.quarantine"

#: Purposes of a right.
TAKE = "take messages"
SEND = "send due tasks"
DELAY = "send tasks into the ladder"
LADDER = "declare the ladder"
ENTER = "enter the ladder by the bridge's own exchanges"
EXIT = "bind the exit from the ladder"
OWN = "keep the bridge's own queues"
COPY = "send copies to the backup stream"
BACKUP = "make the backup stream"
REPLAY = "read the backup stream"
MEASURE = "send the probe"
HAND_OVER = "send to the old workers"
BRING_BACK = "bring tasks back"

#: Purposes of rights on every level alike: where the first and the last have one, those between have it.
_LEVELS = frozenset({DELAY, LADDER, ENTER})


@dataclass(frozen=True, slots=True)
class Right:
    """One right that is needed: on which side, which of configure, write and read, on what, and for what."""

    side: str
    right: str
    #: `queue` or `exchange`.
    kind: str
    name: str
    #: One of the purposes of this room.
    purpose: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a right is there: None where neither a trial nor the API tells."""

    right: Right
    granted: bool | None
    #: What it was judged by, or the broker's words when it refused a trial.
    text: str


def own_queues(instance: str) -> tuple[str, ...]:
    """Names of the bridge's own queues on the target (design, 4.9 and 8)."""
    return (f"bridge.control.{instance}", QUARANTINE)


def needed(
    pairs: Iterable[tuple[str, str]], instance: str, backup: str | None = None, probe: str = ""
) -> tuple[Right, ...]:
    """Every right for moving from a source queue to its target queue.

    Args:
        pairs: their names.
        instance: names the control queue.
        backup: side of the backup stream; None: there is none.
        probe: queue of the probe; empty: there is none.
    """
    found = [*_needed(tuple(pairs), instance), *(_of_backup(backup) if backup is not None else ())]
    found += _of_probe(probe) if probe else ()
    return tuple(dict.fromkeys(found))


#: All that is needed on the legacy side of the inline layout: nothing is declared there, and nothing read.
OF_LEGACY = Right("legacy", "write", "exchange", DEFAULT_EXCHANGE, HAND_OVER)


def of_reverse(pairs: Iterable[tuple[str, str]], *, inline: bool = False) -> Iterator[Right]:
    """What the route `reverse` needs beside the way there.

    Args:
        pairs: names of source queues and their target queues.
        inline: tasks go back to the legacy side, where that right is needed anyway.
    """
    for _, target in pairs:
        yield Right("target", "read", "queue", target, BRING_BACK)
    for level in range(ladder.LEVELS):
        yield Right("target", "read", "queue", ladder.level_name(level), BRING_BACK)
    # What is due meanwhile and is another queue's leaves by the exits.
    yield Right("target", "write", "exchange", ladder.DELIVERY_EXCHANGE, BRING_BACK)
    if not inline:
        yield Right("source", "write", "exchange", DEFAULT_EXCHANGE, HAND_OVER)


def _of_backup(side: str) -> Iterator[Right]:
    """Exchange and stream have the same name."""
    for kind in ("exchange", "queue"):
        yield Right(side, "configure", kind, copies.EXCHANGE, BACKUP)
    # The binding is looked at by making it once more, so these are needed even when it is there.
    yield Right(side, "write", "exchange", copies.EXCHANGE, COPY)
    yield Right(side, "write", "queue", copies.EXCHANGE, COPY)
    yield Right(side, "read", "exchange", copies.EXCHANGE, COPY)
    yield Right(side, "read", "queue", copies.EXCHANGE, REPLAY)


def _of_probe(queue: str) -> Iterator[Right]:
    """On the source exchange and queue have the same name."""
    for right in ("configure", "write", "read"):
        yield Right("source", right, "exchange", queue, MEASURE)
        yield Right("source", right, "queue", queue, MEASURE)
        yield Right("target", right, "queue", queue, MEASURE)


def _needed(pairs: tuple[tuple[str, str], ...], instance: str) -> Iterator[Right]:
    for source, _ in pairs:
        yield Right("source", "read", "queue", source, TAKE)
    yield Right("target", "write", "exchange", DEFAULT_EXCHANGE, SEND)
    names = [ladder.level_name(level) for level in range(ladder.LEVELS)]
    for name in names:
        yield Right("target", "write", "exchange", name, DELAY)
    for name in names:
        # kombu's functions declare exchange and queue, bind them, and bind each exchange to the next; to declare a
        # queue that dead-letters takes read on it and write on the exchange it dead-letters to.
        yield Right("target", "configure", "exchange", name, LADDER)
        yield Right("target", "read", "exchange", name, LADDER)
        for right in ("configure", "write", "read"):
            yield Right("target", right, "queue", name, LADDER)
    for right in ("configure", "write"):
        yield Right("target", right, "exchange", ladder.DELIVERY_EXCHANGE, LADDER)
    for level in range(ladder.LEVELS):
        # They are bound and published to as well; the level's queue may be written to already.
        for right in ("configure", "write", "read"):
            yield Right("target", right, "exchange", ladder.entry_name(level), ENTER)
    yield Right("target", "read", "exchange", ladder.DELIVERY_EXCHANGE, EXIT)
    for _, target in pairs:
        yield Right("target", "write", "queue", target, EXIT)
    for name in own_queues(instance):
        yield Right("target", "configure", "queue", name, OWN)
        yield Right("target", "read", "queue", name, OWN)
    # It is declared and bound at the first message for it.
    yield Right("target", "write", "queue", QUARANTINE, OWN)
    for right in ("configure", "write", "read"):
        yield Right("target", right, "exchange", QUARANTINE, OWN)


def to_try(rights: Iterable[Right], known: Mapping[str, Permissions | None]) -> tuple[Right, ...]:
    """Which of `rights` to try over AMQP.

    Most refusals are a line in the broker's log. So where the expressions are known, the first and the last of each
    kind are tried, to see that the broker goes by them; where they are not, everything is, of the ladder again only
    the ends.

    Args:
        rights: what is needed.
        known: permissions by side, None where the API does not show them.
    """
    groups: dict[tuple[str, str, str, str], list[Right]] = {}
    for right in rights:
        groups.setdefault(_group(right), []).append(right)
    chosen: list[Right] = []
    for group in groups.values():
        few = known.get(group[0].side) is not None or group[0].purpose in _LEVELS
        chosen += dict.fromkeys((group[0], group[-1])) if few else group
    return tuple(chosen)


def judge(
    rights: Iterable[Right], known: Mapping[str, Permissions | None], trials: Iterable[Trial]
) -> tuple[Verdict, ...]:
    """Whether each of `rights` is there, by its trial, else by the expressions, else by the ends of its group.

    Args:
        rights: what is needed.
        known: permissions by side, None where the API does not show them.
        trials: what was tried.
    """
    tried = {(t.side, t.right, t.kind, t.name): t for t in trials if t.granted is not None}
    listed = tuple(rights)
    ends: dict[tuple[str, str, str, str], set[bool | None]] = {}
    for right in to_try(listed, known):
        trial = tried.get(_key(right))
        ends.setdefault(_group(right), set()).add(trial.granted if trial else None)
    verdicts = []
    for right in listed:
        trial = tried.get(_key(right))
        permissions = known.get(right.side)
        if trial is not None:
            verdicts.append(Verdict(right, trial.granted, trial.text or "tried"))
        elif permissions is not None:
            verdicts.append(Verdict(right, _granted(permissions, right), "by the user's permissions"))
        elif right.purpose in _LEVELS and ends[_group(right)] in ({True}, {False}):
            verdicts.append(Verdict(right, ends[_group(right)] == {True}, "tried on the first and the last level"))
        else:
            verdicts.append(Verdict(right, None, "not tried, and the user's permissions are not shown"))
    return tuple(verdicts)


def allows(expression: str | None, name: str) -> bool | None:
    """Whether a permission's regular expression covers a name; None when Python cannot read it as RabbitMQ does.

    RabbitMQ searches, it does not match the whole; an empty expression is `^$`; None is no permission at all.
    """
    if expression is None:
        return False
    try:
        return re.search(expression or "^$", name) is not None
    except re.error:
        return None


def _granted(permissions: Permissions, right: Right) -> bool | None:
    expressions = {"configure": permissions.configure, "write": permissions.write, "read": permissions.read}
    return allows(expressions[right.right], right.name)


def _key(right: Right) -> tuple[str, str, str, str]:
    return right.side, right.right, right.kind, right.name


def _group(right: Right) -> tuple[str, str, str, str]:
    return right.side, right.right, right.kind, right.purpose
