"""From the text of a YAML file to a tree of plain values, secrets filled in, with every fault found on the way.

1. `${NAME}` anywhere in a text value is the environment's; what is not set there is the content of the file NAME in the
   folder that CREDENTIALS_DIRECTORY names, less one newline at the end: systemd's LoadCredential= and the secrets of
   containers are such folders (systemd.exec(5), credentials). Absent and empty are faults, never an empty password.
   `$${` is a plain `${`.
2. Inside a URL such a value stands for itself: it is percent-encoded, so a password may hold `@ : / #`. It is left as
   it is where it names the host, or begins the value (then it is the URL, or its scheme).
3. A value that is `file:/path` as a whole is the content of that file, less one newline at the end. In the path
   `${NAME}` stands for itself: `file:${CREDENTIALS_DIRECTORY}/name`.
4. Faults never show a value that came from outside of the file: they show the file's own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from bridge.address import mask
from bridge.errors import Fault

#: A place in the tree: keys of mappings and indexes of lists, from the root.
Location = tuple[str | int, ...]

_REFERENCE = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<bad>\$\{[^}]*\}?)", re.ASCII)
#: Names the folder with a file for each secret; systemd sets it (systemd.exec(5)).
CREDENTIALS = "CREDENTIALS_DIRECTORY"
#: Longer than this, a found value is cut in a fault.
_SHOWN = 80


@dataclass(frozen=True)
class Tree:
    """What a file says: `written` as it stands there, `filled` with secrets; `faults` by their place."""

    written: object
    filled: object
    faults: dict[Location, Fault]


def read_tree(text: str | bytes, environ: Mapping[str, str]) -> Tree:
    """Return the tree of `text`. A fault of the syntax leaves it empty; faults of secrets leave all else usable."""
    try:
        # Bytes are read here, not by PyYAML, which would take a byte order mark's word for another encoding.
        written = _document(text if isinstance(text, str) else text.decode("utf-8-sig"))
    except _Broken as broken:
        return Tree(None, None, broken.faults)
    except UnicodeDecodeError:
        return _no_tree("", "not UTF-8 text", "a YAML file")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return _no_tree(place, error.problem or "not readable", "valid YAML")
    except (yaml.YAMLError, ValueError) as error:
        # A character that YAML does not have, or a date that the calendar does not have.
        return _no_tree("", str(error).splitlines()[0], "valid YAML")
    if written is None:
        return _no_tree("", "an empty file", "a mapping with at least source: and target:")
    if not isinstance(written, dict):
        return _no_tree("", f"found {show(written)}", "a mapping with at least source: and target:")
    faults: dict[Location, Fault] = {}
    return Tree(written, _fill(written, (), environ, faults), faults)


def path(location: Location) -> str:
    """Return `location` as people write it: `queues.settings[0].canary.rate`."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def show(value: object) -> str:
    """Return how a fault shows a value of the file; credentials in a URL are hidden."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            text = mask(value)
            return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
    return str(value)


class _Broken(Exception):
    """The text is YAML to PyYAML and not to us."""

    def __init__(self, faults: dict[Location, Fault]) -> None:
        super().__init__()
        self.faults = faults


def _no_tree(place: str, found: str, allowed: str) -> Tree:
    return Tree(None, None, {(): Fault(place, found, allowed)})


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but for keys: there `on`, `off`, `yes` and `no` are words, as in YAML 1.2."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Read a mapping; called by the loader."""
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def _document(text: str) -> object:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if doubles := dict(_doubles(node)):
            raise _Broken(doubles)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _doubles(root: yaml.Node) -> Iterator[tuple[Location, Fault]]:
    # YAML's rule (spec 1.2, section 3.2.1.1) is that keys are unique; PyYAML lets the last one win in silence.
    open_nodes: set[int] = set()
    done: set[int] = set()

    def walk(node: yaml.Node, location: Location) -> Iterator[tuple[Location, Fault]]:
        if id(node) in open_nodes:
            yield location, Fault(path(location), "an alias to what it is a part of", "a tree")
        if id(node) in done or not isinstance(node, yaml.CollectionNode):
            return
        done.add(id(node))
        open_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                place = (*location, str(key.value))
                line = key.start_mark.line + 1
                if place[-1] in lines and isinstance(key, yaml.ScalarNode):
                    found = f"the same key twice, in line {lines[str(place[-1])]} and line {line}"
                    yield place, Fault(path(place), found, "each key once")
                lines[str(place[-1])] = line
                yield from walk(value, place)
        else:
            for index, value in enumerate(node.value):
                yield from walk(value, (*location, index))
        open_nodes.discard(id(node))

    return walk(root, ())


