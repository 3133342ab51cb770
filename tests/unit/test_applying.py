"""Carrying a plan out against a target that takes its calls: interruptions, what is in the way, what is denied."""

from __future__ import annotations

import pytest

from bridge import applying
from bridge.applying import carry_out, missing, survey, wanted_rights
from bridge.config import Config, parse
from bridge.core.pairs import pairs
from bridge.core.plan import Plan, plan
from bridge.core.topology import Exchange, Permissions, Vhost
from bridge.errors import ConfigError, Exit, Refused, Unreachable
from bridge.management import CallFailed, Recorder
from tests.support.topologies import Target, queue, vhost

SOURCE = vhost(
    "chost",
    queue("mail", {}, {"max-length": 5}),
    exchanges=(Exchange("celery", "direct"),),
    bindings=(("celery", "mail", "mail"),),
)
EMPTY = vhost("qhost", version=(4, 3, 6), default_queue_type="classic")
EVERYTHING = Permissions("admin", ".*", ".*", ".*", ("administrator",))


def planned(target: Vhost) -> Plan:
    return plan(SOURCE, target, pairs(SOURCE, lambda _: True, set(), lambda name: name), "main")


def test_it_makes_every_step_and_then_none() -> None:
    target = Target(EMPTY)
    told: list[int] = []
    outcome = carry_out(planned(EMPTY), target, EVERYTHING, lambda _, number: told.append(number))
    assert (len(outcome.done), outcome.left, outcome.fault, outcome.exit_code) == (target.calls, [], None, Exit.DONE)
    assert told == list(range(1, target.calls + 1))
    again = carry_out(planned(target.vhost), target, EVERYTHING)
    assert (again.done, again.skipped, again.left) == ([], [], [])


def test_interrupted_after_any_step_and_run_again_it_ends_the_same() -> None:
    whole = Target(EMPTY)
    carry_out(planned(EMPTY), whole, EVERYTHING)
    for calls in range(whole.calls):
        target = Target(EMPTY, calls, Unreachable("target: gone"))
        outcome = carry_out(planned(EMPTY), target, EVERYTHING)
        assert (len(outcome.done), len(outcome.left)) == (calls, whole.calls - calls)
        assert outcome.exit_code == Exit.UNREACHABLE
        target.fault = None
        carry_out(planned(target.vhost), target, EVERYTHING)
        assert target.vhost == whole.vhost


def test_a_dry_run_carries_out_the_same_calls() -> None:
    recorder = Recorder()
    found = planned(EMPTY)
    assert carry_out(found, recorder, EVERYTHING).exit_code == Exit.DONE
    assert [(call.method, call.path, call.body) for call in recorder.calls] == [
        (step.method, step.path, step.body) for step in found.steps
    ]


def test_what_is_in_the_way_stops_it_before_it_begins() -> None:
    target = Target(vhost("qhost", queue("mail", ready=3), version=(4, 3), default_queue_type="quorum"))
    outcome = carry_out(planned(target.vhost), target, EVERYTHING)
    assert (outcome.done, target.calls, outcome.exit_code) == ([], 0, Exit.REFUSED)
    assert str(outcome.fault) == (
        "nothing was changed, since these are in the way on the target:\n"
        'queue "mail": is there as a classic queue with 3 messages'
    )
    told = outcome.as_json()
    assert told["fault"] == str(outcome.fault)
    assert told["hint"].startswith("queue mail: empty and delete it")
    assert told["conflicts"][0]["resource"] == {"kind": "queue", "name": "mail"}
    assert len(told["left"]) == len(planned(target.vhost).steps)


def test_rights_that_are_known_to_be_missing_stop_it_before_it_begins() -> None:
    target = Target(EMPTY)
    little = Permissions("bridge", "^celery", ".*", ".*", ("administrator",))
    outcome = carry_out(planned(EMPTY), target, little)
    assert (outcome.done, target.calls) == ([], 0)
    first, *each = str(outcome.fault).splitlines()
    assert first == f'nothing was changed: user "bridge" may not do 4 of {len(outcome.left)} steps:'
    assert each[0] == 'declare quorum queue "mail"; needs configure on queue "mail"'
    assert each[1].endswith('; needs configure on exchange "bridge.quarantine"')
    assert each[2].endswith('; needs configure on queue "bridge.control.main"')
    assert each[3].endswith('; needs configure on queue "bridge.quarantine"')
    assert outcome.fault is not None
    assert "bridge plan --definitions" in outcome.fault.hint


