"""Compares the properties of a message as its producer sent them with what a consumer read, type tags included.

It reads the bytes with code of its own, not with the core's: what judges the bridge must not share the bridge's
mistakes.

What a broker or a correct bridge may do, and what therefore is no difference:
1. Header fields come in another order (RabbitMQ 3.13 and later sort them), `L` becomes `l` (both are a signed 64-bit
   integer).
2. Fields that a broker adds on its way: `x-death` and its companions, `x-delivery-count`, `x-acquired-count`.
3. `expiration` is gone from a task with an ETA (it would shorten the delay), and elsewhere is at most what it was.
4. On RabbitMQ 4.0 to 4.2, the priority of a task with an ETA is 4 where it was higher (design, section 4.11).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Name and kind of the basic properties, from the highest flag bit down (AMQP 0-9-1, class basic): s short string,
#: F table, o octet, T 64-bit timestamp.
_BASIC = (
    ("content_type", "s"),
    ("content_encoding", "s"),
    ("headers", "F"),
    ("delivery_mode", "o"),
    ("priority", "o"),
    ("correlation_id", "s"),
    ("reply_to", "s"),
    ("expiration", "s"),
    ("message_id", "s"),
    ("timestamp", "T"),
    ("type", "s"),
    ("user_id", "s"),
    ("app_id", "s"),
    ("cluster_id", "s"),
)

#: Bytes of a field value by tag, where the size is fixed; the rest carries a 32-bit length (RabbitMQ's reading of the
#: tags).
_FIXED = {
    "t": 1, "b": 1, "B": 1, "s": 2, "u": 2, "I": 4, "i": 4, "l": 8, "L": 8, "f": 4, "d": 8, "D": 5, "T": 8, "V": 0,
}  # fmt: skip
_SIZED = "SxFA"

#: What brokers add while a message is dead-lettered or delivered again (semantics, sections 6.1 and 7.3).
_BROKERS_OWN = tuple(
    f"headers.{name}" for name in ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")
)

#: The highest priority that a task with an ETA keeps on a 4.0 to 4.2 target.
CAPPED_PRIORITY = 4


@dataclass(frozen=True)
class Item:
    """A typed value as it stands on the wire: tag and bytes (those of a table or array without their length)."""

    tag: str
    data: bytes

    def members(self) -> tuple[tuple[str, Item], ...]:
        """Return what a table or an array holds, in its order; the members of an array have empty names."""
        return tuple(_members(self.data, named=self.tag == "F"))

    def same(self, other: Item) -> bool:
        """Whether a consumer reads the same type and value."""
        if self == other:
            return True
        if self.tag in "lL":
            return other.tag in "lL" and self.data == other.data
        if self.tag not in "FA" or self.tag != other.tag:
            return False
        mine, others = self.members(), other.members()
        return len(mine) == len(others) and all(
            name == another and item.same(read) for (name, item), (another, read) in zip(mine, others, strict=True)
        )

    def __str__(self) -> str:
        if self.tag == "F":
            return "F{" + ", ".join(f"{name}: {item}" for name, item in self.members()) + "}"
        if self.tag == "A":
            return "A[" + ", ".join(str(item) for _, item in self.members()) + "]"
        return f"{self.tag} {self.data!r}" if self.tag in "Sx" else f"{self.tag} {self.data.hex()}"


def _members(raw: bytes, *, named: bool) -> Iterator[tuple[str, Item]]:
    at = 0
    while at < len(raw):
        name = ""
        if named:
            begin, at = at + 1, at + 1 + raw[at]
            name = raw[begin:at].decode("utf-8", "backslashreplace")
        tag = chr(raw[at])
        at += 1
        size = _FIXED.get(tag)
        if size is None:
            if tag not in _SIZED:
                raise ValueError(f"header field type {tag!r}, allowed are {''.join(_FIXED)}{_SIZED}")
            size, at = int.from_bytes(raw[at : at + 4], "big"), at + 4
        yield name, Item(tag, raw[at : at + size])
        at += size


def parse(raw: bytes) -> dict[str, Item]:
    """Return the properties in `raw` (flags and values of a content header): `priority`, ..., each `headers.<name>`.

    Raises:
        ValueError: a field type that no broker accepts, or bytes that end early.
    """
    flags, at = int.from_bytes(raw[:2], "big"), 2
    found: dict[str, Item] = {}
    for position, (name, kind) in enumerate(_BASIC):
        if not flags & 0x8000 >> position:
            continue
        if kind == "F":
            size, at = int.from_bytes(raw[at : at + 4], "big"), at + 4
            found["headers"] = Item("F", b"")
            found |= {f"headers.{field}": item for field, item in _members(raw[at : at + size], named=True)}
        else:
            size = {"o": 1, "T": 8}.get(kind, 0)
            if kind == "s":
                size, at = raw[at], at + 1
            found[name] = Item(kind, raw[at : at + size])
        at += size
    if at != len(raw):
        raise ValueError(f"properties end at byte {at}, {len(raw)} bytes were given")
    return found


def caps_priority(version: str) -> bool:
    """Whether a target of this version, such as 4.0.9, has the priority of ETA tasks capped (docs/plan/eta.md)."""
    return version.startswith(("4.0", "4.1", "4.2"))


def differences(sent: bytes, seen: bytes, *, has_eta: bool, capped: bool) -> list[str]:
    """Return what a consumer read otherwise than it was sent, one sentence each; nothing for a message that arrived as
    sent.

    Args:
        sent: property bytes as the producer wrote them.
        seen: property bytes as the consumer read them.
        has_eta: the task has an ETA, so it may have come through the ladder.
        capped: the target `caps_priority`.
    """
    if sent == seen:
        return []
    before, after = parse(sent), parse(seen)
    found = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is not None and new is not None and old.same(new):
            continue
        if name == "headers" and new is not None:
            continue  # a broker's own fields make the table appear
        if name.startswith(_BROKERS_OWN):
            continue
        if name == "expiration" and old is not None and _expiration_allowed(old, new, has_eta):
            continue
        if name == "priority" and has_eta and capped and _is_capped(old, new):
            continue
        found.append(f"{name}: {old or 'absent'} was sent, {new or 'absent'} was read")
    return found


def _is_capped(old: Item | None, new: Item | None) -> bool:
    return old is not None and new is not None and old.data[0] > CAPPED_PRIORITY == new.data[0]


def _expiration_allowed(old: Item, new: Item | None, has_eta: bool) -> bool:
    if new is None:
        return has_eta
    return new.data.isdigit() and int(new.data) <= int(old.data)
