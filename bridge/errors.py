"""Every error an operator can meet, each one clear sentence and an exit code.

    BridgeError
    +-- ConfigError          the configuration is wrong: every fault at once
    +-- Refused              a verb or a start was refused: nothing was changed
    |   +-- UnknownQueue     a queue was named that is not in scope
    |   +-- Standby          another daemon is the active one: it has to be asked
    +-- Unreachable          a broker, its HTTP API or the daemon does not answer
    |   +-- AccessRefused    it answers, and does not let us in
    +-- LabError             the rehearsal brokers could not be made or found

Text is lower case: what was seen, what was allowed, on which queue or file. The hint (what to do) stands apart.
No text may hold a password: URLs go through `redact` first.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass


class Exit(enum.IntEnum):
    """Exit codes of every command (design, section 10)."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    #: Of the daemon alone: its loop stood still, and it ended itself to be started anew.
    STUCK = 4


class BridgeError(Exception):
    """Base class: `str()` is the sentence, `hint` what the operator can do, `exit_code` how the command ends."""

    exit_code: Exit = Exit.REFUSED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a configuration: where (YAML path; empty: the whole file), what was found, what is allowed."""

    path: str
    found: str
    allowed: str

    def __str__(self) -> str:
        sentence = f"{self.found}; allowed: {self.allowed}"
        return f"{self.path}: {sentence}" if self.path else sentence


class ConfigError(BridgeError):
    """The configuration cannot be used; `faults` holds everything that is wrong with it, not only the first."""

    exit_code = Exit.USAGE

    def __init__(self, file: str, faults: list[Fault], *, hint: str = "") -> None:
        self.file = file
        self.faults = faults
        super().__init__("\n".join(f"{file}: {fault}" for fault in faults), hint=hint)


class Refused(BridgeError):
    """What was asked is not allowed now; nothing was changed."""

    exit_code = Exit.REFUSED


class UnknownQueue(Refused):
    """A queue was named that is not in scope; nothing was changed for those that are."""


class Standby(Refused):
    """This daemon is not the active one: the other has to be asked."""


class Unreachable(BridgeError):
    """A broker, its HTTP API or the daemon could not be reached."""

    exit_code = Exit.UNREACHABLE


class AccessRefused(Unreachable):
    """The other end answered and refused the user, the vhost or the permission."""


class LabError(BridgeError):
    """The lab's brokers could not be installed, started or found."""


#: user:password@ of a URL. The password ends at the last @ before white space or the next URL: one that was not
#: percent-encoded may hold "/" and "@" itself, and hiding too much is better than showing its end.
_USERINFO = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*://)(?P<user>[^\s:/@]*):(?:(?!://)\S)*@")


def redact(text: str) -> str:
    """Return `text` with the password of every URL in it replaced by `***`.

    >>> redact("amqp://u:p@host/v")
    'amqp://u:***@host/v'
    """
    return _USERINFO.sub(r"\g<scheme>\g<user>:***@", text)
