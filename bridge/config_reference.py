"""The reference page of the configuration, written from the declarations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from bridge.config import Config
from bridge.setting import Section, is_list, section_of, sentences, setting_of, takes_one

_HEAD = """\
# Configuration

Written from the declarations in `bridge/config_sections.py` and `bridge/config.py` by `bridge config reference`; do not
edit.

`bridge config check FILE` tells what is wrong with a file, everything at once; `bridge config schema` prints a JSON
Schema for editors. Two samples: `config/bridge.minimal.yaml`, and `config/bridge.yaml` with everything.

**Secrets.** `${NAME}` inside any text is taken from the environment; what is not set there is the content of the file
`NAME` in the folder that `CREDENTIALS_DIRECTORY` names (systemd's credentials, a container's secrets). Absent and empty
are faults. A value that is `file:/path` as a whole is the content of that file; the path may hold `${NAME}` as well:
`file:${CREDENTIALS_DIRECTORY}/name`. A file counts without one newline at its end. Inside a URL a `${NAME}`
that stands for user, password, vhost or an option is percent-encoded on the way in, so a password may hold any
character; what is written into a URL by hand is encoded by hand. `$${` is a plain `${`.

**Reload.** `SIGHUP` reads the file again. A file with a fault changes nothing: the daemon says why and goes on. So does
a file that changes what only a restart brings into force: `source`, `target`, `legacy`, `instance`, `admin`, `metrics`,
`export`, `backup`, `celery`.
"""


def reference() -> str:
    """Return the page as Markdown."""
    return "\n".join([_HEAD, *_section(Config, "")]) + "\n"


def _section(section: type[Section], prefix: str) -> Iterator[str]:
    if prefix:
        yield f"## `{prefix}`\n"
        yield f"{(section.__doc__ or '').strip()}\n"
    else:
        yield "## Top level\n"
    yield "| key | what it is | allowed | default |"
    yield "|---|---|---|---|"
    told = sentences(section)
    for name, field in section.model_fields.items():
        cells = (f"`{name}`", told.get(name, ""), _allowed(name, field), _default(field))
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"
    yield ""
    for name, field in section.model_fields.items():
        # `target` has the keys of `source`, and so on: each section once, where it comes first.
        inner = section_of(field)
        if inner is not None and _first_place(inner) == (section, name):
            yield from _section(inner, f"{prefix}.{name}".lstrip(".") + ("[]" if is_list(field) else ""))


def _allowed(name: str, field: FieldInfo) -> str:
    setting, section = setting_of(field), section_of(field)
    if section is not None:
        owner, first = _first_place(section)
        where = f"`{first}`" + ("" if owner is Config else f" of `{owner.__name__.lower()}`")
        text = "see below" if first == name else f"as {where}"
        return f"a list of sections, {text}" if is_list(field) else f"a section, {text}"
    text = setting.allowed if setting else ""
    if not is_list(field):
        return text
    return f"{text}; or a list of such" if takes_one(field) else f"a list, each item {text}"


def _first_place(section: type[Section]) -> tuple[type[Section], str]:
    # Breadth first: a section that the top level has is described for the top level.
    waiting: list[type[Section]] = [Config]
    while waiting:
        owner = waiting.pop(0)
        for name, field in owner.model_fields.items():
            inner = section_of(field)
            if inner is section:
                return owner, name
            if inner is not None:
                waiting.append(inner)
    raise LookupError(section.__name__)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    default: Any = field.get_default()
    if default is None or isinstance(default, Section):
        return ""
    setting = setting_of(field)
    if isinstance(default, tuple):
        return f"`[{', '.join(repr(item) for item in default)}]`".replace("'", '"')
    return f"`{setting.show(default) if setting else default}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
