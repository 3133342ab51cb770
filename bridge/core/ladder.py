"""Where a task that is not due yet enters kombu's delay ladder, how it leaves it, and how to read such a key again.

The ladder (kombu's native delayed delivery, semantics.md section 2) is 28 topic exchanges and queues, from
`celery_delayed_27` to `celery_delayed_0`. A key is 28 dotted bits and a suffix: a set bit holds the message in that
level's queue for 2^level seconds, a clear one passes it on, and `celery_delayed_delivery` routes by the suffix alone.

1. **Entry at the highest set bit** (design 4.2). The levels above it would only pass the message on; key and path below
   are the same as from `celery_delayed_27`.
2. **Our own exit** (design 4.3). The suffix is one word, `bridge:<queue>`, bound as `#.<word>`. A word has no dots, so
   the pattern of queue `q1` cannot match the key of queue `a.q1`, as Celery's `#.q1` does.
3. **By a fanout exchange of our own** where there is one: `bridge.delayed.<n>`, bound to the queue of level n and
   nothing else. The key stays as it is, so that from the first queue on everything goes by Celery's exchanges: what is
   in the ladder does not need ours any more. Matching a key of 28 words against a topic exchange is what entering costs
   a broker. Where they may not be declared, Celery's topic exchanges take the same messages to the same queue.
4. **The word never changes.** Only ASCII stays readable in it; what counts as printable beyond ASCII differs between
   Python versions, and a word that changed would leave messages in the ladder without an exit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

#: Levels of the ladder, and bits in its key.
LEVELS = 28
#: Bytes of a key's dotted bits.
BITS = 2 * LEVELS
#: Longest delay in seconds, about 8.5 years; a 29th bit would be read as part of the suffix and halve the delay.
MAX_DELAY = 2**LEVELS - 1
#: Level n is exchange and queue `celery_delayed_<n>`.
PREFIX = "celery_delayed_"
#: Our fanout exchange before the queue of level n is `bridge.delayed.<n>`.
ENTRY_PREFIX = "bridge.delayed."
#: The topic exchange at the ladder's end.
DELIVERY_EXCHANGE = "celery_delayed_delivery"
#: What every exit word of ours begins with.
WORD_PREFIX = "bridge:"
#: Bytes that 28 bits and their dots leave of an AMQP short string (255).
MAX_WORD_BYTES = 255 - BITS

#: A hashed word: the escape of a queue name never begins with a bare `~`.
_HASH_PREFIX = WORD_PREFIX + "~"
#: `.` separates words, `*` and `#` are patterns, `%` begins an escape, `~` begins a hash.
_KEPT = frozenset(range(0x21, 0x7F)) - frozenset(b".*#%~")
_ESCAPES = tuple(chr(byte) if byte in _KEPT else f"%{byte:02X}" for byte in range(256))
#: One or more complete prefixes, then at least one character of suffix. kombu up to 5.6 adds one at every retry.
_DELAYED = re.compile(r"((?:[01]\.){28})(?:(?:[01]\.){28})*(.+)", re.DOTALL)

_SEVEN = tuple("".join(f"{bit}." for bit in f"{bits:07b}").encode() for bits in range(2**7))
#: The dotted bits of every 14-bit half, so that a key costs two look-ups and a join.
_HALVES = tuple(high + low for high in _SEVEN for low in _SEVEN)

#: The exchanges before the 28 queues, by level, as they go on the wire.
Entries = tuple[bytes, ...]
#: Celery's topic exchanges: they are there wherever the ladder is.
BY_CELERY: Entries = tuple(f"{PREFIX}{level}".encode() for level in range(LEVELS))
#: Ours, which the daemon declares.
BY_BRIDGE: Entries = tuple(f"{ENTRY_PREFIX}{level}".encode() for level in range(LEVELS))


class Entry(NamedTuple):
    """Where to publish a delayed message."""

    exchange: str
    routing_key: str


class Converted(NamedTuple):
    """A ladder key read back: seconds its leading bits stand for, and the suffix it leaves by."""

    delay: int
    suffix: str


def level_name(level: int) -> str:
    """Name of a level's exchange and queue. ValueError outside 0..27."""
    if not 0 <= level < LEVELS:
        raise ValueError(f"level {level}: 0 to {LEVELS - 1} allowed")
    return f"{PREFIX}{level}"


