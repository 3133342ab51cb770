from __future__ import annotations

import re

import pytest

from bridge.core import ladder
from bridge.core.check.policies import applied
from bridge.core.sister_policies import PATTERN, Given, body, escape, exactly, given, stale
from bridge.core.topology import Arguments, Policy, Vhost
from bridge.core.wanted import Sister
from tests.support.topologies import queue, vhost


def sister(name: str, policy: Arguments) -> Sister:
    return Sister(queue(name), name, {"x-queue-type": "quorum"}, policy, (), ())


def target(*policies: Policy, version: tuple[int, ...] = (4, 3, 6)) -> Vhost:
    return vhost("qhost", version=version, policies=policies)


def with_ours(found: list[Given], before: Vhost) -> Vhost:
    return target(*before.policies, *(each.policy for each in found))


def keys(found: list[Given], before: Vhost, name: str) -> dict[str, object]:
    """What is in force on a queue when our policies are set."""
    return dict(applied(with_ours(found, before), name, "quorum").keys)


@pytest.mark.parametrize("name", ["q", "a.q1", "a|b", "$^(x)*[1]{2}+?\\", "ü", "with space"])
def test_a_pattern_matches_exactly_its_names(name: str) -> None:
    assert re.search(f"^{escape(name)}$", name)
    pattern = exactly([name, "other"])
    assert [n for n in (name, "other", name + "x", "x" + name, "", "q1") if re.search(pattern, n)] == [name, "other"]


def test_queues_with_the_same_keys_share_one_policy() -> None:
    found = given([sister("a", {"max-length": 5}), sister("b", {}), sister("c.d", {"max-length": 5})], target(), "blue")
    (one,) = found
    assert one.policy == Policy(one.policy.name, r"^(a|c\.d)$", "quorum_queues", {"max-length": 5}, 1)
    assert re.fullmatch(r"bridge\.blue\.[0-9a-f]{8}", one.policy.name)
    assert (one.queues, one.note) == (("a", "c.d"), "")
    assert body(one.policy) == {
        "pattern": r"^(a|c\.d)$",
        "definition": {"max-length": 5},
        "priority": 1,
        "apply-to": "quorum_queues",
    }


def test_it_reaches_neither_the_ladder_nor_our_own_queues() -> None:
    before = target()
    found = given([sister("a", {"message-ttl": 5})], before, "main")
    for name in (*map(ladder.level_name, range(28)), "bridge.quarantine", "bridge.control.main"):
        assert keys(found, before, name) == {}


def test_before_3_12_a_policy_is_for_queues() -> None:
    assert given([sister("a", {"max-length": 5})], target(version=(3, 11, 28)), "main")[0].policy.apply_to == "queues"


def test_a_catch_all_of_the_target_keeps_its_other_keys() -> None:
    before = target(Policy("all", ".*", "all", {"max-length": 1, "delivery-limit": 9}, 7))
    found = given([sister("a", {"max-length": 5, "message-ttl": 6})], before, "main")
    assert found[0].policy.priority == 8
    assert keys(found, before, "a") == {"max-length": 5, "message-ttl": 6, "delivery-limit": 9}
    assert keys(found, before, "else") == {"max-length": 1, "delivery-limit": 9}
    assert found[0].note == (
        'goes before policy "all", of which it carries along delivery-limit: 9, of which max-length: 1 does not hold '
        "for them"
    )


def test_a_catch_all_that_says_the_same_is_enough() -> None:
    before = target(Policy("all", ".*", "queues", {"max-length": 5, "delivery-limit": 9}))
    assert given([sister("a", {"max-length": 5})], before, "main") == []
    changed = given([sister("a", {"max-length": 5, "message-ttl": 6})], before, "main")
    assert changed[0].note == 'goes before policy "all", of which it carries along delivery-limit: 9'
    assert given([sister("a", {"delivery-limit": 1, "max-length": 2})], before, "main")[0].note == (
        'goes before policy "all", of which delivery-limit: 9, max-length: 5 does not hold for them'
    )


def test_a_policy_that_was_made_for_the_queue_stays_as_it_says() -> None:
    before = target(Policy("theirs", "^a$", "queues", {"max-length": 1}, 3))
    assert given([sister("a", {"max-length": 5})], before, "main") == []
    found = given([sister("a", {"max-length": 5, "message-ttl": 6})], before, "main")
    assert keys(found, before, "a") == {"max-length": 1, "message-ttl": 6}
    assert found[0].policy.priority == 4
    assert found[0].note == 'completes policy "theirs", which would win, and whose keys stay as they are'


def test_the_name_stays_when_a_value_of_the_rival_changes() -> None:
    first, second = (
        given([sister("a", {"max-length": 5})], target(Policy("all", ".*", "all", {"delivery-limit": n})), "main")[0]
        for n in (1, 2)
    )
    assert first.policy.name == second.policy.name
    assert first.policy != second.policy


def test_our_own_policies_are_no_rivals() -> None:
    wanted = [sister("a", {"max-length": 5})]
    found = given(wanted, target(), "main")
    assert given(wanted, with_ours(found, target()), "main") == found


def test_long_lists_are_parted() -> None:
    names = [f"queue.number.{number:04}" for number in range(1000)]
    found = given([sister(name, {"max-length": 5}) for name in names], target(), "main")
    assert len({each.policy.name for each in found}) == len(found) > 1
    assert all(len(each.policy.pattern) <= PATTERN + 10 for each in found)
    assert [name for each in found for name in each.queues] == names
    assert keys(found, target(), names[-1]) == {"max-length": 5}


def test_a_policy_of_an_earlier_plan_that_still_reaches_a_sister_is_found() -> None:
    old = Policy("bridge.main.00000000", "^a$", "queues", {"max-length": 1})
    others = Policy("theirs", "^a$", "queues", {}), Policy("bridge.main.operator", "a", "queues", {}, operator=True)
    gone = Policy("bridge.main.11111111", "^gone$", "queues", {"max-length": 1})
    found = given([sister("a", {"max-length": 5})], target(), "main")
    before = with_ours(found, target(old, gone, *others))
    assert list(stale(found, before, "main", ["a", "b"])) == [old]
