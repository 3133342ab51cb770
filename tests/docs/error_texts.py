"""Every text with which the code refuses, faults or warns, read from its source.

1. Nothing is imported: a text that is raised in a corner is found as well as one in the main path.
2. What is only known at run time is a place-holder: `{name}` in an f-string, `{…}` where it has no name of its own.
3. A text that is made elsewhere and only passed on (`raise Refused(str(fault))`) has no words here, and is none.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
BRIDGE = ROOT / "bridge"
#: What ends a command or a request though it does not derive from BridgeError. `Refused` of the core is a value, not an
#: exception; Fault is one line of a ConfigError.
OTHERS = {"Denied": "HTTP", "UsageError": "2", "BadParameter": "2", "Fault": "2", "BadState": "1"}
#: Exceptions of which an operator never sees the text by itself.
INNER = frozenset({"ChannelClosed", "Misunderstood"})
#: Rooms that say in a sentence why a queue does not move, or a daemon is not the active one; it stands under `why`.
WHY = (
    "core/copies.py", "core/legs.py", "core/relay.py", "core/throttle.py", "ladder_back.py", "link.py", "links.py",
    "mover.py", "session.py", "shared.py", "standing.py", "state.py", "subscription.py", "throttle.py", "way.py",
)  # fmt: skip
#: Where values are read: what is wrong with one stands in the fault's text, in parentheses.
VALUES = ("address.py", "config_sections.py", "instants.py", "units.py")
EXIT = {"BridgeError": "1", "ConfigError": "2", "Unreachable": "3", "BadRequest": "HTTP", "Faulted": "status"}
#: More than this many alternatives of one text are not written out.
MOST = 8
_NAMED = re.compile(r"([A-Za-z_]\w*)\W*$")
#: A sentence, and neither a name in the code nor a regular expression.
_READ = re.compile(r"^[^\\]*\w \S*\w[^\\]*$")
_PERCENT = re.compile(r"%[-0-9.]*[sdrf]")


@dataclass(frozen=True, order=True)
class Text:
    """One text: its words with place-holders, the hint, how the command ends, and the source file it is in."""

    text: str
    hint: str
    code: str
    room: str

    @property
    def constant(self) -> tuple[str, ...]:
        """The parts between the place-holders that are long enough to search for."""
        return tuple(part for part in (part.strip(" :;,.()\"'") for part in re.split(r"\{[^}]*\}", self.text)) if part)


@lru_cache(maxsize=1)
def _trees() -> dict[Path, ast.Module]:
    return {file: ast.parse(file.read_text()) for file in sorted(BRIDGE.rglob("*.py"))}


@lru_cache(maxsize=1)
def all_texts() -> tuple[Text, ...]:
    """Everything there is, without doubles."""
    trees = _trees()
    codes = _codes(trees.values())
    found = {text for file, tree in trees.items() for text in _of_file(file, tree, codes)}
    said = [one.text + one.hint for one in found if one.code != "why"]
    return tuple(sorted(one for one in found if one.code != "why" or not any(one.text in other for other in said)))


def _codes(trees: Iterable[ast.Module]) -> dict[str, str]:
    """Class name -> exit code, over all classes that derive from BridgeError."""
    codes = {**EXIT, **OTHERS}
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    grown = True
    while grown:
        grown = False
        for node in classes:
            bases = [base.id for base in node.bases if isinstance(base, ast.Name) and base.id in codes]
            if bases and node.name not in codes:
                codes[node.name] = codes[bases[0]]
                grown = True
    # `Refused` under another name, where the core's is meant as well.
    return {**codes, "RefusedError": codes["Refused"]} | dict.fromkeys(INNER, "")


def _of_file(file: Path, tree: ast.Module, codes: dict[str, str]) -> Iterator[Text]:
    room = file.relative_to(ROOT).as_posix()
    for scope, call in _nodes(tree, ()):
        if not isinstance(call, ast.Call):
            if file.name == "config_rules.py" and isinstance(call, ast.Yield) and isinstance(call.value, ast.Tuple):
                yield from _rule(call.value, _Reader(tree, scope), room)
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        reader = _Reader(tree, scope)
        found: Iterable[tuple[str, str, str]]
        if name in ("warning", "error") and isinstance(call.func, ast.Attribute) and _is_log(call.func.value):
            found = ((text, "", "log") for text in reader.read(call.args[0]))
        elif name == "ValueError" and file.name in VALUES and call.args:
            found = ((text, "", "2") for text in reader.read(call.args[0]))
        elif name == "unfit" and (why := next((one.value for one in call.keywords if one.arg == "why"), None)):
            found = ((text, "", "2") for text in reader.read(why))
        elif codes.get(name) and call.args:
            found = _raised(name, call, codes[name], reader)
        else:
            continue
        for text, hint, code in found:
            if re.search(r"[A-Za-z]{2}", re.sub(r"\{[^}]*\}|; allowed: \{allowed\}|\bqueue\b", "", text)):
                yield Text(" ".join(text.split()), " ".join(hint.split()), code, room)
    if room.removeprefix("bridge/") in WHY:
        yield from _sentences(tree, room)


def _rule(broken: ast.Tuple, reader: _Reader, room: str) -> Iterator[Text]:
    """A rule of the configuration yields place, what was found, what is allowed."""
    if len(broken.elts) == 3:
        for found, allowed in itertools.product(reader.read(broken.elts[1]), reader.read(broken.elts[2])):
            yield Text(f"{found}; allowed: {allowed}", "", "2", room)


def _sentences(tree: ast.Module, room: str) -> Iterator[Text]:
    """What has three words and is neither documentation nor an argument of the log."""
    left_out: set[ast.AST] = set()
    for scope, node in _nodes(tree, ()):
        if isinstance(node, ast.Expr) or (isinstance(node, ast.Call) and _is_log(getattr(node.func, "value", None))):
            left_out |= set(ast.walk(node)) if isinstance(node, ast.Call) or _is_text(node.value) else set()
        elif isinstance(node, ast.JoinedStr | ast.Constant) and node not in left_out and _is_text(node):
            left_out |= set(ast.walk(node))
            for text in _Reader(tree, scope).read(node):
                if len(re.findall(r"[A-Za-z']{2,}\b[,:]? ?", re.sub(r"\{[^}]*\}", "", text))) >= 3 and _READ.search(
                    text
                ):
                    yield Text(" ".join(text.split()), "", "why", room)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _raised(name: str, call: ast.Call, code: str, reader: _Reader) -> Iterator[tuple[str, str, str]]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name == "Fault" and len(call.args) == 3:
        for found, allowed in itertools.product(reader.read(call.args[1]), reader.read(call.args[2])):
            yield f"{found}; allowed: {allowed}", "", code
        return
    # Denied begins with the HTTP status; the core's Refused has its hint second.
    first = 1 if name == "Denied" and len(call.args) > 1 else 0
    if name == "ConfigError":
        return
    hint = given.get("hint") or (call.args[first + 1] if len(call.args) > first + 1 else None)
    hints = list(reader.read(hint)) if hint is not None else [""]
    worded = dict.fromkeys(one for one in hints if re.search(r"\w", re.sub(r"\{[^}]*\}", "", one)))
    for text in reader.read(call.args[first]):
        yield text, " / ".join(worded), code


@lru_cache(maxsize=1)
def all_words() -> tuple[frozenset[str], ...]:
    """The words of every text in the source, whatever it is for."""
    found = set()
    for tree in _trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr | ast.Constant) and _is_text(node):
                parts = node.values if isinstance(node, ast.JoinedStr) else [node]
                text = " ".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
                found.add(words(text))
    return tuple(found)


def words(text: str) -> frozenset[str]:
    """What is left of a text when names, numbers and marks may differ."""
    return frozenset(re.findall(r"[a-z]{2,}", text))


@lru_cache(maxsize=1)
def _constants() -> dict[str, list[str]]:
    """Texts that a module names in capitals, for the others; two of one name are none."""
    found: dict[str, set[str]] = {}
    for tree in _trees().values():
        for node in tree.body:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                for target in targets:
                    if isinstance(target, ast.Name) and target.id.isupper():
                        found.setdefault(target.id, set()).add(value.value)
    return {name: list(values) for name, values in found.items() if len(values) == 1}


def _is_log(node: object) -> bool:
    return isinstance(node, ast.Name) and node.id in ("log", "_log", "logger")


def _nodes(node: ast.AST, scope: tuple[ast.AST, ...]) -> Iterator[tuple[tuple[ast.AST, ...], ast.AST]]:
    """Everything, the outer first, with the functions it stands in, the innermost last."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        scope = (*scope, node)
    yield scope, node
    for child in ast.iter_child_nodes(node):
        yield from _nodes(child, scope)


