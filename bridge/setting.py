"""One declaration per setting, from which faults, schema and reference page come.

A setting is a field of a `Section`: its type carries a `Setting` (how it is read, what is allowed, how it is shown),
its default stands beside it, the docstring below it is its sentence.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.fields import FieldInfo
from pydantic.plugin import _loader as plugins
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

# For the first section pydantic would ask the metadata of every installed distribution for plugins: 15 ms of every
# start, and none is wanted.
plugins._plugins = {}  # noqa: SLF001

#: The type of the faults that a `Setting` or a section's own check finds.
UNFIT = "unfit"


class Section(BaseModel):
    """A mapping of the configuration: unknown keys are faults, a key without a value counts as absent."""

    # The sentences are read when somebody asks for them: pydantic would read the source of every section at the start
    # of every command, which is a tenth of a second.
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _absent(cls, given: Any) -> Any:
        # `tls:` with every line below it commented out means the same as no tls: at all.
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if value is not None or key not in cls.model_fields}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        told: dict[str, Any] = handler(schema)
        settings = handler.resolve_ref_schema(told)["properties"]
        for name, sentence in sentences(cls).items():
            settings[name]["description"] = sentence
        return told


def sentences(section: type[Section]) -> dict[str, str]:
    """What each setting of a section is, from the docstring below it; the section's source must be there."""
    source = ast.parse(textwrap.dedent(inspect.getsource(section)))
    found = {}
    for field, below in itertools.pairwise(node for top in source.body for node in ast.iter_child_nodes(top)):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            found[field.target.id] = inspect.cleandoc(ast.literal_eval(below.value))
    return found


@dataclass(frozen=True, eq=False)
class Setting:
    """How one setting is read: `parse` raises ValueError for what is not `allowed`; `show` is the way back."""

    parse: Callable[[Any], Any]
    allowed: str
    schema: dict[str, Any]
    show: Callable[[Any], str] = str
    #: Whether a fault must not show what was found.
    secret: bool = False

    def check(self, value: object) -> object:
        """Return the parsed `value`, or the fault that says why not."""
        try:
            return self.parse(value)
        except ValueError as error:
            raise unfit(self.allowed, why=str(error)) from None

    def _plain(self, value: object) -> object:
        # For the defaults in the JSON Schema.
        return value if isinstance(value, int | float | str) else self.show(value)

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.check, serialization=core_schema.plain_serializer_function_ser_schema(self._plain)
        )

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


def unfit(allowed: str, *, why: str = "") -> PydanticCustomError:
    """A fault of a value: what is allowed instead, and what is wrong with it where that is not plain to see."""
    return PydanticCustomError(UNFIT, "{why}; {allowed}", {"allowed": allowed, "why": why})


def whole(low: int, high: int) -> Setting:
    """A whole number from `low` to `high`, both included."""

    def parse(value: object) -> int:
        # A number from the environment arrives as text. True is an int to Python, not to people.
        if isinstance(value, str) and value.strip().removeprefix("-").isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return Setting(parse, f"a whole number from {low} to {high}", {"type": "integer", "minimum": low, "maximum": high})


def text_of(
    allowed: str, parse: Callable[[str], Any], *, show: Callable[[Any], str] = str, secret: bool = False, **schema: Any
) -> Setting:
    """Text that `parse` accepts; other kinds of values are refused before it."""

    def read(value: object) -> Any:
        if not isinstance(value, str) or not value:
            raise ValueError
        return parse(value)

    return Setting(read, allowed, {"type": "string", "minLength": 1, **schema}, show, secret)


def one_of(choices: type[StrEnum]) -> Setting:
    """One of the words of an enumeration."""
    words = [choice.value for choice in choices]

    def parse(value: object) -> StrEnum:
        if value not in words:
            raise ValueError
        return choices(value)

    return Setting(parse, " | ".join(words), {"type": "string", "enum": words})


def _parse_switch(value: object) -> bool:
    words = {True: True, False: False, "true": True, "false": False}
    if not isinstance(value, bool | str) or value not in words:
        raise ValueError
    return words[value]


#: A list that may be written as its only item.
ONE_OR_MORE = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
#: On or off.
SWITCH = Setting(_parse_switch, "true | false", {"type": "boolean"}, lambda value: str(value).lower())


def is_pattern(name: str) -> bool:
    """Whether the name of a queue is a shell pattern, as `fnmatch` reads it."""
    return any(mark in name for mark in "*?[")


def setting_of(field: FieldInfo) -> Setting | None:
    """The `Setting` that `field` is declared with; none for a section or a list of them."""
    return next((item for item in _parts(field.rebuild_annotation()) if isinstance(item, Setting)), None)


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section that `field` holds, alone or as a list."""
    parts = _parts(field.rebuild_annotation())
    return next((part for part in parts if isinstance(part, type) and issubclass(part, Section)), None)


def is_list(field: FieldInfo) -> bool:
    """Whether `field` holds a list, each item read by itself."""
    return _is_list(field.rebuild_annotation())


def takes_one(field: FieldInfo) -> bool:
    """Whether a list may be written as its only item."""
    return ONE_OR_MORE in field.metadata


def _is_list(annotation: Any) -> bool:
    # A setting that reads a list as a whole (a command) is one value.
    if any(isinstance(item, Setting) for item in getattr(annotation, "__metadata__", ())):
        return False
    return getattr(annotation, "__origin__", None) is tuple or any(map(_is_list, get_args(annotation)))


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    yield from getattr(annotation, "__metadata__", ())
    for argument in get_args(annotation):
        yield from _parts(argument)
