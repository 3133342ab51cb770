"""The one message on whose publish the target closes the channel, found by halves.

A broker that closes a channel does not say for which publish. What it had confirmed is not it; of what it had not, half
as many are tried next, until one is alone. That one is tried again before it is set apart: a channel can close for a
reason of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from bridge.core.envelope import fingerprint

#: Times that a message must have been alone in flight when the channel closed.
SURE = 2
#: The same where the connection was lost without a word: that happens to messages that are not the reason.
SURE_WITHOUT_A_WORD = 4
#: Messages set apart in a row, with none that went through between them, after which it is not the messages: whatever
#: stands in the way would have the whole queue set apart.
IN_A_ROW = 10


class Search:
    """What is known of one queue.

    Attributes:
        prefetch: messages that may be in flight at once; None while nothing is searched.
        found: fingerprints of messages that no channel survives.
    """

    def __init__(self) -> None:
        self.prefetch: int | None = None
        self.found: set[bytes] = set()
        self._alone: dict[bytes, int] = {}
        self._in_a_row = 0
        self._left = 0

    def closed(self, unconfirmed: Sequence[bytes], *, said: bool = True) -> bool:
        """A channel closed on these messages, in the order of their publishes; whether one of them is found thereby.

        Args:
            unconfirmed: header frame and body frames of each.
            said: whether the broker gave a reason.
        """
        count = len(unconfirmed)
        if not count:
            return False
        self._left = max(self._left, count)
        self.prefetch = max(1, count // 2)
        if count > 1:
            return False
        if self.given_up:
            return False
        mark = fingerprint(unconfirmed[0])
        times = self._alone[mark] = self._alone.get(mark, 0) + 1
        if times < (SURE if said else SURE_WITHOUT_A_WORD):
            return False
        self.found.add(mark)
        self._alone.clear()
        return True

    def passed(self, count: int) -> bool:
        """So many messages went through; whether the search ends thereby: all that were suspect are safe, or apart."""
        if count:
            self._in_a_row = 0
        if self.prefetch is None:
            return False
        self._left -= count
        if self._left > 0:
            return False
        self.prefetch = None
        self._left = 0
        self._alone.clear()
        return True

    @property
    def given_up(self) -> bool:
        """Whether so many messages were set apart in a row that no more are, until one goes through."""
        return self._in_a_row >= IN_A_ROW

    def apart(self, mark: bytes) -> None:
        """The message with this fingerprint is safe elsewhere: one suspect less."""
        if mark in self.found:
            self.found.remove(mark)
            self._in_a_row += 1
            self._left -= 1
