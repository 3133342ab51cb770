"""Bodies of protocol 1 that are written to be dear: in time, in memory, or by what they would run.

Each is as large as it may be and still be read, or lies about its size. What they name to run leaves `CANARY` behind in
the working directory.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import pickle
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import brotli
import msgpack
import zstandard

from bridge.core import bodies, pickles

CANARY = "harmed"

JSON = b"application/json"
YAML = b"application/x-yaml"
MSGPACK = b"application/x-msgpack"
PICKLE = b"application/x-python-serialize"
SIGNED = b"application/data"


class Bomb(NamedTuple):
    """A body, and the properties and the header that say how to read it."""

    name: str
    body: bytes
    content_type: bytes | None
    compression: bytes | None = None
    content_encoding: bytes | None = None


def filled(prefix: bytes, unit: bytes, suffix: bytes = b"", *, size: int) -> bytes:
    """`unit` as often as `size` bytes allow."""
    return prefix + unit * ((size - len(prefix) - len(suffix)) // len(unit)) + suffix


def bombs() -> Iterator[Bomb]:
    """All of them, by format."""
    for kind, make in (
        (JSON, json_bodies),
        (YAML, yaml_bodies),
        (MSGPACK, msgpack_bodies),
        (PICKLE, pickle_bodies),
        (SIGNED, signed_bodies),
    ):
        short = kind.decode().rpartition("-")[2].rpartition("/")[2]
        for name, body in make():
            yield Bomb(f"{short}: {name}", body, kind)
    yield from compressed_bodies()
    yield from mislabelled_bodies()


Named = Iterator[tuple[str, bytes]]


def json_bodies() -> Named:
    """JSON: collections and texts of every cheap kind, numbers, depth, keys."""
    size = bodies.MAX_BODY
    for name, unit in {
        "empty lists": b"[],",
        "lists of one": b"[0],",
        "empty mappings": b"{},",
        "mappings of one": b'{"":0},',
        "mappings of mappings": b'{"":{"":0}},',
        "small numbers": b"1,",
        "floats": b"1e1,",
        "floats that are dear to read": b"9007199254740993.00000000000000000000001e-300,",
        "texts": b'"aa",',
        "texts that are escaped": b'"\\u00e9\\ud83d\\ude00",',
        "integers as long as may be": b"9" * 4300 + b",",
        "infinities": b"Infinity,NaN,-Infinity,",
        "datetimes": b'{"__type__":"datetime","__value__":"2030-01-01T00:00:00"},',
    }.items():
        yield name, filled(b'{"task":"t","args":[', unit, b'0],"eta":"2030-01-01T00:00:00Z"}', size=size)
    yield "etas", filled(b'{"task":"t",', b'"eta":"2030-01-01T00:00:00Z",', b'"args":1}', size=size)
    yield "wide text", '{"task":"\U0001f600","eta":"'.encode() + b"a" * (size - 40) + b'"}'
    keys = b",".join(b'"%x":0' % number for number in range(100_000))
    yield "keys of their own", b'{"task":"t",%s}' % keys
    yield "an eta as long as may be", filled(b'{"task":"t","eta":"', b"2", b'"}', size=size)
    yield "an eta of spaces", filled(b'{"task":"t","eta":"2030-01-01', b" ", b'Z"}', size=size)
    yield "a number that is too long", filled(b'{"task":"t","eta":', b"9", b"}", size=size)
    yield "a depth", filled(b'{"task":', b"[", size=size)
    yield "mappings in a depth", filled(b"", b'{"a":', size=size)
    yield "white space", filled(b'{"task":"t"', b" ", b"}", size=size)
    yield "a byte order mark", b'\xef\xbb\xbf{"task":"t","eta":"x"}'


def yaml_bodies() -> Named:
    """YAML: aliases, depth, flows, scalars and tags, in what libyaml takes longest for."""
    size = bodies.MAX_YAML
    laughs = b"".join(b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 9)) for c in range(ord("b"), ord("z")))
    yield "a billion laughs", b"a: &a [x]\n" + laughs + b"eta: *y\ntask: t\n"
    for name, unit in {
        "entries": b"- a\n",
        "empty entries": b"-\n",
        "mappings": b"- a: b\n",
        "explicit keys": b"- ? a\n  : b\n",
        "anchors": b"- &a a\n",
        "anchored datetimes": b"- &a 2001-01-01 00:00:00\n",
        "anchored numbers": b"- &a 1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1_1\n",
        "aliases": b"- *a\n",
        "tags": b"- !!str a\n",
        "objects": b"- !!python/object/apply:os.system ['touch harmed']\n",
        "names": b"- !!python/name:os.system ''\n",
        "long tags": b"- !<" + b"a" * 1000 + b"> a\n",
        "block texts": b"- |\n  a\n",
        "folded texts": b"- >\n  a\n\n\n\n  b\n",
        "quoted texts": b'- "\\x41\\u0041"\n',
        "comments": b"# a\n",
        "quotes across lines": b"- 'a\n\n\n\n\n  b'\n",
    }.items():
        yield name, filled(b"task: t\nx: &a 1\nargs:\n", unit, b"eta: 2030-01-01\n", size=size)
    yield "keys", filled(b"task: t\n", b"a: 1\n", size=size)
    yield "etas", filled(b"task: t\n", b"eta: 2030-01-01 00:00:00\n", size=size)
    yield "aliased etas", filled(b"task: t\nx: &a 2030-01-01 00:00:00\n", b"eta: *a\n", size=size)
    yield (
        "flows in a row",
        filled(b"task: t\nargs: [", b"[]," * (bodies.MAX_YAML_FLOWS // 2) + b"a," * 60_000, b"]\n", size=size),
    )
    depth = bodies.MAX_YAML_DEPTH - 2
    yield "a flow in a depth", filled(b"task: t\nargs: " + b"[" * depth, b"a,", b"]" * depth + b"\n", size=size)
    yield (
        "mappings in a flow in a depth",
        filled(b"task: t\nargs: " + b"[" * depth, b"a: a,", b"]" * depth + b"\n", size=size),
    )
    yield (
        "explicit keys in a flow in a depth",
        filled(b"task: t\nargs: " + b"[" * depth, b"? a,", b"]" * depth + b"\n", size=size),
    )
    nested = b"".join(b" " * level + b"-\n" for level in range(depth))
    yield "blocks in a depth", filled(b"task: t\nargs:\n" + nested, b" " * depth + b"- a\n", size=size)
    yield "an indentation", filled(b"task: t\nargs:\n", b" ", b"- a\n", size=size)
    yield "one scalar", filled(b"task: t\neta: ", b"a", b"\n", size=size)
    yield "one scalar of many lines", filled(b"task: t\neta: a\n", b"  a\n", size=size)
    yield "one quoted scalar of many lines", filled(b"task: t\neta: 'a\n", b"\n", b"'\n", size=size)
    yield "one block of empty lines", filled(b"task: t\neta: |\n  a", b"\n", size=size)
    yield "dashes", filled(b"", b"- ", size=size)
    yield "question marks", filled(b"", b"? ", size=size)
    yield "colons", filled(b"", b": ", size=size)
    yield "an anchor", filled(b"task: t\neta: &", b"a", b" x\n", size=size)
    yield "directives", filled(b"", b"%TAG !a! tag:a,2000:\n", b"---\neta: a\n", size=size)
    yield "documents", filled(b"task: t\n", b"---\n", size=size)
    yield "a merge", b"x: &x {eta: a}\ntask: t\n<<: *x\n"


def msgpack_bodies() -> Named:
    """msgpack: lengths that lie, depth, extensions, keys without end."""
    size = bodies.MAX_BODY
    most = b"\xdf" + struct.pack(">I", size)

    def keys(unit: bytes) -> bytes:
        count = (size - 5) // len(unit)
        return b"\xdf" + struct.pack(">I", count) + unit * count

    yield "keys", keys(b"\x01\x01")
    yield "etas", keys(b"\xa3eta\x01")
    yield "etas of datetimes", keys(b"\xa3eta\xd6\xff\x00\x00\x00\x01")
    yield "etas of lists", keys(b"\xa3eta\x9f" + b"\x90" * 15)
    yield "keys of datetimes", keys(b"\xd6\xff\x00\x00\x00\x01\x01")
    yield "keys of lists", keys(b"\x9f" + b"\x90" * 15 + b"\x01")
    yield "keys of mappings", keys(b"\x8f" + b"".join(b"%c\x90" % key for key in range(15)) + b"\x01")
    yield "texts as keys", keys(b"\xa1a\x01")
    yield "a value of many", b"\x82\xa4task\xa1t\xa4args\xdd" + struct.pack(">I", size - 20) + b"\x01" * (size - 20)
    yield "a value of mappings", b"\x82\xa4task\xa1t\xa4args\xdd" + struct.pack(">I", 2**19) + b"\x80" * 2**19
    yield "a length that lies", b"\x82\xa4task\xa1t\xa3eta\xdb\xff\xff\xff\xff"
    yield "a list that lies", b"\x82\xa4task\xa1t\xa3eta\xdd\xff\xff\xff\xff" + b"\xdd\xff\xff\xff\xff" * 1000
    yield "a skipped list that lies", filled(b"\x82\xa4task\xa1t\xa1x", b"\xdd\xff\xff\xff\xff", size=size)
    yield "a mapping that lies", filled(most, b"\xdf\xff\xff\xff\xff", size=size)
    yield "an extension that lies", b"\x82\xa4task\xa1t\xa3eta\xc9\xff\xff\xff\xff\x05" + b"x" * 1000
    yield "an extension", b"\x82\xa4task\xa1t\xa3eta\xc9" + struct.pack(">I", size - 30) + b"\x05" + b"x" * (size - 30)
    yield "a depth", filled(b"\x82\xa4task\xa1t\xa1x", b"\x91", size=size)
    yield "a depth in an eta", filled(b"\x82\xa4task\xa1t\xa3eta", b"\x91", size=size)
    yield "a depth in a key", filled(b"\x81", b"\x91", size=size)
    yield "mappings in a depth", filled(b"\x81", b"\x81", size=size)
    yield "bytes behind it", msgpack.packb({"task": "t"}) + b"\xc0" * 1000


class Harm:
    """Unpickled, it leaves the canary behind."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, ...]:
        return self.call[0], self.call[1:]


