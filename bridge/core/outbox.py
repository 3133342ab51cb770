"""What a relay hands out: frames for the brokers, why it stopped, and messages that it cannot publish."""

from __future__ import annotations

from typing import NamedTuple


class Surprise(NamedTuple):
    """Why a relay stopped."""

    reason: str
    text: str
    #: The broker that it came from; empty where it is none's.
    side: str = ""


class Held(NamedTuple):
    """A message that no publish can carry: to be set apart, then `Relay.set_apart`."""

    tag: int
    #: Header frame and body frames.
    wire: bytes
    #: `too-large`, `header-too-large`, `malformed`, `closes-channel`, `delivery-limit`; `copy-too-large` is the copy's.
    reason: str
    #: Only the second side cannot be given it; the target is.
    leg: bool = False

    @property
    def moves(self) -> bool:
        """Whether the message moves all the same, and what is set apart is for one that does not get it."""
        return self.leg or self.reason == "copy-too-large"


class Outbox:
    """What the relays of one pair of connections want sent, and which of them want to be looked at."""

    __slots__ = ("alerts", "to_backup", "to_leg", "to_source", "to_target")

    def __init__(self) -> None:
        self.to_target: list[bytes] = []
        self.to_source: list[bytes] = []
        self.to_backup: list[bytes] = []
        #: For the second live side.
        self.to_leg: list[bytes] = []
        #: Channels whose relay stopped, finished, or holds a message that no publish can carry.
        self.alerts: set[int] = set()
