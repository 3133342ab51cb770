"""The reference of all commands, as Markdown, from click's own declarations; and an example of each.

`EXAMPLES` is what click does not know. A test parses each of them with the command it stands at, so an option that is
renamed is seen.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from bridge.cli import bridge

_HEAD = """\
# Commands

Written from the declarations of the commands by `make docs`; do not edit.

`bridge -c FILE COMMAND`, or `BRIDGE_CONFIG=FILE` in the environment and `bridge COMMAND`. Commands that ask the
running daemon do so over its admin socket, on its host, as its user or root: that of the configuration, or `--socket`.
Results go to standard output, progress and warnings to standard error, and what goes wrong as `error: …` and `hint: …`
([all of them](errors.md)). `--json` is for programs: keys stay from release to release, new ones may come.

| exit code | meaning |
|---|---|
| 0 | done; for questions (`check`, `certify`, `plan`): nothing is in the way |
| 1 | refused, or something is in the way: the text says what |
| 2 | what was typed, or the configuration |
| 3 | a broker, its HTTP API or the daemon does not answer, or does not let the bridge in |
| 130 | interrupted by Ctrl-C |

`BRIDGE_DEBUG=1` in the environment shows where an unexpected error comes from.
"""

#: By command, without `bridge` and `-c FILE`; a line after "# " says what an example is for.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "apply": ("apply", "apply --dry-run"),
    "cancel": ("cancel mail",),
    "canary": (
        "canary mail --rate 20/s --reason 'first look'",
        "canary mail --first 100",
        "canary mail --percent 10%     # inline only",
        "canary mail --task app.send_mail --task 'app.report.*'     # inline only",
    ),
    "certify": ("certify", "certify --json"),
    "changes": ("changes", "changes mail --json"),
    "check": ("check", "check --json"),
    "config check": ("config check bridge.yaml",),
    "config reference": ("config reference",),
    "config schema": ("config schema",),
    "cutover": (
        "cutover --all --dry-run",
        "cutover mail img --reason 'night of the move'",
        "cutover mail --wait --timeout 30m     # until what waits is moved",
        "cutover reports --at 02:30",
        "cutover reports --when-backlog 1000",
        "cutover cron --force     # without workers on the target",
    ),
    "dual": ("dual mail --reason 'compare both'",),
    "duplicates": ("duplicates", "duplicates --json"),
    "health": ("health", "health --ready"),
    "lab down": ("lab down",),
    "lab env": ("lab env", "lab env --json"),
    "lab rehearse": ("lab rehearse --old 3.10 --new 4.3", "lab rehearse --from-scratch --json"),
    "lab up": ("lab up --old 3.10 --new 4.3", "lab up --name mine --same-broker --old 4.3"),
    "legacy": ("legacy mail", "legacy --all"),
    "pause": ("pause mail",),
    "permissions": ("permissions", "permissions --reverse"),
    "plan": (
        "plan",
        "plan --celery     # the settings for the new workers and producers",
        "plan --definitions > definitions.json",
        "plan --time --eta-share 30% --eta-ahead 6h",
    ),
    "quarantine export": ("quarantine export --queue mail --to /tmp/mail",),
    "quarantine list": ("quarantine list", "quarantine list --queue mail --reason too-large"),
    "quarantine redrive": ("quarantine redrive --queue mail --dry-run", "quarantine redrive --all --to source"),
    "quarantine show": ("quarantine show 3f2a",),
    "rate": ("rate", "rate mail 500/s", "rate mail none", "rate --all 2000/s"),
    "replay": (
        "replay --queue mail --since 2h --dry-run",
        "replay --task app.send_mail --since 2026-05-01T12:00 --until 2026-05-01T12:30 --yes",
    ),
    "resume": ("resume mail",),
    "rollback": ("rollback mail --reason 'new image crashes'", "rollback --reverse mail --wait"),
    "run": ("run",),
    "status": ("status", "status --watch", "status --json"),
    "workers cancel": ("workers cancel mail img", "workers cancel mail --wait 2m"),
    "workers list": ("workers list",),
    "workers resume": ("workers resume mail --worker celery@old-1",),
    "workers revoked": ("workers revoked --carry",),
}


def commands(group: click.Group = bridge, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name, by name; a group before those that are in it."""
    context = click.Context(group, info_name=above or "bridge")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield f"{above}{name}", command
            yield from commands(command, f"{above}{name} ")
        elif command is not None:
            yield f"{above}{name}", command


def page() -> str:
    """The whole page."""
    found = list(commands())
    parts = [_HEAD, "| command | |\n|---|---|"]
    parts[-1] += "".join(
        f"\n| [`bridge {name}`](#bridge-{name.replace(' ', '-')}) | {_first(one)} |"
        for name, one in found
        if not isinstance(one, click.Group)
    )
    parts += [_command(name, one) for name, one in found]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _command(name: str, command: click.Command) -> str:
    if isinstance(command, click.Group):
        return f"## `bridge {name}`\n\n{_help(command)}"
    context = click.Context(command, info_name=f"bridge {name}")
    usage = " ".join([f"bridge {name}", *command.collect_usage_pieces(context)])
    lines = [f"## `bridge {name}`", "", f"`{usage}`", "", _help(command), ""]
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    if options:
        lines += ["| option | |", "|---|---|"]
        lines += [f"| {_spelt(one, context)} | {_cell(one, context)} |" for one in options]
        lines.append("")
    lines += ["```console", *(f"$ bridge {example}" for example in EXAMPLES.get(name, ())), "```"]
    return "\n".join(lines)


def _first(command: click.Command) -> str:
    return command.get_short_help_str(200).replace("|", "\\|")


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _spelt(option: click.Option, context: click.Context) -> str:
    value = "" if option.is_flag or option.count else f" {option.make_metavar(context)}"
    return ", ".join(f"`{name}{value}`".replace("|", "\\|") for name in (*option.opts, *option.secondary_opts))


def _cell(option: click.Option, context: click.Context) -> str:
    text = " ".join((option.help or "").split())
    if text.startswith(("{", "[")):
        # The shape of what is printed.
        text = f"Prints `{text}`" if text.endswith(("}", "]")) else f"Prints JSON: {text}"
    default = option.get_default(context, call=False)
    if option.show_default and default is not None:
        text = f"{text} Default: `{default}`."
    if option.required:
        text = f"{text} Needed.".strip()
    return text.replace("|", "\\|")
