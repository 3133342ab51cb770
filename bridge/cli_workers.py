"""The commands towards Celery's workers: `bridge workers list`, `cancel`, `resume`, `revoked`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from bridge.cli_shared import loaded, print_json
from bridge.errors import BridgeError, Exit
from bridge.units import parse_duration, show_duration

if TYPE_CHECKING:
    from bridge.core.old_side import Consumer, Holder
    from bridge.workers_told import Cancelled, Carried, Resumed, Revoked, Survey, Worker

#: Revoked ids that are shown; `--json` has all.
_SHOWN = 20


def _duration(_ctx: click.Context, _option: click.Parameter, value: str) -> float:
    try:
        seconds = parse_duration(value)
    except ValueError:
        seconds = 0
    if not 1 <= seconds <= 600:
        raise click.BadParameter(f'"{value}": allowed is a time such as 30s or 2m, from 1s to 10m')
    return float(seconds)


@click.group()
def workers() -> None:
    """The old workers by Celery's remote control: see them, have them stop consuming, carry revoked tasks over.

    Only what you ask for is done. Workers without remote control, or busy without a pool, do not answer:
    they are named.
    """


_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
_queues = click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
_wait = click.option("--wait", default="30s", show_default=True, callback=_duration, help="How long at most.")


@workers.command("list")
@_json
@click.pass_obj
def list_workers(file: str | None, as_json: bool) -> None:
    """Show the old workers, what each consumes and holds, and who does not answer. Nothing is changed.

    Under it what the daemon last saw of the old side, or what the broker says now if no daemon runs.
    """
    from bridge.workers import Workers

    config = loaded(file)
    found = Workers.old(config).survey()
    seen = _old_side(file)
    if as_json:
        told = asdict(found)
        print_json({**told, "old_side": seen})
        return
    _show(found)
    _show_publishers(seen)


def _old_side(file: str | None) -> dict[str, object]:
    """What the daemon last saw; without one, what can be seen now."""
    from bridge.admin_client import fetch
    from bridge.old_side import watch

    config = loaded(file)
    try:
        told = fetch(config.admin.socket, "old-side")
        if told.get("at"):
            return told
    except BridgeError:
        pass  # no daemon runs here, or not this one
    looks = watch(config, ask=False)
    if looks is None:
        return {"at": None, "fault": "source.api is not set"}
    try:
        looks.look()
    except BridgeError:
        pass  # it is in what it tells
    return looks.as_json()


@workers.command()
@_queues
@_wait
@_json
@click.pass_obj
def cancel(file: str | None, queues: tuple[str, ...], wait: float, as_json: bool) -> int:
    """Have the old workers stop consuming QUEUE..., and see by the broker's count whether they did.

    What they hold already they keep, ETA tasks with it: that comes back when they stop. A worker that is restarted
    consumes again. Exit code 1 if anybody still consumes.
    """
    from bridge.workers import Workers

    results = Workers.old(loaded(file)).cancel(tuple(dict.fromkeys(queues)), wait)
    left = any(one.left for one in results)
    if as_json:
        print_json({"done": not left, "queues": [asdict(one) for one in results]})
        return Exit.REFUSED if left else Exit.DONE
    for one in results:
        _show_cancelled(one, wait)
    for one in results:
        if one.consumed_by:
            names = " ".join(f"--worker {shlex.quote(worker)}" for worker in one.consumed_by)
            click.echo(f"to take it back: bridge workers resume {shlex.quote(one.queue)} {names}")
    return Exit.REFUSED if left else Exit.DONE


@workers.command()
@_queues
@click.option("--worker", "names", metavar="NAME", multiple=True, help="This worker; can be given several times.")
@click.option("--all-workers", "every", is_flag=True, help="Every worker of the vhost, whatever it consumed before.")
@_wait
@_json
@click.pass_obj
def resume(
    file: str | None, queues: tuple[str, ...], names: tuple[str, ...], every: bool, wait: float, as_json: bool
) -> int:
    """Have old workers consume QUEUE... again, those that are named.

    Who consumed a queue before nobody remembers, and a worker that is told to consume a queue does so, also one that
    does not know its tasks: so they are named, as `cancel` printed them. Exit code 1 if one of them does not consume.
    """
    from bridge.workers import Workers

    if bool(names) == every:
        raise click.UsageError("name the workers with --worker NAME, as `cancel` printed them, or say --all-workers")
    chosen = None if every else tuple(dict.fromkeys(names))
    results = Workers.old(loaded(file)).resume(tuple(dict.fromkeys(queues)), chosen, wait)
    missing = any(one.missing or not one.workers for one in results)
    if as_json:
        print_json({"done": not missing, "queues": [asdict(one) for one in results]})
    else:
        for each in results:
            _show_resumed(each, wait)
    return Exit.REFUSED if missing else Exit.DONE


@workers.command()
@click.option("--carry", is_flag=True, help="Have the new workers take these ids for revoked, too.")
@_json
@click.pass_obj
def revoked(file: str | None, carry: bool, as_json: bool) -> int:
    """List the tasks that the old workers know as revoked; with --carry, tell the new workers.

    Ids are only in the memory of workers: a restarted one gets them from the others if there are any, and all forget
    them after three hours. Exit code 1 if somebody did not answer, so that ids may be missing.
    """
    from bridge.workers import Workers

    config = loaded(file)
    found = Workers.old(config).revoked()
    carried = Workers.new(config).take(found.ids) if carry and found.ids else None
    known = bool(found.by_worker) and not found.silent and not found.unread
    complete = known and (carried is None or carried.complete)
    if as_json:
        told = {"ids": found.ids, **asdict(found)}
        print_json({"complete": complete, **told, "carried": None if carried is None else asdict(carried)})
        return Exit.DONE if complete else Exit.REFUSED
    _show_revoked(found)
    if carried is not None:
        _show_carried(carried)
    return Exit.DONE if complete else Exit.REFUSED


# -- for people
# ----------------------------------------------------------------------------------------------------------------


def _show(found: Survey) -> None:
    click.echo(f'{found.side}, vhost "{found.vhost}": {_count(len(found.workers), "worker")}')
    for one in found.workers:
        _show_worker(one)
    for other in found.others:
        click.echo(f"no worker with remote control: {_who(other)} consumes {other.queue} (tag {other.tag})")
    for why in found.unread:
        click.echo(f"somebody answered {why}")
    for what in found.unknown:
        click.echo(f"not known: {what}")


def _show_worker(one: Worker) -> None:
    known = {"yes": "", "": "  DOES NOT ANSWER", "not asked": "  was not asked"}
    answered = known.get(one.answered, f"  answered {one.answered}")
    version = f"Celery {one.version}" if one.version else ""
    details = ", ".join(filter(None, (version, one.host, one.client, one.user and f"user {one.user}")))
    click.echo(f"{one.name}{answered}{f'  ({details})' if details else ''}")
    click.echo(f"  consumes {', '.join(one.queues) or 'nothing'}")
    for queue, numbers in one.held.items():
        parts = [
            f"{numbers[kind]} {text}"
            for kind, text in (("unacked", "unacked"), ("eta", "wait for their ETA"), ("reserved", "for a process"))
            if numbers[kind] is not None
        ]
        if any(numbers.values()):
            click.echo(f"  holds of {queue or 'a queue that it does not tell'}: {', '.join(parts)}")
    if one.revoked:
        click.echo(f"  knows {_count(one.revoked, 'revoked task')}")


def _show_publishers(seen: dict[str, object]) -> None:
    if not seen.get("at"):
        click.echo(f"who publishes is not known: {seen.get('fault')}")
        return
    age = seen.get("age_s")
    click.echo(f"seen {age} s ago" + (f"; since then: {seen['fault']}" if seen.get("fault") else ""))
    flows = seen.get("publishes")
    if not isinstance(flows, list) or not flows:
        click.echo("nobody publishes into an old queue")
        return
    for flow in flows:
        queues = ", ".join(f"{name} {rate:g}/s" for name, rate in flow["queues"].items())
        through = "" if flow["exchange"] is None else f' through exchange "{flow["exchange"] or "(default)"}"'
        click.echo(f"published into {queues}{through}, by")
        for one in flow["publishers"]:
            details = ", ".join(filter(None, (one["client"], f"user {one['user']}")))
            sure = "" if one["certain"] else ", or into another queue"
            click.echo(f"  {one['host']} ({details}): {one['rate']:g}/s{sure}")
        if flow["unnamed"]:
            click.echo(f"  connections that are gone, or dead-lettering: {flow['unnamed']:g}/s")


def _show_cancelled(one: Cancelled, wait: float) -> None:
    told = f"{len(one.workers)} said ok"
    if not one.left:
        click.echo(f"{one.queue}: nobody consumes any more ({_count(one.before, 'consumer')} before, {told})")
    else:
        click.echo(f"{one.queue}: {_count(one.left, 'consumer')} still there after {show_duration(int(wait))} ({told})")
        for each in one.consumers:
            click.echo(f"  {_who(each)}, tag {each.tag}")
    for worker in one.silent:
        click.echo(f"  {worker} did not answer")
    for worker, text in one.errors.items():
        click.echo(f"  {worker}: {text}")
    for held in one.holders:
        click.echo(f"  {_who(held)} still holds {held.unacked} unacked; they come back when it stops")
    for what in one.unknown:
        click.echo(f"  not known: {what}")


def _show_resumed(one: Resumed, wait: float) -> None:
    click.echo(f"{one.queue}: consumed by {', '.join(one.workers) or 'nobody'}")
    for worker, text in one.errors.items():
        click.echo(f"  {worker}: {text}")
    for worker in one.missing:
        click.echo(f"  {worker} does not consume it after {show_duration(int(wait))}")


def _show_revoked(found: Revoked) -> None:
    ids = found.ids
    click.echo(f"{_count(len(ids), 'revoked task')}, known to {_count(len(found.by_worker), 'old worker')}")
    for one in ids[:_SHOWN]:
        click.echo(f"  {one}")
    if len(ids) > _SHOWN:
        click.echo(f"  and {len(ids) - _SHOWN} more, which --json shows")
    _show_missing(found.silent, found.unread, "what only they know is not here")
    for what in found.unknown:
        click.echo(f"not known: {what}")


def _show_carried(carried: Carried) -> None:
    from bridge.workers import MOST_REVOKED

    if not carried.missing:
        click.echo("carried to nobody: no new worker answered")
    else:
        known = f", {carried.ids - carried.new} were known there" if carried.new < carried.ids else ""
        click.echo(f"carried over: {carried.new} of {carried.ids} ids{known}")
    for worker, number in carried.missing.items():
        click.echo(f"  {worker}: knows {carried.ids - number} of {carried.ids}")
    if carried.ids >= MOST_REVOKED:
        click.echo(f"  a worker keeps {MOST_REVOKED} ids: the oldest were pushed out")
    _show_missing(carried.silent, carried.unread, "whether they know the ids is not known")


def _show_missing(silent: Iterable[str], unread: dict[str, str] | object, so: str) -> None:
    silent = list(silent)
    if silent:
        click.echo(f"did not answer: {', '.join(silent)}; {so}")
    for worker, why in dict(unread).items() if isinstance(unread, dict) else ():
        click.echo(f"{worker or 'somebody'} answered {why}; {so}")


def _who(one: Consumer | Holder) -> str:
    details = ", ".join(filter(None, (one.host, one.client, one.user and f"user {one.user}")))
    if one.worker:
        return f"{one.worker} ({details})" if details else one.worker
    return details or "a connection that is not seen"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
