"""The commands that steer the running daemon: the verbs, limits, and who changed what.

They ask over the admin socket and print a line for each queue; what is possible is for the daemon to say.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bridge.cli_shared import admin_socket, print_json
from bridge.errors import BridgeError, Exit

if TYPE_CHECKING:
    from bridge.cli_wait import Waited

_F = TypeVar("_F", bound=Callable[..., Any])
#: What `*` stands for in answers and in the journal.
_TOGETHER = "all queues together"
#: What lifts a limit.
_NO_LIMIT = ("none", "off")

_QUEUES = click.argument("queues", nargs=-1, metavar="[QUEUE]...")
_SOCKET = click.option("--socket", metavar="PATH", help="The daemon's admin socket, instead of the configuration's.")
_JSON = click.option("--json", "as_json", is_flag=True, help='{"answers": [...]} or {"error", "hint"}')
_FORCE = click.option("--force", is_flag=True, help="Go without workers on the target; only for queues that are named.")
_AT = click.option("--at", metavar="TIME", help="Not now: 02:30 is the next one by this machine's clock; or ISO 8601.")
_BACKLOG = click.option(
    "--when-backlog",
    type=click.IntRange(0),
    metavar="N",
    help="Not before at most N messages are ready in the old queue.",
)


def _seconds(_ctx: click.Context, _option: click.Parameter, given: str | None) -> float | None:
    from bridge.units import parse_duration

    try:
        return None if given is None else float(parse_duration(given))
    except ValueError:
        raise click.BadParameter(f"found {given!r}; allowed: such as 90s, 10m or 2h") from None


def _waiting(command: _F) -> _F:
    """The options of verbs whose end can be waited for."""
    for option in (
        click.option("--timeout", callback=_seconds, metavar="TIME", help="With --wait: at most so long, such as 10m."),
        click.option("--wait", is_flag=True, help="Until what waits is moved, too; exit code 1 where it will not be."),
    ):
        command = option(command)
    return command


def _common(command: _F) -> _F:
    """The options that every verb has."""
    for option in (
        _SOCKET,
        _JSON,
        click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing."),
        click.option("--reason", metavar="TEXT", help="Why; it stands in the journal."),
        click.option("--all", "everything", is_flag=True, help="All queues in scope."),
        _QUEUES,
    ):
        command = option(command)
    return command


@click.command()
@_common
@_FORCE
@_AT
@_BACKLOG
@_waiting
@click.pass_obj
def cutover(file: str | None, /, **given: Any) -> int:
    """Send everything to the target from now on, each queue through its gate."""
    return _ask("cutover", file, given)


@click.command()
@_common
@_FORCE
@_AT
@_BACKLOG
@click.option("--rate", metavar="RATE", help="At most so many messages, such as 20/s.")
@click.option("--first", type=click.IntRange(1), metavar="N", help="The first N messages and no more.")
@click.option("--percent", metavar="P", help="This share exactly, such as 10%; inline only.")
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="The tasks of this name, or pattern; inline only.")
@click.pass_obj
def canary(file: str | None, /, rate: str | None, first: int | None, percent: str | None, **given: Any) -> int:
    """Send a share to the target, the rest stays with the old workers. Without a share, the configuration's."""
    shares = {"rate": rate, "first": first, "percent": percent, "tasks": list(given.pop("tasks")) or None}
    share = {name: value for name, value in shares.items() if value is not None}
    if len(share) > 1:
        raise click.UsageError("--rate, --first, --percent and --task exclude each other")
    return _ask("canary", file, given, **({"canary": share} if share else {}))


@click.command()
@_common
@_FORCE
@_AT
@_BACKLOG
@click.pass_obj
def dual(file: str | None, /, **given: Any) -> int:
    """Send everything to the legacy side and to the target: every task runs twice. Inline only."""
    return _ask("dual", file, given)


@click.command()
@_common
@click.pass_obj
def legacy(file: str | None, /, **given: Any) -> int:
    """Send nothing to the target from now on: the old workers have it all."""
    return _ask("legacy", file, given)


