"""Which policies apply to a queue, as RabbitMQ works it out."""

from __future__ import annotations

import pytest

from bridge.core.policies import applied
from bridge.core.topology import Policy


def policy(name: str, pattern: str, definition: dict[str, object], **changed: object) -> Policy:
    return Policy(name, pattern, **{"apply_to": "queues", "definition": definition, **changed})  # type: ignore[arg-type]


def test_the_highest_priority_holds_alone():
    policies = [policy("all", ".*", {"expires": 1}), policy("mail", "^ma", {"max-length": 5}, priority=1)]
    assert applied("mail", "classic", policies) == ("mail", None, {"max-length": 5})
    assert applied("sms", "classic", policies) == ("all", None, {"expires": 1})


def test_the_operator_s_smaller_limit_and_every_other_value_of_his_hold():
    ours = {"max-length": 100, "message-ttl": 5, "overflow": "reject-publish", "dead-letter-exchange": "dlx"}
    operators = {"max-length": 50, "message-ttl": 777, "overflow": "drop-head", "expires": 9}
    policies = [policy("p", "", ours), policy("o", "", operators, operator=True)]
    assert applied("q", "quorum", policies) == (
        "p",
        "o",
        {"max-length": 50, "message-ttl": 5, "overflow": "drop-head", "expires": 9, "dead-letter-exchange": "dlx"},
    )


@pytest.mark.parametrize(
    ("apply_to", "kinds"),
    [
        ("all", "classic quorum stream"),
        ("queues", "classic quorum stream"),
        ("classic_queues", "classic"),
        ("quorum_queues", "quorum"),
        ("streams", "stream"),
        ("exchanges", ""),
        ("something new", ""),
    ],
)
def test_only_its_kind_of_queue(apply_to: str, kinds: str):
    found = [
        kind
        for kind in ("classic", "quorum", "stream")
        if applied("q", kind, [policy("p", "q", {}, apply_to=apply_to)])[0]
    ]
    assert found == kinds.split()


def test_patterns_search_and_what_python_cannot_read_matches_nothing():
    assert applied("a.mail.b", "classic", [policy("p", "mail", {"x": 1})]).definition == {"x": 1}
    assert applied("mail", "classic", [policy("p", "(?C)mail", {"x": 1})]) == (None, None, {})
