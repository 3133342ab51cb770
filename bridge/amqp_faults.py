"""One sentence for whatever pika raises when a connection cannot be opened, or is lost."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pika
import pika.exceptions
from pika.adapters.utils import connection_workflow

from bridge.errors import AccessRefused, Unreachable


def where(parameters: pika.connection.Parameters) -> str:
    """An address as people write it, without user and password."""
    return f"{parameters.host}:{parameters.port} vhost {parameters.virtual_host}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """pika wraps the cause of a failed connection several times."""
    yield error
    if isinstance(error, connection_workflow.AMQPConnectionWorkflowFailed):
        for inner in error.exceptions:
            yield from _causes(inner)
    for inner_error in (getattr(error, "exception", None), *error.args):
        if isinstance(inner_error, BaseException):
            yield from _causes(inner_error)


def unreachable(name: str, parameters: pika.connection.Parameters, error: BaseException) -> Unreachable:
    """One sentence for a connection that could not be opened."""
    causes = list(_causes(error))
    cause = causes[-1]
    there = f"{parameters.host}:{parameters.port}"
    user = getattr(parameters.credentials, "username", "?")
    text = reason_of(cause)
    if isinstance(cause, pika.exceptions.ProbableAuthenticationError) or "ACCESS_REFUSED" in text:
        return AccessRefused(
            f'{name}: {there} refused user "{user}": wrong user or password, or no access to '
            f'vhost "{parameters.virtual_host}"',
            hint=f"check the user, password and vhost in {name}.amqp, and the user's permissions on the vhost",
        )
    if isinstance(cause, pika.exceptions.ProbableAccessDeniedError) or "NOT_ALLOWED" in text:
        return AccessRefused(
            f'{name}: vhost "{parameters.virtual_host}" does not exist on {there}, or user "{user}" may not enter it',
            hint=f"check the vhost in {name}.amqp and the user's permissions on it",
        )
    if isinstance(cause, ssl.SSLError):
        return Unreachable(
            f"{name}: TLS with {there} failed: {text}", hint=f"check {name}.tls and the broker's certificate"
        )
    if isinstance(cause, (pika.exceptions.StreamLostError, pika.exceptions.IncompatibleProtocolError)):
        return Unreachable(
            f"{name}: {there} does not speak AMQP 0-9-1: it closed the connection during the handshake",
            hint=f"check the port in {name}.amqp: the HTTP API and TLS have others, and TLS takes amqps://",
        )
    return Unreachable(
        f"{name}: cannot connect to {there}: {text}", hint=f"check {name}.amqp and that the broker is up"
    )


def reason_of(error: BaseException) -> str:
    """The text of an exception as a person would say it."""
    # We never close a connection that is still opening: it is pika, when its time for the handshake is over.
    if isinstance(
        error,
        (TimeoutError, connection_workflow.AMQPConnectorStackTimeout, pika.exceptions.ConnectionOpenAborted),
    ):
        return "no answer in time"
    if isinstance(error, (pika.exceptions.ConnectionClosed, pika.exceptions.ChannelClosed)):
        return f"{error.reply_text} ({error.reply_code})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error.args[0]) if error.args and isinstance(error.args[0], str) else str(error) or type(error).__name__
