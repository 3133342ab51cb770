from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bridge.core.pairs import Pair
from bridge.core.permissions import Grants, grants
from bridge.core.plan import plan
from bridge.core.rights import needed, of_reverse
from bridge.core.topology import Exchange, Vhost
from tests.support.topologies import queue, vhost

SOURCE = vhost(
    "chost",
    *(queue(name) for name in ("mail", "a.q1", "reports.day", "reports.week")),
    replace(queue("celery@w.celery.pidbox"), durable=False),
    exchanges=(Exchange("celery", "direct"),),
    bindings=(("celery", "mail", "mail"),),
)
EMPTY = vhost("qhost", version=(4, 3, 6))


def of(include: tuple[str, ...] = ("*",), *, mail: str = "mail", source: Vhost = SOURCE, without: str = "") -> Grants:
    listed = [
        Pair(each, mail if name == "mail" else name)
        for name, each in sorted(source.queues.items())
        if each.durable and name != without
    ]
    return grants(listed, source.queues, include, plan(source, EMPTY, listed, "main"), "main")


def test_names_are_listed_and_nothing_more_is_granted() -> None:
    found = of()
    assert found.source.as_json() == {
        "configure": "^$",
        "write": "^$",
        "read": r"^(a\.q1|mail|reports\.day|reports\.week)$",
        "tag": "management",
    }
    assert found.target.configure == (
        r"^(celery_delayed_([0-9]|1[0-9]|2[0-7]|delivery)|bridge\.delayed\.([0-9]|1[0-9]|2[0-7])|"
        r"bridge\.control\.main|bridge\.quarantine)$"
    )
    assert found.target.write == (
        r"^(celery_delayed_([0-9]|1[0-9]|2[0-7]|delivery)|bridge\.delayed\.([0-9]|1[0-9]|2[0-7])|"
        r"a\.q1|amq\.default|bridge\.quarantine|mail|"
        r"reports\.day|reports\.week)$"
    )
    assert found.as_json()["apply"]["tag"] == "management"


@pytest.mark.parametrize("side", ["source", "target"])
def test_the_backup_is_granted_on_its_side(side: str) -> None:
    listed = [Pair(SOURCE.queues["mail"], "mail")]
    wanted = plan(SOURCE, EMPTY, listed, "main")
    found = {backup: grants(listed, SOURCE.queues, ("*",), wanted, "main", backup).as_json() for backup in (None, side)}
    other = "target" if side == "source" else "source"
    assert found[side][other] == found[None][other]
    for right in ("configure", "write", "read"):
        assert "bridge\\.backup" in found[side][side][right]
        assert "bridge\\.backup" not in found[None][side][right]


def test_on_the_legacy_side_nothing_but_to_publish() -> None:
    listed = [Pair(SOURCE.queues["mail"], "mail")]
    wanted = plan(SOURCE, EMPTY, listed, "main")
    found = grants(listed, SOURCE.queues, ("*",), wanted, "main", inline=True).as_json()
    assert found["legacy"] == {"configure": "^$", "write": r"^amq\.default$", "read": "^$", "tag": "management"}
    assert "legacy" not in of().as_json()


@pytest.mark.parametrize("inline", [False, True])
def test_what_brings_tasks_back_is_granted_when_asked_for(inline: bool) -> None:
    listed = [Pair(SOURCE.queues["mail"], "mail-v2")]
    wanted = plan(SOURCE, EMPTY, listed, "main")
    there, back = (
        grants(listed, SOURCE.queues, ("*",), wanted, "main", inline=inline, reverse=reverse)
        for reverse in (False, True)
    )
    assert (there.source.write, back.source.write) == ("^$", "^$" if inline else r"^amq\.default$")
    assert not re.search(there.target.read, "mail-v2")
    for right in of_reverse([("mail", "mail-v2")], inline=inline):
        assert re.search(getattr(getattr(back, right.side), right.right), right.name), right


def test_every_right_that_is_needed_is_granted() -> None:
    found = of(("reports.*", "*"), mail="mail-v2")
    pairs = [(name, "mail-v2" if name == "mail" else name) for name in SOURCE.queues if "pidbox" not in name]
    for right in needed(pairs, "main"):
        grant = getattr(found, right.side)
        assert re.search(getattr(grant, right.right), right.name), right
        assert re.search(getattr(found.apply, right.right), right.name) or right.side == "source"


def test_a_pattern_of_the_configuration_stays_one() -> None:
    assert of(("reports.*", "mail", "a.?1")).source.read == r"^(reports\..*|a\.q1|mail)$"
    # Whose sisters have other names, is listed on the target.
    assert of(("m*", "reports.*")).source.read == r"^(reports\..*|a\.q1|mail)$"
    two = vhost("c", queue("mail"), queue("mails"))
    renamed = of(("mail*",), mail="post", source=two)
    assert renamed.source.read == "^mail.*$"
    assert "|mails|post)$" in renamed.target.write


@pytest.mark.parametrize("include", ["*", "?*", "[mr]*", "mail", "celery*"])
def test_a_pattern_that_would_grant_too_much_does_not(include: str) -> None:
    assert of((include,)).source.read == r"^(a\.q1|mail|reports\.day|reports\.week)$"


def test_a_pattern_with_a_queue_that_is_left_out_does_not_stay() -> None:
    assert of(("reports.*",), without="reports.day").source.read == r"^(a\.q1|mail|reports\.week)$"


def test_one_name_and_none() -> None:
    assert of(source=vhost("c", queue("mail"))).source.read == "^mail$"
    assert of(source=vhost("c")).source.read == "^$"


def test_a_plan_with_policies_needs_the_tag() -> None:
    source = vhost("c", queue("mail", {}, {"max-length": 5}))
    assert of(source=source).apply.tag == "policymaker"
    assert of(source=source).target.tag == "management"