@click.command()
@_common
@click.option("--reverse", is_flag=True, help="Bring back what waits on the target, the ladder's ETA tasks too.")
@_waiting
@click.pass_obj
def rollback(file: str | None, /, reverse: bool, **given: Any) -> int:
    """Go back to the old workers; with --reverse, bring back what still waits on the target."""
    return _ask("rollback", file, given, **({"reverse": True} if reverse else {}))


@click.command()
@_common
@click.pass_obj
def pause(file: str | None, /, **given: Any) -> int:
    """Move nothing until `resume`; the route stays."""
    return _ask("pause", file, given)


@click.command()
@_common
@click.pass_obj
def resume(file: str | None, /, **given: Any) -> int:
    """Go on after `pause`, on the route the queue has."""
    return _ask("resume", file, given)


@click.command()
@_common
@click.pass_obj
def cancel(file: str | None, /, **given: Any) -> int:
    """Take back what was postponed with --at or --when-backlog."""
    return _ask("cancel", file, given)


@click.command()
@_common
@click.pass_obj
def rate(file: str | None, /, queues: tuple[str, ...], everything: bool, **given: Any) -> int:
    """Limit queues to a rate: `bridge rate mail 500/s`; `none` lifts it.

    --all is one limit for all queues together. Without arguments: the limits that are in force.
    """
    if not queues and not everything:
        return _show_limits(file, given)
    from bridge.units import parse_rate

    *names, limit = queues or ("",)
    try:
        wanted = None if limit.lower() in _NO_LIMIT else limit
        if wanted is not None:
            parse_rate(wanted)
    except ValueError as why:
        raise click.UsageError(
            f"the last word is the rate: found {limit!r} ({why}); allowed: such as 500/s or 300/m, or none"
        ) from None
    return _ask("rate", file, {**given, "queues": tuple(names), "everything": everything}, rate=wanted)


@click.command()
@_QUEUES
@click.option("--json", "as_json", is_flag=True, help='[{"at", "queue", "verb", "before", "after", "by", ...}, ...]')
@_SOCKET
@click.pass_obj
def changes(file: str | None, queues: tuple[str, ...], as_json: bool, socket: str | None) -> None:
    """List who changed what, through which door and why: the last 200, newest last."""
    from bridge.admin_client import fetch_status

    made = fetch_status(admin_socket(file, socket)).get("changes", [])
    listed = [change for change in made if not queues or change["queue"] in queues]
    if as_json:
        print_json(listed)
        return
    for change in listed:
        click.echo(_change_line(change))
    if not listed:
        click.echo("no change is known", err=True)


# -- asking and telling
# --------------------------------------------------------------------------------------------------


def _ask(name: str, file: str | None, given: Mapping[str, Any], **more: Any) -> int:
    """Ask for a verb and print the answers; 1 where a queue was refused."""
    from bridge.admin_client import post
    from bridge.instants import show_instant

    _check_wait(given)
    body, due = _body(given), _due(given.get("at"))
    body |= more | ({} if due is None else {"at": due.isoformat()})
    socket = admin_socket(file, given["socket"])
    try:
        answers = post(socket, name, body)
    except BridgeError as fault:
        if not given["as_json"]:
            raise
        print_json({"error": str(fault), "hint": fault.hint})
        return fault.exit_code
    refused = any(answer["outcome"] == "refused" for answer in answers)
    if not given["as_json"]:
        if due is not None:
            click.echo(f"at {show_instant(due, datetime.now(UTC))}:")
        for answer in answers:
            click.echo(answer_line(answer))
        _tell_sum(answers)
    waited = _wait(socket, answers, given) if given.get("wait") else None
    if given["as_json"]:
        print_json({"answers": answers} | ({} if waited is None else {"waited": waited.as_json()}))
    return Exit.REFUSED if refused or (waited is not None and waited.exit_code) else Exit.DONE


def _check_wait(given: Mapping[str, Any]) -> None:
    if given.get("wait"):
        for name in ("at", "when_backlog", "dry_run"):
            if given.get(name) not in (None, False):
                raise click.UsageError(f"--wait and --{name.replace('_', '-')} exclude each other")
    elif given.get("timeout") is not None:
        raise click.UsageError("--timeout goes with --wait")