def _fill(value: object, location: Location, environ: Mapping[str, str], faults: dict[Location, Fault]) -> object:
    match value:
        case dict():
            return {key: _fill(item, (*location, str(key)), environ, faults) for key, item in value.items()}
        case list():
            return [_fill(item, (*location, index), environ, faults) for index, item in enumerate(value)]
        case str():
            try:
                return _named(value[5:], environ) if value.startswith("file:") else _from_environment(value, environ)
            except _Missing as missing:
                faults[location] = Fault(path(location), f"found {show(value)} ({missing})", missing.allowed)
                return value
    return value


class _Missing(Exception):
    """A secret that is not there; `allowed` is what would do."""

    def __init__(self, why: str, allowed: str) -> None:
        super().__init__(why)
        self.allowed = allowed


def _named(name: str, environ: Mapping[str, str]) -> str:
    """The content of the file that stands behind `file:`."""
    name = _from_environment(name, environ)
    allowed = "file: and the absolute path of a readable file with the value in it"
    if not name.startswith("/"):
        raise _Missing("not an absolute path", allowed)
    try:
        content = _content(name)
    except OSError as error:
        raise _Missing((error.strerror or "not readable").lower(), allowed) from None
    except ValueError:
        raise _Missing("not UTF-8 text, or a path with a null byte", allowed) from None
    if not content.strip():
        raise _Missing("the file is empty", allowed)
    return content


def _content(file: str) -> str:
    return Path(file).read_text(encoding="utf-8").removesuffix("\n")


def _from_environment(text: str, environ: Mapping[str, str]) -> str:
    encoded = _encoded_ranges(text)

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "${"
        name = match["name"]
        if name is None:
            raise _Missing("not a variable", "${NAME}, or $${ for a plain ${")
        found = environ[name] if name in environ else _credential(name, environ)
        if not found:
            raise _Missing(f"{name} is {'not set' if found is None else 'empty'}", _allowed(name, environ))
        return quote(found, safe="") if any(match.start() in span for span in encoded) else found

    return _REFERENCE.sub(value, text)


def _credential(name: str, environ: Mapping[str, str]) -> str | None:
    """What the folder of secrets has under this name; None where there is no such folder or file."""
    folder = environ.get(CREDENTIALS)
    if not folder:
        return None
    allowed = _allowed(name, environ)
    try:
        return _content(f"{folder}/{name}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _Missing(f"{name} in {CREDENTIALS}: {(error.strerror or 'not readable').lower()}", allowed) from None
    except ValueError:
        raise _Missing(f"{name} in {CREDENTIALS}: not UTF-8 text", allowed) from None


def _allowed(name: str, environ: Mapping[str, str]) -> str:
    allowed = f"{name} set in the environment"
    return f"{allowed}, or a file of that name in {CREDENTIALS}" if environ.get(CREDENTIALS) else allowed


def _encoded_ranges(text: str) -> tuple[range, ...]:
    # Where in a URL a value is data: user and password, then vhost and options. The host has its own punctuation.
    separator = text.find("://")
    if separator < 0:
        return ()
    start = separator + 3
    end = min((place for mark in "/?#" if (place := text.find(mark, start)) >= 0), default=len(text))
    return range(start, max(text.rfind("@", start, end), start)), range(end, len(text))
