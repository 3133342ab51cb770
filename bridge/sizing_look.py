"""What `bridge plan --time` stands on: both brokers as they are now, the last minute's rates, and what a daemon moves.

Rates are averages of the source's HTTP API over the last minute. A queue of which the broker counts nothing because
nothing ever happened there has none, which is 0; a broker that counts no rates at all gives None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bridge.applying import Survey
from bridge.config import Config
from bridge.core import sizing
from bridge.core.sizing import Assumptions, Backlog, Basis, Estimate, Moving
from bridge.core.sizing_words import Facts
from bridge.core.topology import Queue
from bridge.errors import Refused
from bridge.management import Management, path
from bridge.units import show_rate

#: Seconds over which rates are averaged, and between two of the broker's samples of them.
_AGE, _STEP = 60, 5
_RATES = {"msg_rates_age": str(_AGE), "msg_rates_incr": str(_STEP)}
#: What comes in, and what leaves for good: acked, or delivered without an ack to be waited for.
_IN, _OUT = ("publish",), ("ack", "deliver_no_ack", "get_no_ack")
_COLUMNS = ",".join(["name", *(f"message_stats.{key}_details.avg_rate" for key in (*_IN, *_OUT))])
#: Seconds of its own rate that must wait in a queue for it to be moved as fast as it can be.
_BUSY = 1.0


@dataclass(frozen=True)
class Traffic:
    """Messages a second of a queue: what comes in, and what is worked."""

    arriving: float
    worked: float


@dataclass(frozen=True)
class Sized:
    """The estimate, with what it was made of."""

    estimate: Estimate
    basis: Basis
    assumed: Assumptions
    facts: Facts


def traffic(api: Management, vhost: str) -> dict[str, Traffic] | None:
    """The last minute's rates of every queue of a vhost; None where the broker counts none.

    Raises:
        BridgeError: the API does not answer, or refuses the user.
    """
    if not api.get("overview", _counts_rates, "rates_mode,disable_stats"):
        return None
    return dict(api.pages(path("queues", vhost), _read, _COLUMNS, _RATES))


def _counts_rates(overview: Mapping[str, Any]) -> bool:
    """Whether a broker does: both can be switched off (`management_agent.disable_metrics_collector`, `rates_mode`)."""
    return not overview.get("disable_stats") and overview.get("rates_mode") != "none"


def _read(item: Mapping[str, Any]) -> tuple[str, Traffic]:
    stats = item.get("message_stats") or {}

    def summed(keys: Iterable[str]) -> float:
        return float(sum((stats.get(f"{key}_details") or {}).get("avg_rate") or 0.0 for key in keys))

    return item["name"], Traffic(summed(_IN), summed(_OUT))


def backlogs(queues: Iterable[Queue], rates: Mapping[str, Traffic] | None) -> list[Backlog]:
    """The queues as the estimate wants them."""
    known = rates or {}
    found = []
    for queue in queues:
        rate = known.get(queue.name, Traffic(0.0, 0.0)) if rates is not None else None
        found.append(
            Backlog(
                queue.name,
                queue.ready,
                queue.unacked,
                queue.message_bytes,
                None if rate is None else rate.arriving,
                None if rate is None else rate.worked,
            )
        )
    return found


def sized(
    config: Config,
    seen: Survey,
    rates: Mapping[str, Traffic] | None,
    assumed: Assumptions,
    status: Mapping[str, Any] | None = None,
) -> Sized:
    """Make the estimate.

    Args:
        config: layout and backup.
        seen: both sides.
        rates: of `traffic`.
        assumed: what the operator says; what is known of the target is put in here.
        status: of a running daemon whose rate is to be taken; None: the model's, or the one that was given.

    Raises:
        Refused: the daemon moves nothing of which its speed could be told.
    """
    nodes = tuple(node for node in seen.target.nodes if node.running)
    assumed = replace(
        assumed, backup=config.backup is not None, version=seen.target.version, nodes=max(1, len(seen.target.nodes))
    )
    waiting = backlogs((pair.source for pair in seen.pairs), rates)
    limits: tuple[str, ...] = ()
    if status is not None:
        assumed, basis = _measured(status, waiting, assumed)
        # Of a queue that the daemon takes from, its own acks would look like the old workers'.
        taken = {queue["name"] for queue in status["queues"] if queue["route"] != "legacy"}
        waiting = [replace(backlog, worked=None) if backlog.name in taken else backlog for backlog in waiting]
        limits = tuple(_limits(status))
    else:
        basis = sizing.model() if assumed.rate is None else sizing.given(assumed.rate)
    facts = Facts(
        inline=config.legacy is not None,
        counted=rates is not None,
        limits=limits,
        nodes=nodes,
        backup_on_target=config.backup_side == "target",
    )
    return Sized(sizing.estimate(waiting, basis, assumed), basis, assumed, facts)


def _measured(status: Mapping[str, Any], waiting: list[Backlog], assumed: Assumptions) -> tuple[Assumptions, Basis]:
    """The operator's assumptions with what the daemon has seen, and the basis that it makes."""
    moving = [_moving(queue) for queue in status["queues"] if queue["state"] == "moving" and queue["rate"] > 0]
    ready = {backlog.name: backlog.ready for backlog in waiting}
    # A canary is as fast as its share, which the status does not tell.
    whole = {queue["name"] for queue in status["queues"] if queue["route"] in ("quorum", "dual")}
    if not any(one.queue in whole and ready.get(one.queue, 0) >= one.rate * _BUSY for one in moving):
        raise Refused(
            "the daemon moves no queue in which messages wait: how fast it could be does not show",
            hint="cut over a queue with a backlog and ask while it moves, or leave --measured out",
        )
    sizes = {backlog.name: backlog.size for backlog in waiting if backlog.size is not None}
    speed = sizing.speed_of(moving, sizes, assumed)
    rate = sum(one.rate for one in moving)
    shares = tuple((one.queue, one.eta_share) for one in moving)
    return replace(assumed, speed=speed, eta_shares=shares), sizing.measured(len(moving), rate, speed)


def _moving(queue: Mapping[str, Any]) -> Moving:
    """A queue of the status."""
    share = queue["converted"] / queue["moved"] if queue["moved"] else 0.0
    return Moving(queue["name"], queue["rate"], min(1.0, share))


def _limits(status: Mapping[str, Any]) -> Iterator[str]:
    if status.get("limit") is not None:
        yield f"all queues together {show_rate(status['limit'])}"
    for queue in status["queues"]:
        if queue.get("limit") is not None:
            yield f'"{queue["name"]}" {show_rate(queue["limit"])}'
