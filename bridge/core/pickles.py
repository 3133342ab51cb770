"""Read the top-level mapping of a pickle without importing or calling anything: for an ETA, never for objects.

Bodies of protocol 1 may be pickled, and a pickle is a program written by whoever could publish. So:

1. **Nothing is looked up or called.** What a pickle names becomes a Stub that holds the name; what it calls, a Stub
   that holds name and arguments. No import, no constructor, no hash: mappings are lists of pairs.
2. **Work and memory are linear in the input.** Every literal is a slice of it; lengths are checked before use; numbers
   longer than any header value and texts with escapes stay opaque; opcodes are counted.
3. **Strings of Python 2 are text** where they are ASCII, as Celery 3.1 producers send them, else bytes.

Opcodes and their arguments: the table in the standard library's `pickletools`, protocols 0 to 5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

#: Opcodes that are read of one pickle: 25 ms, 70 ms of the dearest (names, tuples in tuples), during which nothing else
#: moves; a task of 12 000 texts has as many.
MAX_OPCODES = 25_000
#: Digits or bytes of a number that is still read as one; longer ones stay opaque.
MAX_NUMBER = 32
#: Highest memo index: a larger one is no pickler's, and could be chosen to make look-ups slow.
MAX_MEMO = 2**32

_STOP = ord(".")
#: Names that stand for UTC in the pickled datetimes of pytz and dateutil.
_UTC_NAMES = frozenset({("pytz", "_UTC"), ("dateutil.tz.tz", "tzutc"), ("dateutil.tz", "tzutc")})
#: zoneinfo's own constructor, which pickles reach by `getattr`; `builtins` is `__builtin__` up to protocol 2.
_GETATTR = frozenset({("builtins", "getattr"), ("__builtin__", "getattr")})


class Malformed(ValueError):
    """Not a pickle, not one within the limits, or one whose top level is an object."""


class Node:
    """A container: `kind` is dict, list, tuple or set; a dict's items are pairs, nothing is hashed."""

    __slots__ = ("items", "kind")

    def __init__(self, kind: str, items: list[object]) -> None:
        self.kind = kind
        self.items = items


class Stub:
    """What unpickling would have imported or made: the name of a global, and the arguments when it is called."""

    __slots__ = ("arguments", "name")

    def __init__(self, name: tuple[object, object] | Stub | None = None, arguments: list[object] | None = None) -> None:
        self.name = name
        self.arguments = arguments


#: A value that is kept neither as itself nor by name.
OPAQUE = Stub()


def top_level_mapping(data: bytes) -> list[tuple[object, object]] | None:
    """Return the pairs of the pickled mapping in the order they were set (the last one of a key counts).

    None when the pickle holds plain data other than a mapping. Raises Malformed.
    """
    top = _Machine(data).run()
    if isinstance(top, Stub):
        raise Malformed("the pickle holds an object, not plain data")
    if not isinstance(top, Node) or top.kind != "dict":
        return None
    return [pair for pair in top.items if isinstance(pair, tuple)]


def moment(value: object) -> datetime | None:
    """Return the datetime that a Stub stands for, at a fixed offset or in UTC; None for anything else.

    One without a zone is in UTC: so a worker reads it (semantics.md section 3.3).
    """
    arguments = _called(value, ("datetime", "datetime"))
    if arguments is None or len(arguments) not in (1, 2):
        return None
    state = _state(arguments[0])
    if state is None or len(state) != 10:
        return None
    year, month, day, hour, minute, second, high, low = struct.unpack(">HBBBBBBH", state)
    try:
        # The month's high bit is the fold, which only zones with a summer time need.
        read = datetime(year, month & 0x7F, day, hour, minute, second, high << 16 | low, UTC)
    except ValueError:
        return None
    zone = _zone(arguments[1]) if len(arguments) == 2 else UTC
    return None if zone is None else read.replace(tzinfo=zone)


