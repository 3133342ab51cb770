"""What sections of the configuration ask of each other: a list of rules, each naming the place to change."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bridge.config_file import Location, Tree, path, show
from bridge.errors import Fault
from bridge.setting import is_pattern

if TYPE_CHECKING:
    from bridge.config_sections import Admin, Broker, Canary, Queues

#: Place, what was found, what is allowed.
_Broken = Iterator[tuple[Location, str, str]]
_CANARY = "route: canary together with canary: {rate: 20/s} or canary: {first: 100}"


def broken_rules(sections: Mapping[str, Any], tree: Tree) -> Iterator[tuple[Location, Fault]]:
    """Yield a fault, with its place, for each rule that `sections` break.

    A rule is asked when all sections that it needs are there; a section that is itself at fault is not.
    """
    for needs, rule in _RULES:
        if all(name in sections for name in needs):
            for location, found, allowed in rule(*(sections[name] for name in needs), tree):
                yield location, Fault(path(location), found, allowed)


def _patterns_need_the_api(source: Broker, queues: Queues, tree: Tree) -> _Broken:
    if source.api is not None:
        return
    allowed = "names of queues, or patterns together with source.api"
    given = tree.written.get("queues") if isinstance(tree.written, dict) else None
    if not isinstance(given, dict) or given.get("include") is None:
        yield ("queues", "include"), "the default, every queue, without source.api", allowed
        return
    for index, name in enumerate(queues.include):
        if is_pattern(name):
            yield ("queues", "include", index), f"found {show(name)} without source.api", allowed


def _two_vhosts(source: Broker, target: Broker, _tree: Tree) -> _Broken:
    shared = {address.place for address in source.amqp} & {address.place for address in target.amqp}
    if shared:
        host, port, vhost = min(shared)
        yield (
            ("target", "amqp"),
            f"found vhost {show(vhost)} of {host}:{port}, which is the source",
            "another vhost or broker",
        )


def _one_vhost_each(name: str) -> Callable[[Broker | None, Tree], _Broken]:
    def rule(broker: Broker | None, _tree: Tree) -> _Broken:
        if broker is None:
            return
        first = broker.amqp[0].vhost
        for index, address in enumerate(broker.amqp):
            if address.vhost != first:
                yield (
                    (name, "amqp", index),
                    f"found vhost {show(address.vhost)}",
                    f"{show(first)}, as in the first address",
                )

    return rule


def _tls_makes_sense(name: str) -> Callable[[Broker | None, Tree], _Broken]:
    def rule(broker: Broker | None, tree: Tree) -> _Broken:
        if broker is None:
            return
        given = tree.written.get(name, {}).get("tls") if isinstance(tree.written, dict) else None
        if given and not any(address.tls for address in broker.amqp) and not (broker.api and broker.api.tls):
            yield (
                (name, "tls"),
                "found settings of TLS, and no URL that uses it",
                "tls: together with an amqps:// or https:// URL",
            )
        if broker.tls.key is not None and broker.tls.cert is None:
            yield (name, "tls", "key"), "a key without cert:", "both, or cert: alone where the file holds both"

    return rule


def _canary_has_a_share(route: Any, canary: Any, queues: Queues, _tree: Tree) -> _Broken:
    if canary is not None:
        return
    if route == "canary":
        yield ("canary",), "missing", _CANARY
    for index, entry in enumerate(queues.settings):
        if entry.canary is None and entry.route == "canary":
            yield ("queues", "settings", index, "canary"), "missing here and at the top level", _CANARY


def _shares_of_the_layout(legacy: Any, canary: Canary | None, queues: Queues, _tree: Tree) -> _Broken:
    if legacy is not None:
        return
    places: list[tuple[Location, Canary | None]] = [(("canary",), canary)]
    places += [(("queues", "settings", index, "canary"), one.canary) for index, one in enumerate(queues.settings)]
    for place, share in places:
        for name in ("percent", "tasks"):
            if share is not None and getattr(share, name) is not None:
                yield (
                    (*place, name),
                    "found it without legacy:, where the broker decides which messages we get",
                    "rate: or first:, or the inline layout with legacy:",
                )


def _routes_of_the_layout(legacy: Any, route: Any, queues: Queues, _tree: Tree) -> _Broken:
    if legacy is not None:
        return
    places: list[tuple[Location, Any]] = [(("route",), route)]
    places += [(("queues", "settings", index, "route"), one.route) for index, one in enumerate(queues.settings)]
    for place, given in places:
        if given == "dual":
            yield (
                place,
                "found dual without legacy:, where the copy would come back into the queue it was read from",
                "legacy, canary, quorum or reverse; or the inline layout with legacy:",
            )


def _legacy_is_another(legacy: Any, source: Broker, target: Broker, _tree: Tree) -> _Broken:
    if legacy is None:
        return
    for name, side in (("source", source), ("target", target)):
        shared = {address.place for address in legacy.amqp} & {address.place for address in side.amqp}
        if shared:
            host, port, vhost = min(shared)
            yield (
                ("legacy", "amqp"),
                f"found vhost {show(vhost)} of {host}:{port}, which is the {name}",
                "another vhost or broker",
            )


def _others_need_a_token(admin: Admin, _tree: Tree) -> _Broken:
    if admin.listen is None or admin.token is not None or _is_loopback(admin.listen.host):
        return
    yield (
        ("admin", "token"),
        f"missing, and admin.listen {admin.listen} can be reached from other hosts",
        "a token such as file:/run/secrets/bridge_token, or an admin.listen on 127.0.0.1",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sisters_are_single(queues: Queues, _tree: Tree) -> _Broken:
    taken: dict[str, str] = {}
    for index, entry in enumerate(queues.settings):
        place = ("queues", "settings", index, "target")
        if entry.target is None:
            continue
        if is_pattern(entry.match):
            yield (
                place,
                f"found a target for all queues that match {show(entry.match)}",
                "a target for one queue named in match:",
            )
        elif entry.target in taken:
            yield (
                place,
                f"found {show(entry.target)}, already the target of {show(taken[entry.target])}",
                "a queue of its own",
            )
        taken.setdefault(entry.target, entry.match)


def _entries_can_match(queues: Queues, _tree: Tree) -> _Broken:
    first: dict[str, int] = {}
    for index, entry in enumerate(queues.settings):
        if entry.match in first:
            found = f"found {show(entry.match)} again, which queues.settings[{first[entry.match]}] has already"
            yield ("queues", "settings", index, "match"), found, "each pattern once; the first that matches wins"
        first.setdefault(entry.match, index)


#: The sections a rule needs, and the rule.
_RULES: tuple[tuple[tuple[str, ...], Callable[..., _Broken]], ...] = (
    (("source", "queues"), _patterns_need_the_api),
    (("source", "target"), _two_vhosts),
    (("source",), _one_vhost_each("source")),
    (("target",), _one_vhost_each("target")),
    (("legacy",), _one_vhost_each("legacy")),
    (("source",), _tls_makes_sense("source")),
    (("target",), _tls_makes_sense("target")),
    (("legacy",), _tls_makes_sense("legacy")),
    (("legacy", "source", "target"), _legacy_is_another),
    (("legacy", "canary", "queues"), _shares_of_the_layout),
    (("legacy", "route", "queues"), _routes_of_the_layout),
    (("route", "canary", "queues"), _canary_has_a_share),
    (("queues",), _sisters_are_single),
    (("queues",), _entries_can_match),
    (("admin",), _others_need_a_token),
)