def pickle_bodies() -> Named:
    """Pickles: as many of every opcode as are read, lengths that lie, and code to run."""
    size = bodies.MAX_BODY
    most = pickles.MAX_OPCODES - 20
    start, stop = b"}(U\x04taskU\x01tU\x04args", b"U\x03etaU\x142030-01-01T00:00:00Zu."

    def many(unit: bytes, opcodes: int, *, before: bytes = b"(", behind: bytes = b"l") -> bytes:
        times = min((size - 100 - len(before)) // len(unit), (most - 10) // opcodes)
        return start + before + unit * times + behind + stop

    for name, unit, opcodes in (
        ("numbers", b"K\x01", 1),
        ("big numbers", b"\x8a\x20" + b"\x7f" * 32, 1),
        ("numbers in lines", b"I12345678\n", 1),
        ("floats in lines", b"F1.5e-300\n", 1),
        ("texts", b"U\x01a", 1),
        ("quoted texts", b"S'a'\n", 1),
        ("escaped texts", b"V\\u00e9\n", 1),
        ("wide texts", b"X\x04\x00\x00\x00\xf0\x9f\x98\x80", 1),
        ("lists", b"]", 1),
        ("mappings", b"}", 1),
        ("tuples of one", b"N\x85", 2),
        ("lists from marks", b"(l", 2),
        ("mappings from marks", b"(d", 2),
        ("mappings of one", b"}NNs", 4),
        ("names", b"c\n\n", 1),
        ("names to run", b"cposix\nsystem\n", 1),
        ("stacked names", b"NN\x93", 3),
        ("calls", b"c\n\n)R", 3),
        ("instances", b"(i\n\n", 2),
        ("objects", b"(cos\nsystem\nN o".replace(b" ", b""), 4),
        ("persistent ids", b"P\n", 1),
        ("extensions", b"\x82\x01", 1),
        ("buffers", b"\x97", 1),
        ("copies", b"N2", 2),
        ("remembered", b"]\x94", 2),
        ("remembered far", b"Nr\xff\xff\xff\x7f", 2),
        ("remembered by line", b"Np123456\n", 2),
        ("built", b"c\n\nNb", 3),
        ("frames that lie", b"\x95\xff\xff\xff\xff\xff\xff\xff\xffN", 2),
        ("marks taken", b"(1", 2),
        ("values taken", b"N0", 2),
        ("appended", b"]Na", 3),
    ):
        yield name, many(unit, opcodes)
    yield "a depth of tuples", many(b"\x85", 1, before=b"(N")
    yield "a depth of lists", many(b"]", 1, before=b"(", behind=b"a" * 10 + b"l")
    yield "marks", many(b"(", 1)
    yield "a depth of calls", many(b")R", 2, before=b"(cos\nsystem\n")
    laughs = b"".join(b"](" + b"h%c" % level * 10 + b"e\x94" for level in range(200))
    yield "a billion laughs", start + b"(]\x94" + laughs + b"l" + stop
    moment = b"cdatetime\ndatetime\n(C\x0a\x07\xee\x01\x01\x00\x00\x00\x00\x00\x00tR"
    first = b"}(U\x04taskU\x01tU\x03eta\x94" + moment + b"\x94"
    yield "etas of datetimes", first + b"h\x00h\x01" * (most // 2 - 10) + b"u."
    yield "etas", b"}(U\x04taskU\x01tU\x03eta\x94U\x142030-01-01T00:00:00Z\x94" + b"h\x00h\x01" * (most // 2) + b"u."
    yield (
        "an eta as long as may be",
        b"}(U\x04taskU\x01tU\x03etaX" + struct.pack("<I", size - 60) + b"2" * (size - 60) + b"u.",
    )
    for name, head in {
        "LONG4 of 2 GiB": b"\x8b\xff\xff\xff\x7f",
        "LONG4 below zero": b"\x8b\xff\xff\xff\xff",
        "BINUNICODE8 that lies": b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
        "BINBYTES8 that lies": b"\x8e\x00\x00\x00\x00\x01\x00\x00\x00",
        "BYTEARRAY8 that lies": b"\x96\x00\x00\x00\x00\x01\x00\x00\x00",
        "BINSTRING below zero": b"T\xff\xff\xff\xff",
    }.items():
        yield name, start + head + b"x" * 1000 + stop
    yield "a number without end", start + b"L" + b"9" * (size - 100) + b"L\n" + stop
    yield "a float without end", start + b"F" + b"9" * (size - 100) + b"\n" + stop
    yield "a text of escapes", start + b"V" + b"\\U0001f600" * (size // 11) + b"\n" + stop
    yield "a memo without end", start + b"Np" + b"9" * (size - 100) + b"\n" + stop
    system, run = __import__("os").system, f"touch {CANARY}"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for name, call in {
            "os.system": (system, run),
            "eval": (eval, f"open('{CANARY}', 'w')"),
            "exec": (exec, f"open('{CANARY}', 'w')"),
            "open": (open, CANARY, "w"),
            "__import__": (__import__, "antigravity"),
        }.items():
            task = {"task": Harm(*call), "args": [Harm(*call)], "eta": Harm(*call), Harm(*call): 1}
            yield f"{name} of protocol {protocol}", pickle.dumps(task, protocol)
        yield f"os.system at the top of protocol {protocol}", pickle.dumps(Harm(system, run), protocol)


def signed_bodies() -> Named:
    """What the `auth` serializer signs: everything once more inside of it."""
    size = bodies.MAX_BODY

    def signed(inner: bytes, kind: bytes = JSON) -> bytes:
        return base64.b64encode(b"\x00\x01".join([b"s", b"s", kind, b"utf-8", inner]))

    inner = size * 3 // 4 - 64
    yield "lists", signed(filled(b'{"task":"t","args":[', b"[0],", b"0]}", size=inner))
    yield "pickled lists", signed(b"}(U\x04taskU\x01tU\x04args(" + b"]" * (pickles.MAX_OPCODES - 20) + b"lu.", PICKLE)
    yield "signed again and again", signed(signed(signed(b"{}", SIGNED), SIGNED), SIGNED)
    yield "separators", base64.b64encode(b"\x00\x01" * (inner // 2))
    yield "types without end", base64.b64encode((b"\x00\x01application/" + b"a" * 64) * (inner // 80))
    yield "types and separators", base64.b64encode((b"\x00\x01application/a\x00\x01" + b"a" * 33) * (inner // 60))
    yield "white space", filled(b"", b"\n", size=size)
    yield "padding", filled(b"AAAA", b"=", size=size)


#: kombu's names of each compression.
PACKERS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "zlib": (b"application/x-gzip", zlib.compress),
    "gzip": (b"gzip", gzip.compress),
    "bz2": (b"application/x-bz2", bz2.compress),
    "lzma": (b"application/x-lzma", lzma.compress),
    "lzma alone": (b"xz", lambda data: lzma.compress(data, lzma.FORMAT_ALONE)),
    "brotli": (b"application/x-brotli", brotli.compress),
    "zstd": (b"application/zstd", zstandard.compress),
}


def compressed_bodies() -> Iterator[Bomb]:
    """Bombs, streams that are dear for their length, and the dearest bodies inside of each compression."""
    chance = random.Random(1)
    noise = chance.randbytes(2**20)
    lists = filled(b'{"task":"t","args":[', b"[0],", b"0]}", size=bodies.MAX_BODY)
    letters = bytes(chance.choice(b"abcdefgh0123") for _ in range(bodies.MAX_BODY - 30))
    for name, (header, pack) in PACKERS.items():
        yield Bomb(f"{name}: zeros", pack(bytes(2**26)), JSON, header)
        yield Bomb(f"{name}: twice", pack(pack(bytes(2**26))), JSON, header)
        yield Bomb(f"{name}: lists", pack(lists), JSON, header)
        yield Bomb(f"{name}: letters", pack(b'{"task":"t","eta":"' + letters + b'"}'), JSON, header)
        # As much noise as its own packing leaves room for.
        cut = bodies.MAX_BODY * 98 // 100
        yield Bomb(f"{name}: noise", pack(noise[:cut]), JSON, header)
        yield Bomb(f"{name}: not one", noise, JSON, header)
        yield Bomb(f"{name}: short of its end", pack(lists)[:-1], JSON, header)
    for header, unit, first, name in (
        (b"gzip", _deflate_blocks(8), b"\x78\x9c", "zlib: blocks of nothing"),
        (b"zstd", b"\x02\x00\x00", b"\x28\xb5\x2f\xfd\x00\x58", "zstd: runs of nothing"),
        (b"zstd", b"\x00\x00\x00", b"\x28\xb5\x2f\xfd\x00\x58", "zstd: blocks of nothing"),
        (b"brotli", b"\x06", b"", "brotli: metadata"),
    ):
        yield Bomb(name, filled(first, unit, size=bodies.MAX_BODY), JSON, header)
    raw = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**16, "lc": 4, "lp": 0, "pb": 2}]
    chunk = lzma.compress(b"a" * 32, lzma.FORMAT_RAW, filters=raw)[:-1]
    start = lzma.compress(b"a" * 32, lzma.FORMAT_XZ, filters=raw)
    at = start.index(chunk)
    yield Bomb("lzma: chunks that start anew", filled(start[:at], chunk, size=bodies.MAX_BODY), JSON, b"xz")
    yield Bomb("lzma: a dictionary of 4 GiB", b"\x5d" + b"\xff" * 4 + b"\xff" * 8 + bytes(1000), JSON, b"xz")
    frame = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=27)).compress
    yield Bomb("zstd: a window of 128 MiB", frame(bytes(2**27)), JSON, b"zstd")
    yield Bomb(
        "zstd: a run", b"\x28\xb5\x2f\xfd\x00\x58" + struct.pack("<I", 2 | (2**17 << 3))[:3] + b"\0", JSON, b"zstd"
    )


def _deflate_blocks(count: int) -> bytes:
    """`count` dynamic blocks (RFC 1951, 3.2.7) whose only code is their end: 90 bits each."""
    fields = [(0, 1), (2, 2), (0, 5), (0, 5), (14, 4)]
    lengths = {18: 1, 1: 1}
    order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1]
    fields += [(lengths.get(symbol, 0), 3) for symbol in order]
    # 138 and 118 lengths of zero, one of 1 for the end, one for the distances; the code of 1 is `0`, that of 18 `1`.
    fields += [(1, 1), (127, 7), (1, 1), (107, 7), (0, 1), (0, 1), (0, 1)]
    number = at = 0
    for _ in range(count):
        for value, size in fields:
            number |= value << at
            at += size
    return number.to_bytes(at // 8, "little") if at % 8 == 0 else b""


def mislabelled_bodies() -> Iterator[Bomb]:
    """Every body as something else than it is."""
    task = {"task": "t", "eta": "2030-01-01T00:00:00Z", "args": []}
    written = [json.dumps(task).encode(), msgpack.packb(task), pickle.dumps(task), b"task: t\neta: 2030-01-01\n"]
    encodings = [None, b"utf-16", b"base64", b"binary", b"rot13", b"\xff", b"utf-7", b"punycode", b"idna", b"zip"]
    for kind in (JSON, YAML, MSGPACK, PICKLE, SIGNED, None, b"", b"application/JSON", b"text/x-python", b"\xff" * 255):
        for number, body in enumerate(written):
            for compression in (None, b"gzip", b"zstd", b"bz2", b"\xff"):
                yield Bomb("mislabelled", body, kind, compression, encodings[number])
    for encoding in encodings:
        yield Bomb("odd encoding", written[0], JSON, None, encoding)
        yield Bomb("odd encoding", base64.b64encode(written[0]), JSON, None, encoding)