def _called(value: object, name: tuple[str, str]) -> list[object] | None:
    """Return the arguments if `value` is the call of that name."""
    return value.arguments if isinstance(value, Stub) and value.name == name else None


def _state(value: object) -> bytes | None:
    """Return the bytes of a datetime's state; up to protocol 2 they are pickled as text to be encoded."""
    if isinstance(value, bytes):
        return value
    match _called(value, ("_codecs", "encode")):
        case [str(text), "latin1"] if len(text) <= MAX_NUMBER:
            try:
                return text.encode("latin-1")
            except UnicodeEncodeError:
                return None
    return None


def _zone(value: object) -> timezone | None:
    """Return the zone that a Stub stands for, None when it is no fixed one that we know."""
    if not isinstance(value, Stub) or value.arguments is None:
        return None
    if value.name in _UTC_NAMES:
        return UTC
    if isinstance(value.name, Stub):
        match value.name.arguments, value.arguments:
            case ([Stub(name=("zoneinfo", "ZoneInfo")), "_unpickle"], ["UTC", *_]) if value.name.name in _GETATTR:
                return UTC
        return None
    match _called(value, ("datetime", "timezone")):
        case [Stub() as offset, *_]:
            match _called(offset, ("datetime", "timedelta")):
                case [int(days), int(seconds), int(microseconds)]:
                    try:
                        return timezone(timedelta(days, seconds, microseconds))
                    except (ValueError, OverflowError):
                        return None
    return None


