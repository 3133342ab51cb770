"""pydantic's errors as ours: the YAML path, what was found there, what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from bridge.config_file import Location, Tree, path, show
from bridge.errors import Fault
from bridge.setting import UNFIT, Section, is_list, section_of, setting_of, takes_one


def translate(
    error: ValidationError, tree: Tree, root: type[Section], base: Location = ()
) -> Iterator[tuple[Location, Fault]]:
    """Yield each fault with its place. `root` is the section of a whole file, `base` where in it `error` arose."""
    for details in error.errors(include_url=False, include_input=False):
        location, written = _look_up(tree, (*base, *details["loc"]))
        kind, context = details["type"], details.get("ctx", {})
        found = f"found {_shown(root, location, written)}"
        if kind == UNFIT:
            allowed, why = context["allowed"], context["why"]
            found += f" ({why})" if why else ""
        elif kind == "missing":
            found, allowed = "missing", _allowed_at(root, location)
        elif kind == "extra_forbidden":
            found, allowed = "unknown key", _keys_of(_section_at(root, location[:-1]))
        elif kind == "invalid_key":
            found, allowed = "a key that is not text", _keys_of(_section_at(root, location[:-1]))
        else:
            # A mapping or a list was expected; every single value is read by a Setting.
            allowed = _allowed_at(root, location)
        yield location, Fault(path(location), found, allowed)


def _shown(root: type[Section], location: Location, written: object) -> str:
    try:
        setting = setting_of(_field_at(root, location))
    except LookupError:
        setting = None
    return "text that is not shown" if setting is not None and setting.secret and written else show(written)


def _look_up(tree: Tree, location: Location) -> tuple[Location, object]:
    # As far as the file goes: a single URL where a list may stand is reported without an index.
    value: Any = tree.written
    for depth, step in enumerate(location):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step]
        else:
            return location[:depth], value
    return location, value


def _field_at(root: type[Section], location: Location) -> FieldInfo:
    names = [step for step in location if isinstance(step, str)]
    section = root
    for name in names[:-1]:
        section = section_of(section.model_fields[name]) or section
    return section.model_fields[names[-1]]


def _section_at(root: type[Section], location: Location) -> type[Section]:
    return (section_of(_field_at(root, location)) if location else None) or root


def _keys_of(section: type[Section]) -> str:
    return f"the keys {', '.join(section.model_fields)}"


def _allowed_at(root: type[Section], location: Location) -> str:
    field = _field_at(root, location)
    setting, section = setting_of(field), section_of(field)
    allowed = setting.allowed if setting else f"a mapping with {_keys_of(section)}" if section else "nothing"
    if not is_list(field) or isinstance(location[-1], int):
        return allowed
    # A setting of its own beside the list's items (amqp): one of them may stand alone.
    return f"{allowed}; or a list of such" if takes_one(field) else f"a list, each item {allowed}"
