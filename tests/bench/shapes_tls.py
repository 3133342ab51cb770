"""What TLS costs: both sides by amqps against both without.

The brokers of the lab have no TLS of their own: each gets a listener for the time of the study, with the certificate
that the tests have for localhost.
"""

from __future__ import annotations

import base64
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bridge.lab import ports
from tests.bench.load import Load
from tests.bench.movers import bridge
from tests.bench.shapes import COUNT, ONE_WORLD, Run, in_turn
from tests.bench.study import MOVED, Study

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from bridge.lab.brokers import Cluster, Side
    from tests.bench.movers import Moving
    from tests.bench.study import Bench, Sample
    from tests.support.brokers import Vhosts, World

PLAIN, TLS = "bridge, plain", "bridge, TLS"

_CERTIFICATES = Path(__file__).parents[1] / "support" / "tls"
_CERTIFICATE, _KEY = _CERTIFICATES / "localhost.pem", _CERTIFICATES / "localhost.key"
#: The name in the certificate.
_HOST = "localhost"
_ADDRESS = "127.0.0.1"
#: Processes that wait for connections to the listener: the broker's own default.
_ACCEPTORS = 10


@contextmanager
def listening(cluster: Cluster) -> Iterator[int]:
    """Let the first node of a broker listen for TLS on a free port of its own for a block.

    Raises:
        LabError: the broker cannot.
    """
    (port,) = ports.free(1, set())
    node, at = cluster.nodes[0], f'{{"{_ADDRESS}", {port}}}'
    # As values and not as files: a broker in a root of its own sees none of ours.
    node.ctl(
        "eval",
        f"Entry = fun(Pem) -> [One] = public_key:pem_decode(base64:decode(Pem)), One end, "
        f'{{_, Certificate, _}} = Entry("{_base64(_CERTIFICATE)}"), {{Kind, Key, _}} = Entry("{_base64(_KEY)}"), '
        f"rabbit_networking:start_ssl_listener("
        f"{at}, [{{cert, Certificate}}, {{key, {{Kind, Key}}}}], {_ACCEPTORS}).",
    )
    try:
        yield port
    finally:
        node.ctl("eval", f"rabbit_networking:stop_tcp_listener({at}).")


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()


def _secured(side: Side, port: int) -> dict[str, Any]:
    """Return the section of the configuration for a side by TLS."""
    parts = urlsplit(side.amqp)
    amqp = f"amqps://{parts.username}:{parts.password}@{_HOST}:{port}{parts.path}"
    return {"amqp": amqp, "api": side.api, "tls": {"ca": str(_CERTIFICATE)}}


def _run(bench: Bench, world: World) -> Iterator[Sample]:
    if world.old.nodes[0].name.partition("@")[2] != _HOST:
        bench.progress("tls is left out: brokers in containers are reached by the ports that they began with")
        return
    with ExitStack() as stack:
        old = stack.enter_context(listening(world.old))
        new = old if world.same_broker else stack.enter_context(listening(world.new))

        def secured(vhosts: Vhosts) -> AbstractContextManager[Moving]:
            return bridge(source=_secured(vhosts.old, old), target=_secured(vhosts.new, new))(vhosts)

        load, movers = Load(bench.size(COUNT)), {PLAIN: bridge(), TLS: secured}
        yield from in_turn(bench, world, "tls", (Run("1 KiB", row, mover, load) for row, mover in movers.items()))


STUDY = Study("tls", "both sides by amqps and both without", MOVED, (), ONE_WORLD, _run)