class _Machine:
    """The pickle machine: a stack, its marks and a memo, over values that do nothing."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[object] = []
        #: Where on the stack each open mark stands; nothing pops below the last one.
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        """Run to STOP and return what is on top then."""
        data, step, end = self.data, _STEPS, len(self.data)
        for _ in range(MAX_OPCODES):
            if self.at >= end:
                raise Malformed("the pickle ends before its STOP")
            opcode = data[self.at]
            self.at += 1
            if opcode == _STOP:
                return self.pop()
            do = step[opcode]
            if do is None:
                raise Malformed(f"no opcode of a pickle: 0x{opcode:02x}")
            do(self)
        raise Malformed(f"the pickle has more than {MAX_OPCODES} opcodes")

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        start = self.at
        stop = start + length
        if length < 0 or stop > len(self.data):
            raise Malformed(f"a length of {length} in the pickle, {len(self.data) - start} bytes are left")
        self.at = stop
        return self.data[start:stop]

    def number(self, size: int) -> int:
        """An unsigned little-endian number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def line(self) -> bytes:
        """The bytes up to the next newline."""
        stop = self.data.find(b"\n", self.at)
        if stop < 0:
            raise Malformed("a line in the pickle does not end")
        line = self.data[self.at : stop]
        self.at = stop + 1
        return line

    def index(self) -> int:
        """A memo index in a line of its own."""
        line = self.line()
        if len(line) > MAX_NUMBER or not line.isdigit():
            raise Malformed("a memo index in the pickle is not a number")
        return int(line)

    def pop(self) -> object:
        """The top of the stack."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Malformed("the pickle takes more from its stack than it put there")
        return self.stack.pop()

    def pop_to_mark(self) -> list[object]:
        """Everything above the last mark."""
        if not self.marks:
            raise Malformed("the pickle has a mark missing")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def top(self) -> object:
        """The top of the stack, left where it is."""
        value = self.pop()
        self.stack.append(value)
        return value

    def extend(self, kind: str, items: list[object]) -> None:
        """Add items to the container on top; what is added to an object is dropped with it."""
        target = self.top()
        if isinstance(target, Node) and target.kind == kind:
            target.items.extend(items)
        elif not isinstance(target, Stub):
            raise Malformed(f"the pickle adds items of a {kind} to something else")

    def put(self, index: int) -> None:
        """Remember the top of the stack."""
        if index >= MAX_MEMO:
            raise Malformed("a memo index in the pickle is out of range")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        """Push what was remembered."""
        if index not in self.memo:
            raise Malformed("the pickle recalls what it has not remembered")
        self.stack.append(self.memo[index])

    def call(self, arguments: list[object]) -> None:
        """Replace the callable on top by what a call of it would give."""
        made = self.pop()
        if isinstance(made, Stub):
            self.stack.append(Stub(made if made.arguments is not None else made.name, arguments))
        else:
            self.stack.append(OPAQUE)


def _opaque(_raw: bytes) -> object:
    return OPAQUE


def _pairs(items: list[object]) -> list[object]:
    if len(items) % 2:
        raise Malformed("a key in the pickle has no value")
    return list(zip(items[::2], items[1::2], strict=True))


def _ascii(raw: bytes) -> str | bytes:
    """A string of Python 2."""
    return raw.decode("ascii") if raw.isascii() else raw


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _signed(raw: bytes) -> object:
    return int.from_bytes(raw, "little", signed=True) if len(raw) <= MAX_NUMBER else OPAQUE


def _double(raw: bytes) -> float:
    value: float = struct.unpack(">d", raw)[0]
    return value


def _decimal(line: bytes) -> object:
    """The argument of INT and LONG: booleans are written as 00 and 01."""
    if line in (b"00", b"01"):
        return line == b"01"
    return int(line.removesuffix(b"L")) if len(line) <= MAX_NUMBER else OPAQUE


def _float(line: bytes) -> object:
    return float(line) if len(line) <= MAX_NUMBER else OPAQUE


def _quoted(line: bytes) -> object:
    """The argument of STRING: no key of a task and no ETA needs an escape."""
    line = line.strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:]:
        raise Malformed("a string in the pickle is not quoted")
    return OPAQUE if b"\\" in line else _ascii(line[1:-1])


def _escaped(line: bytes) -> object:
    """The argument of UNICODE."""
    return line.decode("raw-unicode-escape")


#: What an opcode does; what it returns is not looked at.
_Step = Callable[[_Machine], object]


def _constant(value: object) -> _Step:
    return lambda machine: machine.stack.append(value)


def _container(kind: str) -> _Step:
    return lambda machine: machine.stack.append(Node(kind, []))


def _fixed(size: int, read: Callable[[bytes], object]) -> _Step:
    """A literal of `size` bytes."""
    return lambda machine: machine.stack.append(read(machine.take(size)))


def _counted(size: int, read: Callable[[bytes], object]) -> _Step:
    """A literal behind its length, which has `size` bytes."""
    return lambda machine: machine.stack.append(read(machine.take(machine.number(size))))


def _lined(read: Callable[[bytes], object]) -> _Step:
    """A literal in a line of its own."""
    return lambda machine: machine.stack.append(read(machine.line()))


def _tuple(size: int) -> _Step:
    def step(machine: _Machine) -> None:
        items = [machine.pop() for _ in range(size)]
        machine.stack.append(Node("tuple", items[::-1]))

    return step


def _from_mark(kind: str) -> _Step:
    return lambda machine: machine.stack.append(Node(kind, machine.pop_to_mark()))


def _protocol(machine: _Machine) -> None:
    version = machine.number(1)
    if version > 5:
        raise Malformed(f"pickle protocol {version}: 0 to 5 can be read")


def _mark(machine: _Machine) -> None:
    machine.marks.append(len(machine.stack))


def _pop(machine: _Machine) -> None:
    """POP takes the mark if nothing is above it."""
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.pop()


def _append(machine: _Machine) -> None:
    item = machine.pop()
    machine.extend("list", [item])


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.extend("dict", [(key, value)])


def _global(machine: _Machine) -> None:
    module, name = _text(machine.line()), _text(machine.line())
    machine.stack.append(Stub((module, name)))


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    # The two stay two: joined, a long name recalled from the memo again and again would fill the memory.
    machine.stack.append(Stub((module, name)))


def _reduce(machine: _Machine) -> None:
    arguments = machine.pop()
    machine.call(arguments.items if isinstance(arguments, Node) else [arguments])


def _new_object_with_keywords(machine: _Machine) -> None:
    machine.pop()
    _reduce(machine)


def _build(machine: _Machine) -> None:
    machine.pop()
    machine.top()


def _instance(machine: _Machine) -> None:
    module, name = _text(machine.line()), _text(machine.line())
    machine.stack.append(Stub((module, name), machine.pop_to_mark()))


def _object(machine: _Machine) -> None:
    machine.pop_to_mark()
    machine.stack.append(OPAQUE)


def _persistent(machine: _Machine) -> None:
    machine.pop()
    machine.stack.append(OPAQUE)


_BY_OPCODE: dict[bytes, _Step] = {
    # constants and literals
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b"J": _fixed(4, _signed),
    b"K": _fixed(1, lambda raw: raw[0]),
    b"M": _fixed(2, lambda raw: int.from_bytes(raw, "little")),
    b"G": _fixed(8, _double),
    b"\x8a": _counted(1, _signed),
    b"\x8b": _counted(4, _signed),
    b"U": _counted(1, _ascii),
    b"T": _counted(4, _ascii),
    b"C": _counted(1, bytes),
    b"B": _counted(4, bytes),
    b"\x8e": _counted(8, bytes),
    b"\x96": _counted(8, bytes),
    b"\x8c": _counted(1, _text),
    b"X": _counted(4, _text),
    b"\x8d": _counted(8, _text),
    b"I": _lined(_decimal),
    b"L": _lined(_decimal),
    b"F": _lined(_float),
    b"S": _lined(_quoted),
    b"V": _lined(_escaped),
    # containers
    b"}": _container("dict"),
    b"]": _container("list"),
    b")": _container("tuple"),
    b"\x8f": _container("set"),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"t": _from_mark("tuple"),
    b"l": _from_mark("list"),
    b"\x91": _from_mark("set"),
    b"d": lambda machine: machine.stack.append(Node("dict", _pairs(machine.pop_to_mark()))),
    b"a": _append,
    b"e": lambda machine: machine.extend("list", machine.pop_to_mark()),
    b"s": _set_item,
    b"u": lambda machine: machine.extend("dict", _pairs(machine.pop_to_mark())),
    b"\x90": lambda machine: machine.extend("set", machine.pop_to_mark()),
    # stack and memo
    b"(": _mark,
    b"0": _pop,
    b"1": _Machine.pop_to_mark,
    b"2": lambda machine: machine.stack.append(machine.top()),
    b"p": lambda machine: machine.put(machine.index()),
    b"q": lambda machine: machine.put(machine.number(1)),
    b"r": lambda machine: machine.put(machine.number(4)),
    b"\x94": lambda machine: machine.put(len(machine.memo)),
    b"g": lambda machine: machine.get(machine.index()),
    b"h": lambda machine: machine.get(machine.number(1)),
    b"j": lambda machine: machine.get(machine.number(4)),
    # objects, of which only the names are kept
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _reduce,
    b"\x92": _new_object_with_keywords,
    b"b": _build,
    b"i": _instance,
    b"o": _object,
    b"P": _lined(_opaque),
    b"Q": _persistent,
    b"\x82": _fixed(1, _opaque),
    b"\x83": _fixed(2, _opaque),
    b"\x84": _fixed(4, _opaque),
    b"\x97": _constant(OPAQUE),
    # what changes nothing that we keep: PROTO, FRAME, READONLY_BUFFER
    b"\x80": _protocol,
    b"\x95": lambda machine: machine.take(8),
    b"\x98": _Machine.top,
}
_STEPS = tuple(_BY_OPCODE.get(bytes([opcode])) for opcode in range(256))
