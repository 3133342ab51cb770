"""Which policy a queue gets: the highest that is meant for it, matches, and can apply."""

from __future__ import annotations

import pytest

from bridge.core.check.policies import applied, chosen, meant_for, pattern_matches
from bridge.core.topology import Policy
from tests.unit.core.check.worlds import queue, vhost


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("ai", "mail", True),
        ("^ai", "mail", False),
        ("", "mail", True),
        (".*", "mail", True),
        ("^(?!amq\\.).*", "amq.gen-1", False),
        ("(", "mail", None),
        ("[[:alpha:]]", "mail", None),
        ("[a-z&&b]", "mail", None),
        ("^a||b$", "b", True),
    ],
)
def test_a_pattern_is_found_anywhere_in_a_name(pattern: str, name: str, matches: bool | None) -> None:
    assert pattern_matches(pattern, name) is matches


@pytest.mark.parametrize(
    ("apply_to", "kind", "meant"),
    [
        ("all", "quorum", True),
        ("queues", "classic", True),
        ("quorum_queues", "quorum", True),
        ("quorum_queues", "classic", False),
        ("classic_queues", "quorum", False),
        ("exchanges", "quorum", False),
        ("streams", "quorum", False),
    ],
)
def test_a_policy_is_meant_for_types_of_queues(apply_to: str, kind: str, meant: bool) -> None:
    assert meant_for(Policy("p", ".", apply_to, {}), "mail", kind) is meant


def test_the_highest_priority_wins_and_the_first_of_equals() -> None:
    low, first, second = (Policy(name, ".", "all", {}, priority) for name, priority in (("l", 0), ("f", 1), ("s", 1)))
    assert chosen([low, first, second], "mail", "quorum", operator=False) is first
    assert chosen([low], "mail", "quorum", operator=True) is None


def test_one_foreign_key_keeps_a_policy_from_a_type() -> None:
    mirrored = Policy("mirrored", ".", "all", {"ha-mode": "all", "message-ttl": 5}, 9)
    plain = Policy("plain", ".", "all", {"max-length": 5})
    assert chosen([mirrored, plain], "mail", "quorum", operator=False) is plain
    assert chosen([mirrored, plain], "mail", "classic", operator=False) is mirrored


def test_an_operator_policy_is_merged_in() -> None:
    policies = (
        Policy("mine", ".", "all", {"max-length": 5, "message-ttl": 9, "overflow": "drop-head"}),
        Policy("cap", ".", "all", {"max-length": 7, "overflow": "reject-publish", "expires": 3}, operator=True),
    )
    keys, names = applied(vhost("v", [], [], policies=policies), "mail", "quorum")
    assert keys == {"max-length": 5, "message-ttl": 9, "overflow": "reject-publish", "expires": 3}
    assert names == ("mine", "cap")


def test_of_a_queue_that_exists_the_broker_tells() -> None:
    there = queue("mail", "quorum", policy={"max-length": 1}, policy_name="p")
    side = vhost("v", [there], [], policies=(Policy("other", ".", "all", {"max-length": 5}),))
    assert applied(side, "mail", "quorum") == ({"max-length": 1}, ("p",))
    assert applied(side, "sms", "quorum") == ({"max-length": 5}, ("other",))
