"""The files that a lab broker starts with: configuration, definitions, plugins."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Plugins that every release of the lab has: the HTTP API, and what people compare the bridge with.
PLUGINS = ("rabbitmq_management", "rabbitmq_shovel", "rabbitmq_shovel_management", "rabbitmq_stream")

#: Schedulers that spin while they are idle would take the processor from what is measured.
BUSY_WAIT = "none"


def configuration(listeners: Sequence[str], peers: Sequence[str], definitions: str) -> str:
    """Return the text of `rabbitmq.conf`.

    Args:
        listeners: lines that say where it listens.
        peers: node names of the cluster, this one's too; a node that is alone is given none.
        definitions: path of the definitions as the broker sees it.
    """
    lines = [
        *listeners,
        f"load_definitions = {definitions}",
        # A lab shares its machine with what it tests: an alarm from this size on, not from a share of the memory.
        "vm_memory_high_watermark.absolute = 2GiB",
        "disk_free_limit.absolute = 64MiB",
        # The console goes to a file per node; one log is enough.
        "log.file = false",
        "log.console = true",
        "log.console.level = info",
    ]
    if peers:
        # Nodes that boot at once find each other by this list, which is quicker than joining one after the other.
        lines.append("cluster_formation.peer_discovery_backend = classic_config")
        lines += [f"cluster_formation.classic_config.nodes.{number} = {peer}" for number, peer in enumerate(peers, 1)]
    return "\n".join(lines) + "\n"


def enabled_plugins() -> str:
    """Return the text of `enabled_plugins`, an Erlang list."""
    return f"[{','.join(PLUGINS)}].\n"


def definitions(user: str, password: str, vhosts: Sequence[str]) -> str:
    """Return definitions that make the vhosts and one user who may do everything, in place of the default guest."""
    return json.dumps(
        {
            "users": [
                {
                    "name": user,
                    "password_hash": _hash(password),
                    "hashing_algorithm": "rabbit_password_hashing_sha256",
                    "tags": "administrator",
                }
            ],
            "vhosts": [{"name": vhost} for vhost in vhosts],
            "permissions": [
                {"user": user, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"} for vhost in vhosts
            ],
        }
    )


def _hash(password: str) -> str:
    """RabbitMQ's password hash: a 32-bit salt, then SHA-256 of salt and password, in base64."""
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
