"""The few entries of a task's body that say when it is due, for every serializer and compression that kombu knows.

Only protocol 1 (Celery 3.1, or `task_protocol=1`) and its hybrid with protocol 2 keep them there; others stay closed.
What is read here decides about a delay and nothing else: the body itself moves as bytes.

1. **Read as the worker reads it** (kombu's registry, semantics.md section 4): by content type, and by the `compression`
   header. What no worker can take for a task has no entries: an empty body, plain text, raw data. A type that kombu
   does not have may be a serializer of the application's own: Unreadable.
2. **Within caps**, because whoever can publish chooses the bytes, and one body must stop neither memory nor the loop.
3. **Every fault is Unreadable**, the libraries' own included: what cannot be read moves at once, unchanged.
4. `application/data` is raw data, or what Celery's `auth` serializer signed. Of that the content inside is read; its
   signature is not checked here, for the worker does that.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime

import brotli
import msgpack

# A parser of bytes here: the configuration is read elsewhere.
import yaml
import zstandard

from bridge.core import pickles

#: Bytes of a body that are read at most, as it came and decompressed. The dearest JSON of that size, lists of one
#: number, takes 45 ms and 8 MiB (msgpack 60 ms): meanwhile nothing else moves, heartbeats included.
MAX_BODY = 2**18
#: The same for YAML, 60 ms of the dearest: libyaml needs ten times as long for a byte as the JSON parser.
MAX_YAML = 2**15
#: Openings of YAML flow collections: libyaml's time is their depth times the length (1 MiB of `[` takes many minutes).
MAX_YAML_FLOWS = 1000
#: Characters of a YAML scalar that can be an ETA or a key that we look for.
MAX_YAML_SCALAR = 64
#: Depth of YAML collections: in a flow, libyaml looks at every open one for each token.
MAX_YAML_DEPTH = 50
#: Items of a msgpack collection as key or ETA. Neither can be one: this bounds what is built before it is refused.
MAX_MSGPACK_ITEMS = 16
#: Memory for the dictionary of an LZMA stream; kombu's own, of the default preset, need 9 MiB.
MAX_LZMA_MEMORY = 2**25
#: Window of a zstandard stream, what RFC 8878 recommends to support.
MAX_ZSTD_WINDOW = 2**23
#: Bytes given to zstandard at once: 4 of them can make a block of 128 KiB, so these make 2 MiB at most.
ZSTD_FED = 64

#: The keys we look for: a task has `task`, a hybrid has `args`, either may have `eta`.
KEYS = frozenset({"task", "args", "eta"})

#: Content encodings that JSON may name beside UTF-8, which is what kombu reads whatever is named.
_TEXT_ENCODINGS = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso-8859-1", "latin-1", "windows-1252"})
#: Content that kombu hands on as text or bytes, so that no worker finds a task in it.
_PLAIN = re.compile(rb"text/.*|application/text")
#: Content type and encoding of what was signed, between Celery's separators; signer and signature stand before them.
_SIGNED = re.compile(rb"\x00\x01(application/[!-~]{1,64})\x00\x01([!-~]{0,32})\x00\x01")
#: A YAML directive: none is written by a serializer, and libyaml compares each %TAG with all before it.
_YAML_DIRECTIVE = re.compile(rb"^%", re.MULTILINE)
#: libyaml's parser where PyYAML has it, ten times as fast.
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_YAML_RESOLVER = yaml.resolver.Resolver()
_YAML_CONSTRUCTOR = yaml.constructor.SafeConstructor()


class Unreadable(Exception):
    """When a task is due cannot be told; the text says why. Its message moves at once, unchanged."""


class Opaque:
    """A value that is neither text, bytes, a datetime nor null, so never an ETA: a collection, a number, an object."""


OPAQUE = Opaque()
#: The key `<<`.
_YAML_MERGE = Opaque()

Entries = dict[str, object]


def top_level(
    body: bytes, content_type: bytes | None, content_encoding: bytes | None, compression: bytes | None
) -> Entries:
    """Return those entries of a body's top-level mapping that are in KEYS: None, str, bytes, datetime or OPAQUE.

    Empty when the body is not a mapping or has none of the keys. Raises Unreadable.
    """
    kind = content_type or b"application/data"
    if not body or _PLAIN.fullmatch(kind):
        return {}
    read = _READERS.get(kind)
    if read is None:
        raise Unreadable(f"content type {kind[:64]!r}: no serializer of kombu's")
    try:
        return read(decompress(body, compression), content_encoding)
    except Unreadable:
        raise
    except Exception as fault:
        # Whatever the bytes made a parser raise, be it a RecursionError: this message moves unread, the relay goes on.
        raise Unreadable(f"body of {kind[:64]!r}: {type(fault).__name__}: {str(fault)[:200]}") from fault


def decompress(body: bytes, compression: bytes | None) -> bytes:
    """Return a body as it was before the compression that its header names.

    Raises Unreadable, or what the compression's library raises.
    """
    if len(body) > MAX_BODY:
        raise Unreadable(f"body of {len(body)} bytes: up to {MAX_BODY} are read")
    if not compression:
        return body
    make = _COMPRESSIONS.get(compression)
    if make is None:
        raise Unreadable(f"compression {compression[:64]!r}: none of kombu's")
    return _whole(*make(body))


def _whole(part: bytes, complete: bool) -> bytes:
    """Return what came out of a compressed stream that was allowed one byte more than the cap."""
    if len(part) > MAX_BODY:
        raise Unreadable(f"the body decompresses to more than {MAX_BODY} bytes")
    if not complete:
        raise Unreadable("the compressed body is cut short")
    return part


def _zlib(body: bytes) -> tuple[bytes, bool]:
    """What kombu calls gzip is zlib; real gzip is taken as well."""
    stream = zlib.decompressobj(wbits=47)
    return stream.decompress(body, MAX_BODY + 1), stream.eof


def _bz2(body: bytes) -> tuple[bytes, bool]:
    stream = bz2.BZ2Decompressor()
    return stream.decompress(body, MAX_BODY + 1), stream.eof


def _lzma(body: bytes) -> tuple[bytes, bool]:
    stream = lzma.LZMADecompressor(memlimit=MAX_LZMA_MEMORY)
    return stream.decompress(body, MAX_BODY + 1), stream.eof


def _brotli(body: bytes) -> tuple[bytes, bool]:
    stream = brotli.Decompressor()
    return stream.process(body, output_buffer_limit=MAX_BODY + 1), stream.is_finished()


def _zstandard(body: bytes) -> tuple[bytes, bool]:
    """zstandard has no limit on what one call puts out, so it gets a few bytes at a time."""
    stream = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()
    parts: list[bytes] = []
    room = MAX_BODY
    for at in range(0, len(body), ZSTD_FED):
        parts.append(stream.decompress(body[at : at + ZSTD_FED]))
        room -= len(parts[-1])
        if stream.eof or room < 0:
            break
    return b"".join(parts), stream.eof


#: kombu's names and aliases (`kombu.compression`).
_COMPRESSIONS: dict[bytes, Callable[[bytes], tuple[bytes, bool]]] = {
    **dict.fromkeys((b"application/x-gzip", b"gzip", b"zlib"), _zlib),
    **dict.fromkeys((b"application/x-bz2", b"bzip2", b"bzip"), _bz2),
    **dict.fromkeys((b"application/x-brotli", b"brotli"), _brotli),
    **dict.fromkeys((b"application/x-lzma", b"lzma", b"xz"), _lzma),
    **dict.fromkeys((b"application/zstd", b"zstd", b"zstandard"), _zstandard),
}


def _kept(value: object) -> object:
    return value if value is None or isinstance(value, str | bytes | datetime) else OPAQUE


def _json(body: bytes, content_encoding: bytes | None) -> Entries:
    encoding = (content_encoding or b"").decode("ascii", "replace").lower()
    top = json.loads(body.decode(encoding if encoding in _TEXT_ENCODINGS else "utf-8"))
    if not isinstance(top, dict):
        return {}
    return {key: _json_value(value) for key, value in top.items() if key in KEYS}


def _json_value(value: object) -> object:
    match value:
        case {"__type__": "datetime", "__value__": str(text), **rest} if not rest:
            # How kombu 5.3 and later write a datetime; it reads it by fromisoformat too.
            return datetime.fromisoformat(text)
    return _kept(value)


def _msgpack(body: bytes, _encoding: bytes | None) -> Entries:
    """Skip what is not looked for: skipping builds nothing, so lengths that lie cost nothing."""
    if body[0] >> 4 != 0x8 and body[0] not in (0xDE, 0xDF):
        return {}
    unpacker = msgpack.Unpacker(
        raw=False, strict_map_key=False, max_array_len=MAX_MSGPACK_ITEMS, max_map_len=MAX_MSGPACK_ITEMS,
        max_buffer_size=MAX_BODY,
    )  # fmt: skip
    unpacker.feed(body)
    entries: Entries = {}
    for _ in range(unpacker.read_map_header()):
        key = unpacker.unpack()
        if key in ("eta", "task"):
            entries[key] = _kept(unpacker.unpack())
        else:
            unpacker.skip()
            if isinstance(key, str) and key in KEYS:
                entries[key] = OPAQUE
    if unpacker.tell() != len(body):
        raise Unreadable("bytes behind the msgpack value")
    return entries


def _pickle(body: bytes, _encoding: bytes | None) -> Entries:
    pairs = pickles.top_level_mapping(body) or ()
    # The last of each key first: a datetime that is set again and again is read once.
    last = {key: value for key, value in pairs if isinstance(key, str) and key in KEYS}
    return {key: _kept(pickles.moment(value) or value) for key, value in last.items()}


def _yaml(body: bytes, _encoding: bytes | None) -> Entries:
    if len(body) > MAX_YAML:
        raise Unreadable(f"YAML of {len(body)} bytes: up to {MAX_YAML} are read")
    if body.count(b"[") + body.count(b"{") > MAX_YAML_FLOWS or _YAML_DIRECTIVE.search(body):
        raise Unreadable("YAML with directives or too many flow collections")
    nodes = list(_yaml_top(body))
    keys, values = nodes[::2], nodes[1::2]
    entries = {
        key: _kept(value) for key, value in zip(keys, values, strict=True) if isinstance(key, str) and key in KEYS
    }
    if _YAML_MERGE in keys and "eta" not in entries:
        raise Unreadable("YAML that merges another mapping into the task")
    return entries


def _yaml_top(body: bytes) -> Iterator[object]:
    """Keys and values of the top-level mapping in turn, from the parser's events.

    Nothing is composed: an alias is a name here, and never what it would expand to.
    """
    anchors: dict[str, object] = {}
    documents = depth = 0
    mapping = False
    for event in yaml.parse(body, Loader=_YAML_LOADER):
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.NodeEvent):
            value = _yaml_value(event, anchors, wanted=depth == 1)
            if depth == 1 and mapping:
                yield value
            if isinstance(event, yaml.CollectionStartEvent):
                mapping = mapping if depth else isinstance(event, yaml.MappingStartEvent)
                depth += 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        if depth > MAX_YAML_DEPTH or documents > 1:
            raise Unreadable(f"YAML of more than one document, or nested deeper than {MAX_YAML_DEPTH}")


def _yaml_value(event: yaml.NodeEvent, anchors: dict[str, object], *, wanted: bool) -> object:
    if isinstance(event, yaml.AliasEvent):
        return anchors.get(event.anchor or "", OPAQUE)
    value = _yaml_scalar(event) if isinstance(event, yaml.ScalarEvent) and (wanted or event.anchor) else OPAQUE
    if event.anchor:
        anchors[event.anchor] = value
    return value


def _yaml_scalar(event: yaml.ScalarEvent) -> object:
    """The value that safe_load would give the scalar, as far as it can be a key or an ETA."""
    if len(event.value) > MAX_YAML_SCALAR:
        return OPAQUE
    tag = event.tag
    if tag is None or tag == "!":
        tag = _YAML_RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
    match tag.removeprefix("tag:yaml.org,2002:"):
        case "str":
            return event.value
        case "null":
            return None
        case "merge":
            return _YAML_MERGE
        case "timestamp":
            return _YAML_CONSTRUCTOR.construct_yaml_timestamp(yaml.ScalarNode(tag, event.value))
    return OPAQUE


def _signed(body: bytes, _encoding: bytes | None) -> Entries:
    try:
        match = _SIGNED.search(base64.b64decode(body))
    except binascii.Error:
        return {}
    if match is None or match[1] == b"application/data":
        return {}
    return top_level(match.string[match.end() :], match[1], match[2], None)


_READERS: dict[bytes, Callable[[bytes, bytes | None], Entries]] = {
    b"application/json": _json,
    b"application/x-yaml": _yaml,
    b"application/x-msgpack": _msgpack,
    b"application/x-python-serialize": _pickle,
    b"application/data": _signed,
}
