"""Translation: who wins where argument and policy differ, and what each key comes to on each kind of target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.core import translate
from bridge.core.topology import Queue
from bridge.core.translate import How, Value

ROOT = Path(__file__).parents[3]


def queue(
    kind: str = "classic", arguments: dict[str, Any] | None = None, policy: dict[str, Any] | None = None
) -> Queue:
    return Queue(
        "mail", kind, durable=True, exclusive=False, auto_delete=False, arguments=arguments or {}, policy=policy or {}
    )


@pytest.mark.parametrize(
    ("kind", "version", "key", "argument", "policy", "wins"),
    [
        ("classic", (3, 10), "message-ttl", 1000, 2000, 1000),
        ("classic", (3, 10), "message-ttl", 2000, 1000, 1000),
        ("classic", (3, 10), "expires", 2000, 1000, 1000),
        ("classic", (3, 10), "overflow", "reject-publish", "drop-head", "reject-publish"),
        ("classic", (3, 10), "dead-letter-exchange", "a", "b", "a"),
        ("classic", (3, 10), "max-length", 10, "many", 10),
        ("classic", (3, 10), "ours", 1, 2, 1),
        ("quorum", (4, 3), "overflow", "reject-publish", "drop-head", "drop-head"),
        ("quorum", (4, 3), "dead-letter-exchange", "a", "b", "a"),
        ("quorum", (3, 10), "expires", 1000, 2000, 2000),
        ("quorum", (4, 0), "expires", 1000, 2000, 1000),
        ("quorum", (3, 10), "delivery-limit", -1, 5, -1),
        ("quorum", (4, 0), "delivery-limit", -1, 5, 5),
        ("quorum", (4, 0), "delivery-limit", 5, -1, 5),
        ("quorum", (4, 0), "delivery-limit", 5, 7, 5),
        ("quorum", (4, 0), "delivery-limit", 5, "none", 5),
        ("stream", (4, 3), "max-length-bytes", 5, 4, 5),
    ],
)
def test_argument_or_policy_wins_as_in_the_broker(
    kind: str, version: tuple[int, ...], key: str, argument: object, policy: object, wins: object
) -> None:
    values = translate.effective(queue(kind, {f"x-{key}": argument}, {key: policy}), version)
    assert values == {key: Value(wins, "both")}


def test_what_only_one_of_them_says_is_in_force() -> None:
    values = translate.effective(
        queue(arguments={"x-queue-type": "classic", "x-max-priority": 9}, policy={"message-ttl": 5, "max-priority": 3})
    )
    assert values == {"max-priority": Value(9, "argument"), "message-ttl": Value(5, "policy")}


OLD, TWO, STRICT = (3, 13), (4, 2), (4, 3)


@pytest.mark.parametrize(
    ("version", "key", "value", "new", "how"),
    [
        (OLD, "max-priority", 10, "ignored", How.LOST),
        (TWO, "max-priority", 10, "two classes: 0 to 4, and 5 up", How.LOST),
        (STRICT, "max-priority", 10, "32 levels: 0 to 31", How.KEPT),
        (STRICT, "max-priority", 255, "32 levels: 0 to 31", How.LOST),
        (OLD, "message-ttl", 60000, 60000, How.POLICY),
        (OLD, "overflow", "drop-head", "drop-head", How.POLICY),
        (OLD, "overflow", "reject-publish", "reject-publish", How.POLICY),
        (OLD, "overflow", "reject-publish-dlx", "reject-publish", How.POLICY),
        (OLD, "single-active-consumer", True, True, How.ARGUMENT),
        (OLD, "single-active-consumer", False, "off", How.KEPT),
        ((3, 11), "consumer-timeout", 1000, "the broker's", How.LOST),
        ((3, 12), "consumer-timeout", 1000, 1000, How.POLICY),
        (OLD, "queue-mode", "lazy", "bodies on disk", How.LOST),
        (OLD, "message-deduplication", True, "none", How.LOST),
    ],
)
def test_each_key_comes_to_what_a_quorum_queue_does(
    version: tuple[int, ...], key: str, value: object, new: object, how: How
) -> None:
    (found,) = translate.translate(queue(arguments={f"x-{key}": value}), version)
    assert (found.key, found.old, found.new, found.how) == (key, Value(value, "argument"), new, how)
    assert found.reason


def test_translations_come_by_key() -> None:
    found = translate.translate(queue(arguments={"x-queue-mode": "lazy", "x-max-priority": 5}), STRICT)
    assert [translation.key for translation in found] == ["max-priority", "queue-mode"]


def test_the_page_of_the_documentation_is_current() -> None:
    assert (ROOT / "docs" / "plan" / "translation.md").read_text() == translate.page(), (
        'run: .venv/bin/python -c "from bridge.core.translate import page; print(page(), end=str())" '
        "> docs/plan/translation.md"
    )
