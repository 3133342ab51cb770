"""A delivery of which not all frames have come."""

from __future__ import annotations

from bridge.core import frames


class Gathered:
    """What has come of it.

    Attributes:
        tag: its delivery tag.
        redelivered: 1 when the broker handed it out before.
        parts: its frames; none are kept once it is `dropped`.
        size: length of the header frame's payload; `flags` the property flags in it.
        reserved: bytes set aside for it.
    """

    __slots__ = ("dropped", "flags", "left", "parts", "redelivered", "reserved", "size", "tag")

    def __init__(self, tag: int, redelivered: int) -> None:
        self.tag = tag
        self.redelivered = redelivered
        self.parts: list[bytes] = []
        self.size = self.flags = self.left = self.reserved = 0
        self.dropped = False

    def add(self, kind: int, wire: bytes) -> bool:
        """Take a frame; whether the message is whole now.

        Raises:
            FrameError: it is not what is due.
        """
        if kind == frames.HEADER:
            if self.size or len(wire) < frames.CONTENT_HEAD + 1:
                raise frames.FrameError("content header out of place or too short")
            _, _, self.size, _, _, self.left, self.flags = frames.content_at(wire)
        else:
            if not self.size:
                raise frames.FrameError("content body before its header")
            self.left -= len(wire) - frames.OVERHEAD
            if self.left < 0:
                raise frames.FrameError("content body longer than its header announced")
        if not self.dropped:
            self.parts.append(wire)
        return self.left == 0

    def drop(self) -> None:
        """Keep nothing of it: it goes back with the channel."""
        self.dropped = True
        self.parts.clear()