class _Reader:
    """Expressions as text, with names of the same function or module looked up."""

    def __init__(self, tree: ast.Module, scope: tuple[ast.AST, ...]) -> None:
        self._tree = tree
        self._scope = scope

    def read(self, node: ast.expr, depth: int = 0) -> list[str]:
        """The alternatives that an expression can come to."""
        if isinstance(node, ast.Constant):
            return [_PERCENT.sub("{…}", node.value)] if isinstance(node.value, str) else [str(node.value)]
        if isinstance(node, ast.JoinedStr):
            return self._joined([self._part(part, depth) for part in node.values])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._joined([self.read(node.left, depth), self.read(node.right, depth)])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            return self.read(node.left, depth)
        if isinstance(node, ast.IfExp):
            return [*self.read(node.body, depth), *self.read(node.orelse, depth)]
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
            return [text for value in node.values for text in self.read(value, depth)]
        if isinstance(node, ast.Name) and depth < 3:
            named = self._named(node.id, depth) or _constants().get(node.id)
            return named or [f"{{{node.id.strip('_').lower()}}}"]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and depth < 3:
            return self._returned(node.func.id, depth) or [_place_holder(node)]
        return [_place_holder(node)]

    def _part(self, node: ast.expr, depth: int) -> list[str]:
        if not isinstance(node, ast.FormattedValue):
            return [str(node.value)] if isinstance(node, ast.Constant) else self.read(node, depth)
        worded = isinstance(node.value, ast.JoinedStr | ast.IfExp | ast.Call | ast.Constant)
        if worded or (isinstance(node.value, ast.Name) and node.value.id.isupper()):
            return self.read(node.value, depth)
        return [_place_holder(node.value)]

    @staticmethod
    def _joined(parts: list[list[str]]) -> list[str]:
        together = list(itertools.islice(itertools.product(*parts), MOST + 1))
        if len(together) > MOST:
            together = [tuple(part[0] if len(part) == 1 else "{…}" for part in parts)]
        return ["".join(one) for one in together]

    def _named(self, name: str, depth: int) -> list[str]:
        for where in (*reversed(self._scope), self._tree):
            nodes = ast.walk(where) if where is not self._tree else iter(self._tree.body)
            found = [
                text
                for node in nodes
                if (value := _assigned(node, name)) is not None and not _mentions(value, name)
                for text in self.read(value, depth + 1)
            ]
            if found:
                return list(dict.fromkeys(found))
        return []

    def _returned(self, name: str, depth: int) -> list[str]:
        for node in self._tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                inner = _Reader(self._tree, (node,))
                values = [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None]
                texts = [text for value in values for text in inner.read(value, depth + 1)]
                return texts if any(re.search(r"[A-Za-z]", re.sub(r"\{[^}]*\}", "", text)) for text in texts) else []
        return []


def _assigned(node: ast.AST, name: str) -> ast.expr | None:
    if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
        return node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
        return node.value
    if isinstance(node, ast.NamedExpr) and node.target.id == name:
        return node.value
    return None


def _mentions(value: ast.expr, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(value))


def _place_holder(node: ast.expr) -> str:
    """`{x}` for x, a.x, a.b().x; the argument's for calls like str(x); `{…}` for all else."""
    while isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name | ast.Attribute):
        node = node.args[0]
    if isinstance(node, ast.Call):
        node = node.func
    while isinstance(node, ast.Subscript):
        node = node.value
    while isinstance(node, ast.Attribute) and node.attr in ("lower", "strip", "decode", "value"):
        node = node.value.func if isinstance(node.value, ast.Call) else node.value
    name = _NAMED.search(ast.unparse(node)) if isinstance(node, ast.Name | ast.Attribute) else None
    return f"{{{name[1].strip('_')}}}" if name else "{…}"