def test_what_it_can_do_without_is_left_out() -> None:
    target = Target(EMPTY)
    maker = Permissions("bridge", ".*", ".*", ".*", ("policymaker",))
    outcome = carry_out(planned(EMPTY), target, maker)
    assert [step.kind for step in outcome.skipped] == ["vhost"]
    assert (outcome.exit_code, outcome.left) == (Exit.DONE, [])


def failed(status: int) -> CallFailed:
    return CallFailed("target", "PUT", "x", status, "no", hint="their hint")


def test_the_brokers_own_refusal_of_rights_tells_who_can_help() -> None:
    target = Target(EMPTY, 3, failed(401))
    outcome = carry_out(planned(EMPTY), target, None)
    assert (len(outcome.done), outcome.exit_code) == (3, Exit.REFUSED)
    assert isinstance(outcome.fault, Refused)
    assert (str(outcome.fault), outcome.fault.hint) == ("target: PUT /api/x was refused: no (401)", applying.IMPORT)


def test_the_brokers_own_refusal_of_what_it_can_do_without() -> None:
    outcome = carry_out(planned(EMPTY), Target(EMPTY, 0, failed(401)), None)
    # The target of this test fails at its first call for ever, so the next step is refused as well.
    assert ([step.kind for step in outcome.skipped], outcome.done) == (["vhost"], [])
    assert outcome.fault is not None


def test_any_other_refusal_stops_it() -> None:
    outcome = carry_out(planned(EMPTY), Target(EMPTY, 0, failed(400)), None)
    assert (outcome.skipped, outcome.done, len(outcome.left)) == ([], [], len(planned(EMPTY).steps))
    assert outcome.fault is not None
    assert outcome.fault.hint == "their hint"


@pytest.mark.parametrize(
    ("tags", "lacking"),
    [
        ((), {"administrator", "policymaker", "management"}),
        (("monitoring",), {"administrator", "policymaker"}),
        (("management",), {"administrator", "policymaker"}),
        (("policymaker",), {"administrator"}),
        (("administrator",), set()),
    ],
)
def test_tags(tags: tuple[str, ...], lacking: set[str]) -> None:
    told = {text for step in planned(EMPTY).steps for text in missing(step, Permissions("u", ".*", ".*", ".*", tags))}
    assert told == {f'the tag "{tag}"' for tag in lacking}


# -- looking at both sides

CONFIG = """
source: {{amqp: "amqp://u:p@old/chost"{old}}}
target: {{amqp: "amqp://u:p@new/qhost"{new}}}
queues: {{include: [mail, out, x], exclude: [out], settings: [{{match: mail, target: mail-v2}}]}}
"""


def config(old: str = ', api: "http://old:15672"', new: str = ', api: "http://new:15672"') -> Config:
    return parse(CONFIG.format(old=old, new=new), {})


class Api:
    """An API with one vhost to tell of."""

    def __init__(self, vhost: Vhost) -> None:
        self._vhost = vhost

    def snapshot(self, name: str, user: str | None = None) -> Vhost:
        assert name == self._vhost.name
        return self._vhost


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    source = vhost("chost", queue("mail"), queue("out"), queue("x", kind="stream"))
    target = vhost("qhost", queue("mail-v2", {"x-queue-type": "quorum"}, kind="quorum"), version=(4, 3))
    monkeypatch.setattr(applying.sides, "management", lambda name, _: Api(source if name == "source" else target))


@pytest.mark.usefixtures("both")
def test_a_survey_pairs_what_is_in_scope() -> None:
    found = survey(config())
    assert [(pair.source.name, pair.target) for pair in found.pairs] == [("mail", "mail-v2")]
    assert 'declare quorum queue "mail-v2" for "mail"' not in [step.sentence for step in found.plan("main").steps]


@pytest.mark.usefixtures("both")
def test_rights_are_for_the_whole_way_whatever_is_done_of_it() -> None:
    found = wanted_rights(config())
    assert found.source.read == "^mail$"
    assert "|mail-v2)$" in found.apply.configure


@pytest.mark.parametrize(("side", "given"), [("source", config(old="")), ("target", config(new=""))])
def test_without_an_api_there_is_no_plan(side: str, given: Config) -> None:
    with pytest.raises(ConfigError, match=f"{side}.api: missing"):
        survey(given)
