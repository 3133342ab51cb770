"""What is told of a status to who knows the one before."""

from __future__ import annotations

import copy
from typing import Any

from bridge.web.differences import around, listed, rows

BEFORE: dict[str, Any] = {
    "now": "12:00:00",
    "state": "active",
    "old_side": {"publishers": [], "age_s": 3.0},
    "totals": {"moved": 1, "rate": 0.5},
    "queues": [
        {"name": "a", "moved": 1, "depth": {"old": {"ready": 1, "age_s": 0.2}, "new": None}},
        {"name": "b", "moved": 0, "depth": {"old": {"ready": 0, "age_s": 0.2}, "new": None}},
    ],
}


def change(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {**around(before, after), **listed(before["queues"], after["queues"])}


def after(**changed: Any) -> dict[str, Any]:
    return {**copy.deepcopy(BEFORE), "now": "12:00:01", **changed}


def test_nothing_but_the_time_is_told_of_a_status_that_is_the_same() -> None:
    assert change(BEFORE, after()) == {"now": "12:00:01", "top": {}, "totals": {}, "queues": [], "gone": []}


def test_only_keys_that_changed_are_told() -> None:
    new = after(state="stopping", totals={"moved": 2, "rate": 0.5})
    new["queues"][0]["moved"] = 2
    told = change(BEFORE, new)
    assert told["top"] == {"state": "stopping"}
    assert told["totals"] == {"moved": 2}
    assert told["queues"] == [{"name": "a", "moved": 2}]


def test_an_age_that_only_grows_is_no_change() -> None:
    new = after(old_side={"publishers": [], "age_s": 4.0})
    new["queues"][0]["depth"]["old"]["age_s"] = 1.2
    assert change(BEFORE, new)["top"] == {}
    assert change(BEFORE, new)["queues"] == []


def test_an_age_that_began_anew_is_one_and_so_is_a_value_beside_it() -> None:
    new = after(old_side={"publishers": [], "age_s": 0.1})
    new["queues"][0]["depth"]["old"] = {"ready": 5, "age_s": 1.2}
    told = change(BEFORE, new)
    assert told["top"] == {"old_side": {"publishers": [], "age_s": 0.1}}
    assert told["queues"] == [{"name": "a", "depth": {"old": {"ready": 5, "age_s": 1.2}, "new": None}}]
    assert change(after(old_side={"age_s": None}), after(old_side={"age_s": 1}))["top"] == {"old_side": {"age_s": 1}}


def test_what_comes_and_goes_is_told() -> None:
    new = after()
    new["queues"] = [new["queues"][0], {"name": "c", "moved": 0}]
    del new["old_side"]
    told = change(BEFORE, new)
    assert told["queues"] == [{"name": "c", "moved": 0}]
    assert told["gone"] == ["b"]
    assert told["top"] == {"old_side": None}


def test_a_row_is_what_a_list_shows_of_a_queue() -> None:
    queue = {
        "name": "a",
        "target": "a2",
        "route": "quorum",
        "paused": False,
        "state": "moving",
        "why": "",
        "drained": False,
        "next": ["legacy"],
        "rate": 3.5,
        "moved": 17,
        "planned": {"verb": "legacy"},
        "depth": {"old": {"ready": 1, "unacked": 2, "consumers": 3, "age_s": 4}, "new": None},
        "gate": [{"check": "one", "ok": True, "text": "fine"}, {"check": "two", "ok": False, "text": "no workers"}],
    }
    assert rows({"queues": [queue]}) == [
        {
            "name": "a",
            "target": "a2",
            "route": "quorum",
            "paused": False,
            "state": "moving",
            "why": "",
            "drained": False,
            "next": ["legacy"],
            "rate": 3.5,
            "depth": [1, 2, 3, None, None],
            "planned": True,
            "shut": "no workers",
        }
    ]
    open_gate = {**queue, "gate": queue["gate"][:1], "planned": None}
    assert [(row["shut"], row["planned"]) for row in rows({"queues": [open_gate]})] == [("", False)]
    assert rows({"queues": [{"name": "new"}]})[0]["shut"] is None
