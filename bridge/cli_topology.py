"""The commands that make the target ready: `bridge plan`, `bridge apply`, `bridge permissions`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import click

from bridge import cli_sizing
from bridge.cli_shared import loaded, print_json
from bridge.core.celery_settings import NEWEST, RELEASES
from bridge.core.plan import Plan
from bridge.errors import Exit


@click.command()
@click.option("--json", "as_json", is_flag=True, help='{"target", "steps", "conflicts", "remarks"}')
@click.option("--definitions", "as_definitions", is_flag=True, help="The steps as a definitions.json to import.")
@click.option("--celery", "as_celery", is_flag=True, help="The Celery settings that match, as Python.")
@click.option(
    "--celery-version", type=click.Choice(RELEASES), default=NEWEST, show_default=True, help="Whose settings."
)
@click.option("--time", "as_time", is_flag=True, help="How long the backlog takes to be moved, and what that costs.")
@cli_sizing.options
@click.pass_obj
def plan(
    file: str | None,
    /,
    as_json: bool,
    as_definitions: bool,
    as_celery: bool,
    celery_version: str,
    as_time: bool,
    **sizing: Any,
) -> int:
    """Print what is still to be made on the target: every call, and what it does. Nothing is changed.

    With --time: how long it takes to move what waits, instead. Exit code 1 where something on the target is in the
    way, or with --time where more comes in than can be moved.
    """
    if as_time:
        if as_definitions or as_celery:
            raise click.UsageError("--time, --definitions and --celery exclude each other")
        return cli_sizing.estimate(file, as_json=as_json, **sizing)
    if given := [name for name, value in sizing.items() if value is not None]:
        raise click.UsageError(f"--{given[0].replace('_', '-')} goes with --time")
    from bridge.applying import survey
    from bridge.core import celery_settings
    from bridge.core.plan import definitions

    if as_json + as_definitions + as_celery > 1:
        raise click.UsageError("--json, --definitions and --celery exclude each other")
    config = loaded(file)
    seen = survey(config)
    found = seen.plan(config.instance)
    if as_json:
        print_json(found.as_json())
    elif as_definitions:
        print_json(definitions(found))
    elif as_celery:
        target = seen.target
        click.echo(celery_settings.settings(found.wanted, target.name, target.version, celery_version), nl=False)
    else:
        for line in _told(found):
            click.echo(line)
    return Exit.REFUSED if found.conflicts else Exit.DONE


@click.command()
@click.option("--json", "as_json", is_flag=True, help='{"target", "done", "skipped", "left", "fault", ...}')
@click.option("--dry-run", is_flag=True, help="Carry every step out on a recorder: the target is not changed.")
@click.pass_obj
def apply(file: str | None, as_json: bool, dry_run: bool) -> int:
    """Make what the plan says on the target, step by step, up to the first that fails. It can be run again.

    Exit codes: 0 all is there, 1 something is in the way or not allowed, 3 a broker does not answer.
    """
    from bridge.applying import carry_out, survey, target_api
    from bridge.management import Recorder
    from bridge.progress import counted

    config = loaded(file)
    seen = survey(config)
    found = seen.plan(config.instance)
    changes = Recorder() if dry_run else target_api(config)
    with counted(len(found.steps), quiet=as_json) as tell:
        outcome = carry_out(found, changes, seen.target.permissions, lambda step, number: tell(number, step.sentence))
    if as_json:
        print_json({"dry_run": dry_run, **outcome.as_json()})
        return outcome.exit_code
    groups = {
        "would be done" if dry_run else "done": outcome.done,
        "left out for want of a right, the bridge can do without": outcome.skipped,
        "not done": outcome.left,
    }
    for title, steps in groups.items():
        if steps:
            click.echo(f"{title}: {len(steps)} {'step' if len(steps) == 1 else 'steps'}")
            for step in steps:
                click.echo(f"  {step.sentence}")
    for remark in found.remarks:
        click.echo(f"note: {remark}")
    if outcome.fault is not None:
        raise outcome.fault
    if not outcome.done and not outcome.skipped:
        click.echo(f'vhost "{found.vhost}": nothing to do')
    return Exit.DONE


@click.command()
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='{"source", "target", "apply"}, inline "legacy": configure, write, read, tag',
)
@click.option("--reverse", is_flag=True, help="Also what `rollback --reverse` needs, to bring tasks back.")
@click.pass_obj
def permissions(file: str | None, as_json: bool, reverse: bool) -> None:
    """Print the least rights that the bridge's users need on both sides, for the queues that are in scope now."""
    from bridge.applying import wanted_rights

    config = loaded(file)
    rights = wanted_rights(config, reverse=reverse)
    if as_json:
        print_json(rights.as_json())
        return
    sides = [
        ("source: the daemon", config.source, rights.source),
        ("target: the daemon", config.target, rights.target),
        ("target: the daemon and `bridge apply`", config.target, rights.apply),
    ]
    if config.legacy is not None and rights.legacy is not None:
        sides.append(("legacy: the daemon", config.legacy, rights.legacy))
    for title, broker, grant in sides:
        address = broker.amqp[0]
        words = [
            *("rabbitmqctl", "set_permissions", "-p", address.vhost, address.user),
            *(grant.configure, grant.write, grant.read),
        ]
        click.echo(f"# {title}; for the HTTP API the tag {grant.tag}")
        click.echo(shlex.join(words))


def _told(found: Plan) -> Iterator[str]:
    """A plan as people read it."""
    if not found.steps and not found.conflicts:
        yield f'vhost "{found.vhost}": nothing to do'
    elif found.steps:
        yield f'vhost "{found.vhost}": {len(found.steps)} steps; nothing is changed before `bridge apply`'
    for number, step in enumerate(found.steps, 1):
        yield f"{number:4}. {step.sentence}{' (optional)' if step.optional else ''}"
        yield f"      {step.method} /api/{step.path} {json.dumps(dict(step.body), ensure_ascii=False)}"
    for conflict in found.conflicts:
        yield f"in the way: {conflict}"
        yield f"      {conflict.todo}"
    for remark in found.remarks:
        yield f"note: {remark}"
