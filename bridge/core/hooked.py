"""What the commands of `hooks:` are told: which transitions go into one call, and their facts as text.

1. Transitions of the same kind, by the same hand, that come one soon after the other are one call: `cutover --all` over
   1000 queues is one command, not 1000.
2. Calls are begun in the order of their transitions. One goes into a call that waits already, unless another call about
   the same queue was made after that.
3. Not more than so many calls wait: then the oldest is given up, and counted.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Seconds without another transition of its kind after which a call is begun, and those after which it is in any case.
QUIET = 1.0
GATHER = 5.0
#: Calls that may wait.
WAITING = 1000
#: Seconds for which a queue must have moved after a fault until that counts as over: each try moves for a moment.
STEADY = 10.0
#: Characters of a value in the environment; the JSON has all of it.
_LONGEST = 2000

#: The event of a verb that was carried out; the others change nothing that a hook is for.
EVENT_OF = {
    "cutover": "cutover",
    "canary": "canary",
    "dual": "dual",
    "legacy": "legacy",
    "rollback": "legacy",
    "reverse": "reverse",
    "pause": "paused",
    "resume": "resumed",
}


@dataclass(frozen=True, slots=True)
class Happened:
    """One transition of one queue, or of the daemon."""

    #: `cutover`, `faulted` and so on: the hook's name without its `on_`.
    event: str
    #: When, ISO 8601 in UTC.
    at: str
    #: Empty: the daemon itself.
    queue: str = ""
    #: Its route before and now; before is empty where it did not change.
    before: str = ""
    route: str = ""
    #: Who asked, through which door, and the reason given.
    by: str = ""
    door: str = ""
    reason: str = ""
    #: Why the queue is as it is now.
    why: str = ""

    @property
    def kind(self) -> tuple[str, ...]:
        """Transitions of the same kind may be told in one call."""
        return self.event, self.by, self.door, self.reason


@dataclass(slots=True)
class Call:
    """One command that is to be started."""

    #: When its first transition came and when the last one, in monotonic seconds.
    since: float
    latest: float
    happened: list[Happened]
    queues: set[str] = field(default_factory=set)

    @property
    def event(self) -> str:
        """What happened."""
        return self.happened[0].event

    def environment(self, instance: str) -> dict[str, str]:
        """The facts as environment variables. What differs between its queues is left out: the JSON has it."""
        one = self.happened[0]
        facts = {
            "EVENT": one.event,
            "INSTANCE": instance,
            "QUEUES": str(sum(bool(each.queue) for each in self.happened)),
            "QUEUE": self._same("queue"),
            "BEFORE": self._same("before"),
            "ROUTE": self._same("route"),
            "BY": one.by,
            "DOOR": one.door,
            "REASON": one.reason,
            "WHY": self._same("why"),
            "AT": one.at,
        }
        # A zero byte ends a variable (environ(7)); a queue may have one in its name.
        return {
            f"BRIDGE_{name}": value[:_LONGEST].replace("\0", "\N{REPLACEMENT CHARACTER}")
            for name, value in facts.items()
        }

    def document(self, instance: str) -> bytes:
        """The facts as JSON, all of them."""
        one = self.happened[0]
        queues = [
            {"queue": each.queue, "before": each.before, "route": each.route, "why": each.why, "at": each.at}
            for each in self.happened
            if each.queue
        ]
        told = dataclasses.asdict(one)
        common = {name: told[name] for name in ("event", "at", "by", "door", "reason")}
        return json.dumps({**common, "instance": instance, "queues": queues}).encode() + b"\n"

    def _same(self, name: str) -> str:
        """What all its transitions have in common; empty when they differ."""
        values = {str(getattr(each, name)) for each in self.happened}
        return values.pop() if len(values) == 1 else ""


class Calls:
    """Those that wait for their turn."""

    def __init__(self) -> None:
        self.given_up = 0
        self._waiting: deque[Call] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, now: float, happened: Happened) -> None:
        """Something happened (monotonic seconds)."""
        for call in reversed(self._waiting):
            if call.happened[0].kind == happened.kind:
                call.latest = now
                call.happened.append(happened)
                call.queues.add(happened.queue)
                return
            if happened.queue in call.queues:
                break
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self.given_up += 1
        self._waiting.append(Call(now, now, [happened], {happened.queue}))

    def due(self, now: float) -> float | None:
        """Seconds until the next may begin; None when none waits."""
        if not self._waiting:
            return None
        call = self._waiting[0]
        return max(0.0, min(call.latest + QUIET, call.since + GATHER) - now)

    def take(self) -> Call:
        """The next one, due or not."""
        return self._waiting.popleft()


class Faults:
    """Which queues have a fault that was told, and when it is over.

    A queue with a fault tries again and again, and moves for a moment each time: neither is told each time.
    """

    def __init__(self) -> None:
        #: Since when a queue moves again, in monotonic seconds; None while it does not.
        self._since: dict[str, float | None] = {}

    def saw(self, now: float, queue: str, state: str) -> bool:
        """A queue has this state now; whether that is a new fault."""
        if state == "faulted":
            new = queue not in self._since
            self._since[queue] = None
            return new
        if queue in self._since:
            if state == "moving":
                self._since[queue] = now
            elif state in ("idle", "paused", "standby", "done", "ended"):
                # It should not move any more: there is nothing to recover from.
                del self._since[queue]
            else:
                self._since[queue] = None
        return False

    def over(self, now: float) -> Iterator[str]:
        """The queues that move again, each once."""
        for queue, since in list(self._since.items()):
            if since is not None and now - since >= STEADY:
                del self._since[queue]
                yield queue
