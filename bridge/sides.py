"""From the configuration of a side to the connections, the API and the ladder of that side."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable
from typing import Any

import pika

from bridge import delayed
from bridge.amqp import HEARTBEAT, Connection
from bridge.config_sections import Broker
from bridge.depths import Place
from bridge.errors import ConfigError, Fault
from bridge.management import Management


def context(name: str, broker: Broker) -> ssl.SSLContext:
    """The TLS of a side.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    tls = broker.tls
    try:
        made = ssl.create_default_context(cafile=tls.ca)
        if tls.cert is not None:
            made.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as fault:
        found = f"found files that cannot be used ({fault.strerror or fault})"
        raise ConfigError("configuration", [Fault(f"{name}.tls", found, "PEM files the daemon may read")]) from None
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def connection(name: str, broker: Broker, instance: str) -> Callable[..., Connection]:
    """A maker of the AMQP connection of a side; `receive` is its one argument."""
    addresses = []
    for address in broker.amqp:
        parameters = address.parameters()
        if parameters.heartbeat is None:
            parameters.heartbeat = HEARTBEAT
        parameters.client_properties = {"connection_name": f"bridge {instance} {name}"}
        if address.tls and "ssl_options" not in address.url:
            parameters.ssl_options = pika.SSLOptions(context(name, broker), address.host)
        addresses.append(parameters)
    return functools.partial(Connection, name, addresses)


def kombu_tls(broker: Broker, host: str) -> dict[str, Any]:
    """What kombu's `ssl` takes for the TLS of a side; it makes a context of its own (amqp.transport.SSLTransport)."""
    tls = broker.tls
    given: dict[str, Any] = {"ca_certs": tls.ca, "certfile": tls.cert, "keyfile": tls.key}
    if tls.verify:
        # A host name turns the check of names on, which cannot be where nothing is checked.
        return {**given, "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": host}
    return {**given, "cert_reqs": ssl.CERT_NONE}


def management(name: str, broker: Broker) -> Management | None:
    """The HTTP API of a side, if it has one."""
    if broker.api is None:
        return None
    tls = broker.tls
    cert = (tls.cert, tls.key or tls.cert) if tls.cert is not None else None
    return Management(name, broker.api, *broker.api_login(), tls.verify and (tls.ca or True), cert)


def place(name: str, broker: Broker) -> Place | None:
    """The vhost of a side with the HTTP API of its broker; None where there is no API."""
    api = management(name, broker)
    return None if api is None else Place(api, broker.amqp[0].vhost)


def ladder(broker: Broker) -> Callable[[], str | None]:
    """Declares the ladder on the first address that can be reached."""
    address = broker.amqp[0]
    return functools.partial(delayed.declare, address, kombu_tls(broker, address.host) if address.tls else None)