def entry_name(level: int) -> str:
    """Name of our exchange before a level's queue. ValueError outside 0..27."""
    if not 0 <= level < LEVELS:
        raise ValueError(f"level {level}: 0 to {LEVELS - 1} allowed")
    return f"{ENTRY_PREFIX}{level}"


def exchange_bytes(delay: int, entries: Entries = BY_CELERY) -> bytes:
    """Exchange of the highest set bit of `delay` (seconds), as it goes on the wire. ValueError outside 1..MAX_DELAY."""
    if not 1 <= delay <= MAX_DELAY:
        raise ValueError(f"delay of {delay} s: 1 to {MAX_DELAY} allowed")
    return entries[delay.bit_length() - 1]


def key_bytes(delay: int) -> bytes:
    """The 56 bytes of dotted bits of `delay` (seconds), the trailing dot included. ValueError outside 1..MAX_DELAY."""
    if not 1 <= delay <= MAX_DELAY:
        raise ValueError(f"delay of {delay} s: 1 to {MAX_DELAY} allowed")
    return _HALVES[delay >> 14] + _HALVES[delay & 0x3FFF]


def entry(delay: int, queue_word: str, entries: Entries = BY_CELERY) -> Entry:
    """Where a message enters that leaves after `delay` seconds by `queue_word`. ValueError outside 1..MAX_DELAY."""
    return Entry(exchange_bytes(delay, entries).decode(), key_bytes(delay).decode() + queue_word)


def exit_word(queue: str) -> str:
    """The word by which messages for `queue` leave the ladder: no two queues share one, none is over MAX_WORD_BYTES."""
    name = queue.encode("utf-8", "surrogatepass")
    word = WORD_PREFIX + "".join([_ESCAPES[byte] for byte in name])
    if len(word) <= MAX_WORD_BYTES:
        return word
    return _HASH_PREFIX + hashlib.sha256(name).hexdigest()


def exit_pattern(queue: str) -> str:
    """The key that binds `queue` to DELIVERY_EXCHANGE: any bits, then exactly its word."""
    return f"#.{exit_word(queue)}"


def queue_of(suffix: str, known_queues: Iterable[str]) -> str | None:
    """The queue whose exit a key with this suffix takes, None when it is not one of ours.

    As in the binding, only the last word counts. A hashed word is looked for among `known_queues`.
    """
    word = suffix.rpartition(".")[2]
    if word.startswith(_HASH_PREFIX):
        return next((queue for queue in known_queues if exit_word(queue) == word), None)
    if not word.startswith(WORD_PREFIX):
        return None
    try:
        queue = unquote_to_bytes(word[len(WORD_PREFIX) :]).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return queue if exit_word(queue) == word else None


def unconvert(routing_key: str) -> Converted | None:
    """Read a ladder key back, None when it is not one.

    Retries by kombu before 5.7 put a new prefix before the old one: the first is the delay, all go from the suffix
    (semantics.md section 2.2). A suffix of Celery's own is a routing key, not a queue.
    """
    match = _DELAYED.fullmatch(routing_key)
    if match is None:
        return None
    bits, suffix = match.groups()
    return Converted(int(bits.replace(".", ""), 2), suffix)


def topic_matches(pattern: str, key: str) -> bool:
    """Whether a topic exchange routes `key` by `pattern`: `*` is one word, `#` any number (AMQP 0-9-1, 3.1.3.3)."""
    words = key.split(".") if key else []
    # Numbers of words of the key that the pattern read so far can have used.
    used = {0}
    for part in pattern.split(".") if pattern else []:
        if part == "#":
            used = set(range(min(used), len(words) + 1))
        else:
            used = {count + 1 for count in used if count < len(words) and part in ("*", words[count])}
        if not used:
            return False
    return len(words) in used
