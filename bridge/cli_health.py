"""The command `bridge health`: what a container's health check asks."""

from __future__ import annotations

from http import HTTPStatus

import click

from bridge.cli_shared import admin_socket
from bridge.errors import Exit, Refused


@click.command()
@click.option("--ready", is_flag=True, help="Whether it does its work, or has a reason not to.")
@click.option("--socket", metavar="PATH", help="The daemon's admin socket, instead of the configuration's.")
@click.pass_obj
def health(file: str | None, ready: bool, socket: str | None) -> int:
    """Say whether the daemon lives: exit 0 if it does, 1 if something in it hangs, 3 if it does not answer.

    What `GET /livez` and `GET /readyz` say, over the admin socket.
    """
    from bridge.admin_client import fetch_text

    where = "/readyz" if ready else "/livez"
    code, text = fetch_text(admin_socket(file, socket), where)
    told = text.strip()
    if code == HTTPStatus.OK:
        click.echo(told)
        return Exit.DONE
    if code == HTTPStatus.SERVICE_UNAVAILABLE:
        click.echo(told, err=True)
        return Exit.REFUSED
    raise Refused(f"{where}: the daemon answered HTTP {code}", hint="is it of the same version as this command?")
