"""The plan against a target that takes its calls: what is made, in which order, and from every interruption on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from bridge.core import ladder
from bridge.core.pairs import pairs
from bridge.core.plan import Plan, definitions, named, plan
from bridge.core.topology import Binding, Exchange, Policy, Queue, Vhost
from bridge.core.wanted import kombu_ladder
from tests.support.topologies import after, queue, vhost

SOURCE = vhost(
    "chost",
    queue("mail", {"x-message-ttl": 5}, {"dead-letter-exchange": "dlx"}),
    queue("a.q1", {"x-max-priority": 10}),
    queue("dead"),
    exchanges=(
        Exchange("celery", "direct", arguments={"alternate-exchange": "rest"}),
        Exchange("dlx", "direct"),
        Exchange("rest", "fanout"),
    ),
    bindings=(("celery", "mail", "mail"), ("celery", "a.q1", "a.q1"), ("dlx", "dead", "mail")),
)
EMPTY = vhost("q/host", version=(4, 0, 5), default_queue_type="classic")


def planned(target: Vhost, source: Vhost = SOURCE) -> Plan:
    return plan(source, target, pairs(source, lambda _: True, set(), lambda name: name), "main")


def applied(target: Vhost, source: Vhost = SOURCE) -> Vhost:
    for step in planned(target, source).steps:
        target = after(target, step)
    return target


APPLIED = applied(EMPTY)


def changed(target: Vhost, name: str, change: Callable[[Queue], Queue]) -> Vhost:
    return replace(target, queues={**target.queues, name: change(target.queues[name])})


# -- what is done


def test_an_applied_vhost_has_nothing_to_do() -> None:
    found = planned(APPLIED)
    assert (found.steps, found.conflicts) == ((), ())
    assert definitions(found) == {}


def test_whatever_it_was_interrupted_after_the_rest_makes_it_whole() -> None:
    whole = planned(EMPTY).steps
    target = EMPTY
    for number, step in enumerate(whole):
        assert planned(target).steps == whole[number:]
        target = after(target, step)
    assert target == APPLIED


def test_everything_is_there_before_it_is_needed() -> None:
    kinds = [step.kind for step in planned(EMPTY).steps]
    order = ["vhost", "policy", "exchange", "queue", "exchange", "queue", "binding"]
    assert [kind for kind, before in zip(kinds, [None, *kinds], strict=False) if kind != before] == order


def test_sentences_calls_and_rights() -> None:
    steps = {(step.kind, step.name): step for step in planned(EMPTY).steps}
    vhost_step = steps["vhost", "q/host"]
    assert vhost_step.path == "vhosts/q%2Fhost"
    assert vhost_step.body == {"default_queue_type": "quorum", "description": "", "tags": []}
    assert (vhost_step.tag, vhost_step.optional) == ("administrator", True)
    assert steps["exchange", "celery"].sentence == ('declare exchange "celery": topic with alternate-exchange: rest')
    assert [(n.right, n.name) for n in steps["exchange", "celery"].needs] == [
        ("configure", "celery"),
        ("read", "celery"),
        ("write", "rest"),
    ]
    mail = steps["queue", "mail"]
    assert mail.sentence == 'declare quorum queue "mail": x-message-ttl: 5'
    assert mail.body == {
        "durable": True,
        "auto_delete": False,
        "arguments": {"x-queue-type": "quorum", "x-message-ttl": 5},
    }
    assert [(n.right, n.kind, n.name) for n in steps["queue", "celery_delayed_3"].needs] == [
        ("configure", "queue", "celery_delayed_3"),
        ("read", "queue", "celery_delayed_3"),
        ("write", "exchange", "celery_delayed_2"),
    ]
    exit_step = steps["binding", "celery_delayed_delivery -> a.q1"]
    assert exit_step.method == "POST"
    assert exit_step.path == "bindings/q%2Fhost/e/celery_delayed_delivery/q/a.q1"
    assert exit_step.body == {"routing_key": "#.bridge:a%2Eq1", "arguments": {}}
    assert [(n.right, n.kind, n.name) for n in exit_step.needs] == [
        ("write", "queue", "a.q1"),
        ("read", "exchange", "celery_delayed_delivery"),
    ]
    policy = next(step for step in steps.values() if step.kind == "policy")
    assert policy.sentence == f'set policy "{policy.name}" for queue "mail": dead-letter-exchange: dlx'
    assert (policy.tag, policy.needs) == ("policymaker", ())


def test_json_is_whole() -> None:
    found = planned(replace(EMPTY, queues={"mail": queue("mail", ready=3)}))
    told = json.loads(json.dumps(found.as_json()))
    assert told["target"] == "q/host"
    assert told["steps"][0] == {
        "sentence": 'make quorum the default queue type of vhost "q/host", for queues that nobody gives a type',
        "method": "PUT",
        "path": "/api/vhosts/q%2Fhost",
        "body": {"default_queue_type": "quorum", "description": "", "tags": []},
        "resource": {"kind": "vhost", "name": "q/host"},
        "needs": {"tag": "administrator", "rights": []},
        "optional": True,
    }
    assert told["conflicts"] == [
        {
            "resource": {"kind": "queue", "name": "mail"},
            "seen": "is there as a classic queue with 3 messages",
            "todo": "empty and delete it on the target, or give its sister another name (queues.settings[].target)",
        }
    ]
    assert told["remarks"] == list(found.remarks)
    assert found.remarks[0].startswith('max-priority of queue "a.q1" is not carried over: ')


def test_definitions_hold_every_step() -> None:
    found = planned(EMPTY)
    document = definitions(found)
    assert list(document) == ["vhosts", "policies", "queues", "exchanges", "bindings"]
    assert sum(map(len, document.values())) == len(found.steps)
    assert document["vhosts"] == [{"name": "q/host", "default_queue_type": "quorum", "description": "", "tags": []}]
    assert all(entry["vhost"] == "q/host" for kind in list(document)[1:] for entry in document[kind])
    assert {"durable", "auto_delete", "arguments", "name", "vhost"} == document["queues"][0].keys()
    assert document["bindings"][0]["destination_type"] == "queue"


def test_description_and_tags_of_the_vhost_are_sent_again() -> None:
    (step, *_) = planned(replace(EMPTY, description="orders", tags=("eu",))).steps
    assert step.body == {"default_queue_type": "quorum", "description": "orders", "tags": ["eu"]}


@pytest.mark.parametrize("told", ["quorum", None])
def test_no_default_queue_type_where_it_is_set_or_not_told(told: str | None) -> None:
    assert "vhost" not in {step.kind for step in planned(replace(EMPTY, default_queue_type=told)).steps}


def test_no_default_queue_type_before_4_0() -> None:
    found = planned(replace(EMPTY, version=(3, 13, 7), default_queue_type=None))
    assert "vhost" not in {step.kind for step in found.steps}
    assert found.remarks[-1].startswith("before RabbitMQ 4.0 the default queue type of a vhost cannot be changed")


def test_a_sister_of_another_name_says_whose() -> None:
    found = plan(SOURCE, EMPTY, pairs(SOURCE, lambda name: name == "dead", set(), lambda _: "dead-v2"), "main")
    assert 'declare quorum queue "dead-v2" for "dead"' in [step.sentence for step in found.steps]


def test_a_policy_that_has_to_change_is_changed() -> None:
    target = replace(APPLIED, policies=tuple(replace(policy, pattern="^else$") for policy in APPLIED.policies))
    (step,) = planned(target).steps
    assert step.sentence.startswith("change policy")


def test_what_a_policy_goes_before_is_said() -> None:
    target = replace(EMPTY, policies=(Policy("all", ".*", "all", {"delivery-limit": 9}),))
    sentences = [step.sentence for step in planned(target).steps if step.kind == "policy"]
    assert sentences[0].endswith('; it goes before policy "all", of which it carries along delivery-limit: 9')


def test_the_brokers_own_exchanges_are_not_declared() -> None:
    source = vhost("c", queue("a"), exchanges=(Exchange("amq.topic", "topic"),), bindings=(("amq.topic", "a", "a"),))
    assert "amq.topic" not in [step.name for step in planned(EMPTY, source).steps if step.kind == "exchange"]


def test_bindings_between_exchanges() -> None:
    source = vhost(
        "c", queue("a"), exchanges=(Exchange("x", "topic"), Exchange("y", "topic")), bindings=(("x", "a", "a"),)
    )
    source = replace(source, bindings=(*source.bindings, Binding("y", "x", "exchange", "k", {"n": 1})))
    step = next(step for step in planned(EMPTY, source).steps if step.name == "y -> x")
    assert (step.path, step.body) == ("bindings/q%2Fhost/e/y/e/x", {"routing_key": "k", "arguments": {"n": 1}})
    assert planned(applied(EMPTY, source), source).steps == ()


def test_two_queues_that_share_a_binding_share_a_step() -> None:
    source = replace(SOURCE, bindings=(*SOURCE.bindings, *SOURCE.bindings))
    assert planned(EMPTY, source).steps == planned(EMPTY).steps


# -- what is in the way


def conflict(target: Vhost) -> str:
    (found,) = planned(target).conflicts
    assert found.todo
    return str(found)


def test_an_exchange_of_another_kind() -> None:
    exchanges = {**APPLIED.exchanges, "rest": Exchange("rest", "topic", False, True, True, {"a": 1})}
    assert conflict(replace(APPLIED, exchanges=exchanges)) == (
        'exchange "rest": is there as topic transient auto-delete internal with a: 1, wanted is fanout'
    )


def test_a_sister_that_is_classic() -> None:
    assert conflict(changed(APPLIED, "mail", lambda old: replace(old, type="classic", ready=2))) == (
        'queue "mail": is there as a classic queue with 2 messages'
    )


def test_our_own_queue_of_another_kind() -> None:
    assert conflict(changed(APPLIED, "bridge.control.main", lambda old: replace(old, arguments={}))) == (
        'queue "bridge.control.main": is there with nothing, the bridge needs x-delivery-limit: -1, '
        "x-queue-type: quorum, x-single-active-consumer: True"
    )


@pytest.mark.parametrize(
    "wrong", [{"x-message-ttl": 1}, {"x-dead-letter-exchange": "else"}, {"x-dead-letter-routing-key": "k"}]
)
def test_a_level_that_is_none(wrong: dict[str, object]) -> None:
    target = changed(APPLIED, "celery_delayed_4", lambda old: replace(old, arguments={**old.arguments, **wrong}))
    assert conflict(target).startswith('queue "celery_delayed_4": is there with x-dead-letter-')


def test_a_policy_of_an_earlier_plan() -> None:
    target = replace(APPLIED, policies=(*APPLIED.policies, Policy("bridge.main.0", "^mail$", "queues", {}, 5)))
    assert conflict(target) == 'policy "bridge.main.0": of an earlier plan, still matches sister queues by ^mail$'


def test_a_classic_ladder_is_accepted_and_completed() -> None:
    levels = {each.name: queue(each.name, each.arguments) for each in kombu_ladder("classic").queues}
    missing = ladder.level_name(3)
    target = replace(
        APPLIED, queues={**APPLIED.queues, **{name: each for name, each in levels.items() if name != missing}}
    )
    target = replace(target, queues={name: each for name, each in target.queues.items() if name != missing})
    found = planned(target)
    assert [step.body["arguments"] for step in found.steps] == [levels[missing].arguments]
    assert found.conflicts == ()
    assert found.remarks[-1].startswith("the ladder on the target has classic queues")


def test_our_entries_are_optional() -> None:
    steps = [step for step in planned(EMPTY).steps if "bridge.delayed." in step.name]
    assert len(steps) == 2 * ladder.LEVELS
    assert all(step.optional for step in steps)
    assert steps[0].sentence == 'declare exchange "bridge.delayed.0": fanout'
    assert steps[-1].sentence == (
        'bind queue "celery_delayed_27" to exchange "bridge.delayed.27" by "" (the bridge\'s entry into the ladder)'
    )


def test_an_entry_of_another_shape_is_left_as_it_is() -> None:
    other = Exchange("bridge.delayed.4", "topic")
    target = replace(EMPTY, exchanges={**EMPTY.exchanges, other.name: other})
    found = planned(target)
    assert not [step for step in found.steps if "bridge.delayed." in step.name]
    assert found.conflicts == ()
    assert found.remarks[-1].startswith(
        'exchange "bridge.delayed.4" is there as topic, the bridge declares fanout: until it is deleted, tasks with an '
    )


def test_many_queues_are_counted() -> None:
    assert named(["a"]) == 'queue "a"'
    assert named(["a", "b"]) == "2 queues (a, b)"
    assert named("abcdef") == "6 queues (a, b, c, d, e, ...)"