def _wait(socket: str, answers: list[dict[str, Any]], given: Mapping[str, Any]) -> Waited:
    """Wait for the queues that were not refused."""
    from bridge import cli_wait
    from bridge.admin_client import fetch_status

    goals = {answer["queue"]: answer["route"] for answer in answers if answer["outcome"] in ("done", "unchanged")}
    waited = cli_wait.wait(goals, lambda: fetch_status(socket), given["timeout"], quiet=given["as_json"])
    if not given["as_json"]:
        cli_wait.tell(waited, given["timeout"])
    return waited


def _body(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a verb in the body, from the options."""
    names = list(given["queues"])
    if bool(names) == bool(given["everything"]):
        raise click.UsageError("name queues or give --all" + (", not both" if names else ""))
    body: dict[str, Any] = {"queues": names} if names else {"all": True}
    for key in ("reason", "dry_run", "force", "when_backlog"):
        value = given.get(key)
        if value is not None and value is not False:
            body[key] = value
    behind = os.environ.get("SUDO_USER")
    if behind and behind != _own_name():
        # The kernel tells the daemon who we are; who is behind sudo only we can say.
        body["by"] = behind
    return body


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _due(text: str | None) -> datetime | None:
    if text is None:
        return None
    from bridge.instants import ALLOWED, parse_instant

    try:
        return parse_instant(text, datetime.now(UTC))
    except ValueError as why:
        raise click.UsageError(f"--at: found {text!r} ({why}); allowed: {ALLOWED}") from None


def answer_line(answer: Mapping[str, Any]) -> str:
    """One answer as one line: queue, outcome, what the route was and is, why, what to do, what can be asked next."""
    queue = _TOGETHER if answer["queue"] == "*" else answer["queue"]
    after = f"{answer['route']}, paused" if answer["paused"] else answer["route"]
    changed = answer["outcome"] in ("done", "would") and answer["before"] != after
    route = f" {answer['before']} -> {after}" if changed else f" {after}" if after else ""
    text = _without_name(answer)
    line = f"{queue}: {answer['outcome']}{route}" + (f": {text}" if text else "")
    if answer["hint"]:
        line += f" ({answer['hint']})"
    return f"{line}; next: {', '.join(answer['next'])}" if answer["next"] else line


def _tell_sum(answers: list[dict[str, Any]]) -> None:
    """For many queues, how many came to what."""
    if len(answers) > 1:
        outcomes = [answer["outcome"] for answer in answers]
        told = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
        click.echo(f"{len(answers)} queues: {told}", err=True)
    elif not answers:
        click.echo("no queue is in scope", err=True)


def _change_line(change: Mapping[str, str]) -> str:
    at = datetime.fromisoformat(change["at"]).astimezone()
    queue = _TOGETHER if change["queue"] == "*" else change["queue"]
    before, after = change["before"], change["after"]
    what = f"{before} -> {after}" if before != after else after
    line = f"{at:%Y-%m-%d %H:%M:%S %z} {queue}: {change['verb']} {change['outcome']} {what}".rstrip()
    line += f", by {change['by']} ({change['door']})"
    if change["reason"]:
        line += f", because: {change['reason']}"
    return f"{line}: {_without_name(change)}" if change["outcome"] == "refused" and change["text"] else line


def _without_name(told: Mapping[str, Any]) -> str:
    """A text about a queue, where the line begins with its name already."""
    text: str = told["text"]
    return text.removeprefix(f'queue "{told["queue"]}": ').removeprefix(f"{_TOGETHER}: ")


def _show_limits(file: str | None, given: Mapping[str, Any]) -> int:
    from bridge.admin_client import fetch_status
    from bridge.units import show_rate

    status = fetch_status(admin_socket(file, given["socket"]))
    limits = {queue["name"]: queue["limit"] for queue in status["queues"] if queue.get("limit") is not None}
    if given["as_json"]:
        print_json({"all": status.get("limit"), "queues": limits})
        return Exit.DONE
    whole = status.get("limit")
    click.echo(f"{_TOGETHER}: {'no limit' if whole is None else f'at most {show_rate(whole)}'}")
    for name, limit in limits.items():
        click.echo(f"{name}: at most {show_rate(limit)}")
    return Exit.DONE
