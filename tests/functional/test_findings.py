"""Each finding of `bridge check` on real brokers: one state that raises it, and one that does not.

All scenes of all worlds stand beside each other and are checked at once, since most of a check is waiting for what the
brokers report; the night, which is bad for every vhost of a broker, comes last.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest

from bridge.core.check.finding import Severity
from bridge.core.check.table import KINDS
from bridge.lab.brokers import Brokers, Cluster, Side
from bridge.lab.deadline import until
from tests.functional.findings_scenes import REPORTED, SCENES, Stage
from tests.functional.findings_table import ALL, NEVER, ROWS, STANDING, STRICT, Row
from tests.support.brokers import WORLDS, Vhosts
from tests.support.peers import Admin

pytestmark = pytest.mark.functional

#: Scenes that are made, and checks that run, at once.
AT_ONCE = 4


class Seen(NamedTuple):
    """What a check said of a stage.

    Attributes:
        code: its exit code.
        out: what it printed, JSON.
        names: what the placeholders of the table stand for.
    """

    code: int
    out: str
    names: dict[str, str]

    @property
    def findings(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(self.out)["findings"]
        return found

    @property
    def ids(self) -> set[str]:
        return {finding["id"] for finding in self.findings}


#: By world and scene; one clean pair is checked twice.
Checked = dict[tuple[str, str], Seen]


@pytest.fixture(scope="module")
def checked(
    request: pytest.FixtureRequest, broker_set: Brokers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Checked]:
    """What check says in every scene of the worlds that are asked for."""
    folder = tmp_path_factory.mktemp("findings")
    items = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    asked = {item.callspec.params.get("world") for item in items if hasattr(item, "callspec")}
    # Scene by scene: the messy ones wait longest.
    left = {(world, scene): ExitStack() for scene in SCENES for world in ALL if world in asked}
    stages: dict[tuple[str, str], Stage] = {}

    def seen(key: tuple[str, str]) -> Seen:
        return Seen(*stages[key].check(folder), names(stages[key]))

    def day(key: tuple[str, str]) -> Checked:
        stages[key] = left[key].enter_context(staged(broker_set, key[0]))
        SCENES[key[1]](stages[key])
        stages[key].reported()
        found = {} if key[1] == "night" else {key: seen(key)}
        if key == (STRICT, "clean"):
            found[STRICT, "clean again"] = seen(key)
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            found = {key: one for checks in pool.map(day, left) for key, one in checks.items()}
            nights = [key for key in stages if key[1] == "night"]
            with bad_night(broker_set.clusters.values()):
                found |= dict(zip(nights, pool.map(seen, nights), strict=True))
            yield found
        finally:
            list(pool.map(ExitStack.close, left.values()))


@contextmanager
def staged(brokers: Brokers, world: str) -> Iterator[Stage]:
    """A fresh pair of vhosts with someone connected to both."""
    word = secrets.token_hex(4)
    old, new = (brokers.clusters[version] for version in WORLDS[world])
    pair = Vhosts(Side(old, f"chost-{word}"), Side(new, f"qhost-{word}"))
    with ExitStack() as left:
        for side in (pair.old, pair.new):
            left.callback(side.cluster.drop_vhost, side.vhost)
            side.cluster.make_vhost(side.vhost)
        yield left.enter_context(Stage(pair))


def names(stage: Stage) -> dict[str, str]:
    """What the placeholders of the table stand for."""
    old, new = stage.pair.old, stage.pair.new
    vhosts = {"old": old.vhost, "new": new.vhost, "user": stage.user}
    return {**vhosts, "old_node": old.nodes[0].name, "new_node": new.nodes[0].name}


@contextmanager
def bad_night(clusters: Iterable[Cluster]) -> Iterator[None]:
    """No memory and no disk on any broker."""
    nodes = [cluster.nodes[0] for cluster in clusters]
    call = (
        "vm_memory_monitor:set_vm_memory_high_watermark({{absolute, {}}}), rabbit_disk_monitor:set_disk_free_limit({})."
    )

    def shown() -> list[dict[str, Any]]:
        return [Admin(node.api()).call("GET", "nodes")[0] for node in nodes]

    def alarms() -> list[bool]:
        return [one[alarm] for one in shown() for alarm in ("mem_alarm", "disk_free_alarm")]

    usual = [call.format(one["mem_limit"], one["disk_free_limit"]) for one in shown()]
    # In bytes: less memory than any broker takes, and more disk than there is.
    none = [call.format(10**6, 10**15)] * len(nodes)
    with ThreadPoolExecutor(len(nodes)) as pool:
        try:
            list(pool.map(lambda node, limits: node.ctl("eval", limits), nodes, none))
            assert until(lambda: all(alarms()), REPORTED)
            yield
        finally:
            list(pool.map(lambda node, limits: node.ctl("eval", limits), nodes, usual))
            assert until(lambda: not any(alarms()), REPORTED)


# -- the table


def test_every_kind_has_a_row_or_a_reason() -> None:
    assert {row.id for row in ROWS} | NEVER.keys() == KINDS.keys()
    assert not {row.id for row in ROWS} & NEVER.keys()
    assert all(row.why or row.worlds == ALL for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.id}")
@pytest.mark.parametrize("world", ALL)
def test_a_state_raises_it(world: str, row: Row, checked: Checked) -> None:
    if world not in row.worlds:
        assert not [key for key, seen in checked.items() if key[0] == world and row.id in seen.ids], row.why
        return
    seen = checked[world, row.scene]
    found = [finding for finding in seen.findings if finding["id"] == row.id]
    assert row.subject.format(**seen.names) in {finding["subject"] for finding in found}, (row.state, found)


@pytest.mark.parametrize("world", ALL)
def test_a_clean_pair_raises_nothing_but_what_it_must(world: str, checked: Checked) -> None:
    seen = checked[world, "clean"]
    standing = {row.id for row in ROWS if row.id in STANDING and world in row.worlds}
    assert seen.ids == standing, seen.findings
    assert seen.code == 0
    for kind, scene in STANDING.items():
        if not scene.startswith("nowhere"):
            assert kind not in checked[world, scene].ids


# -- the command


@pytest.mark.parametrize("world", ALL)
def test_blockers_make_it_exit_1(world: str, checked: Checked) -> None:
    for scene in SCENES:
        seen = checked[world, scene]
        assert seen.code == any(finding["severity"] == "blocker" for finding in seen.findings)
    assert [checked[world, scene].code for scene in ("clean", "messy", "night")] == [0, 1, 1]


@pytest.mark.parametrize("world", [STRICT])
def test_its_json_is_the_same_each_time(world: str, checked: Checked) -> None:
    assert checked[world, "clean again"].out == checked[world, "clean"].out


@pytest.mark.parametrize("world", ALL)
def test_its_json_counts_what_is_in_it_the_gravest_first(world: str, checked: Checked) -> None:
    order = [severity.value for severity in Severity]
    for scene in SCENES:
        told: dict[str, Any] = json.loads(checked[world, scene].out)
        severities = [finding["severity"] for finding in told["findings"]]
        counts = {key: number for key, number in told.items() if key != "findings"}
        assert counts == {f"{each}s": severities.count(each) for each in order}
        assert severities == sorted(severities, key=order.index)
        for finding in told["findings"]:
            assert list(finding) == ["id", "severity", "subject", "seen", "todo"]
            assert all(finding.values()), finding
            assert finding["severity"] == KINDS[finding["id"]].severity
