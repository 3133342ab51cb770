from __future__ import annotations

from typing import Any

import pytest
import yaml

from bridge import config
from bridge.errors import ConfigError

BASE: dict[str, Any] = {
    "source": {"amqp": "amqp://u:p@old/c", "api": "http://old:15672"},
    "target": {"amqp": "amqp://u:p@new/q"},
}
LEGACY = {"amqp": "amqp://u:p@old/l"}
WITHOUT_API = {"amqp": "amqp://u:p@old/c"}


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"source": WITHOUT_API}, ["queues.include: the default, every queue, without source.api"]),
        (
            {"source": WITHOUT_API, "queues": {"exclude": ["x"]}},
            ["queues.include: the default, every queue, without source.api"],
        ),
        (
            {"source": WITHOUT_API, "queues": {"include": ["a", "b*", "c?", "[d]"]}},
            [
                f"queues.include[{index}]: found '{name}' without source.api"
                for index, name in ((1, "b*"), (2, "c?"), (3, "[d]"))
            ],
        ),
        (
            {"target": {"amqp": "amqp://x:y@OLD:5672/c"}},
            ["target.amqp: found vhost 'c' of old:5672, which is the source"],
        ),
        (
            {"source": {"amqp": ["amqp://a/c", "amqp://b/c", "amqp://b/d"], "api": "http://a"}},
            ["source.amqp[2]: found vhost 'd'; allowed: 'c', as in the first address"],
        ),
        (
            {"target": {"amqp": "amqp://u:p@new/q", "tls": {"ca": "/ca.pem"}}},
            ["target.tls: found settings of TLS, and no URL that uses it"],
        ),
        ({"target": {"amqp": "amqps://u:p@new/q", "tls": {"key": "/k.pem"}}}, ["target.tls.key: a key without cert:"]),
        ({"route": "canary"}, ["canary: missing; allowed: route: canary together with canary: {rate: 20/s}"]),
        (
            {"queues": {"settings": [{"match": "a", "route": "canary"}]}},
            ["queues.settings[0].canary: missing here and at the top level"],
        ),
        (
            {"queues": {"settings": [{"match": "a*", "target": "b"}]}},
            ["queues.settings[0].target: found a target for all queues that match 'a*'"],
        ),
        (
            {"queues": {"settings": [{"match": "a", "target": "c"}, {"match": "b", "target": "c"}]}},
            ["queues.settings[1].target: found 'c', already the target of 'a'"],
        ),
        (
            {"queues": {"settings": [{"match": "a"}, {"match": "a", "route": "quorum"}]}},
            ["queues.settings[1].match: found 'a' again, which queues.settings[0] has already"],
        ),
        (
            {"route": "dual", "queues": {"settings": [{"match": "a", "route": "dual"}]}},
            [
                f"{place}: found dual without legacy:, where the copy would come back into the queue it was read from"
                for place in ("route", "queues.settings[0].route")
            ],
        ),
        (
            {
                "canary": {"percent": "10%"},
                "queues": {"settings": [{"match": "a", "canary": {"tasks": ["app.*"]}}]},
            },
            [
                f"{place}: found it without legacy:, where the broker decides which messages we get"
                for place in ("canary.percent", "queues.settings[0].canary.tasks")
            ],
        ),
        (
            {"legacy": {"amqp": "amqp://u:p@OLD/c"}},
            ["legacy.amqp: found vhost 'c' of old:5672, which is the source; allowed: another vhost or broker"],
        ),
        (
            {"legacy": {"amqp": "amqp://u:p@new/q"}},
            ["legacy.amqp: found vhost 'q' of new:5672, which is the target"],
        ),
        ({"legacy": {"amqp": ["amqp://a/l", "amqp://b/m"]}}, ["legacy.amqp[1]: found vhost 'm'; allowed: 'l'"]),
        (
            {"legacy": {"amqp": "amqp://a/l", "tls": {"ca": "/ca.pem", "key": "/k.pem"}}},
            ["legacy.tls: found settings of TLS, and no URL that uses it", "legacy.tls.key: a key without cert:"],
        ),
        *(
            (
                {"admin": {"listen": listen}},
                [f"admin.token: missing, and admin.listen {listen} can be reached from other hosts; allowed: a token"],
            )
            for listen in ("0.0.0.0:8642", "[::]:8642", "192.168.1.5:8642", "bridge.example:8642")
        ),
    ],
)
def test_a_broken_rule_is_a_fault_at_the_place_to_change(changes: dict[str, Any], broken: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(yaml.safe_dump({**BASE, **changes}), {})
    assert [str(fault)[: len(text)] for fault, text in zip(caught.value.faults, broken, strict=True)] == broken


@pytest.mark.parametrize(
    "changes",
    [
        {"source": WITHOUT_API, "queues": {"include": ["a", "b.c"]}},
        {"target": {"amqp": "amqp://u:p@old/q"}},
        {"target": {"amqp": "amqp://u:p@old:5673/c"}},
        {"target": {"amqp": "amqp://u:p@new/q", "api": "https://new", "tls": {"ca": "/ca.pem"}}},
        {"target": {"amqp": "amqps://u:p@new/q", "tls": {"cert": "/c.pem"}}},
        {"route": "canary", "canary": {"first": 3}},
        {"route": "reverse"},
        {"legacy": LEGACY, "route": "dual", "dual": {"when_away": "degrade"}},
        {"legacy": LEGACY, "queues": {"settings": [{"match": "a", "route": "dual"}]}},
        {"legacy": LEGACY, "route": "canary", "canary": {"percent": 10}},
        {"legacy": LEGACY, "queues": {"settings": [{"match": "a", "route": "canary", "canary": {"tasks": ["x"]}}]}},
        {"legacy": {"amqp": "amqps://u:p@old/l", "tls": {"ca": "/ca.pem"}}},
        *({"admin": {"listen": listen}} for listen in ("127.0.0.1:1", "127.8.0.1:1", "[::1]:1", "localhost:1")),
        {"admin": {"listen": "0.0.0.0:8642", "token": "sixteen-letters!"}},
        {"canary": {"first": 3}, "queues": {"settings": [{"match": "a*", "route": "canary"}]}},
        {"queues": {"settings": [{"match": "a", "route": "canary", "canary": {"rate": "1/s"}}]}},
        {"queues": {"settings": [{"match": "a", "target": "b"}, {"match": "b", "target": "a"}]}},
    ],
)
def test_what_breaks_no_rule_is_read(changes: dict[str, Any]) -> None:
    config.parse(yaml.safe_dump({**BASE, **changes}), {})
