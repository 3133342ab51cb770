"""What becomes of each message of the ladder while queues are brought back."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pytest

from bridge.core import ladder
from bridge.core import properties as p
from bridge.core.ladder_back import DUE_EXCHANGE, Bringing, Ends, Found, LeaveTimes, Send
from bridge.core.topology import Binding
from tests.support import wire
from tests.support.playbook import WALL

NOW = datetime.fromtimestamp(WALL, UTC)
DELIVERY = ladder.DELIVERY_EXCHANGE


def at(**ahead: float) -> str:
    return (NOW + timedelta(**ahead)).isoformat()


def binding(source: str, to: str, key: str, kind: str = "queue") -> Binding:
    return Binding(source, to, kind, key)


#: As kombu binds `mail`, `a.mail` and `sms` on one topic exchange, and the bridge its own exits.
CELERY = [
    *(binding(DELIVERY, "celery", f"#.{name}", "exchange") for name in ("mail", "a.mail", "sms")),
    *(binding("celery", name, f"#.{name}") for name in ("mail", "a.mail", "sms")),
    *(binding(DELIVERY, name, ladder.exit_pattern(name)) for name in ("mail", "sms")),
    # Round in a circle.
    binding("celery", DELIVERY, "#.sms", "exchange"),
]
TYPES = {DELIVERY: "topic", "celery": "topic", "direct": "direct", "all": "fanout", "by-headers": "headers"}


def bringing(*back: str, bindings: Collection[Binding] | None = CELERY, times: LeaveTimes | None = None) -> Bringing:
    ends = None if bindings is None else Ends(TYPES, bindings)
    return Bringing(frozenset(back), ends, (b"old", b"new"), times or LeaveTimes())


def found(
    suffix: str, *, delay: int = 100, level: int = 6, eta: str | None = None, body: bytes = b"[]", **headers: object
) -> Found:
    task = wire.task_headers(eta=eta, **headers)
    header = wire.header(
        {p.HEADERS: wire.table(task), p.PRIORITY: b"\x09", p.EXPIRATION: wire.shortstr(b"9")}, len(body)
    )
    return Found(level, ladder.level_name(level), ladder.entry(delay, suffix).routing_key, header, body)


def again(send: Send) -> tuple[str, str]:
    """Exchange and key of what goes into the ladder again."""
    assert send.queue == ""
    return send.exchange.decode(), send.key.decode()


def names(header: bytes) -> set[bytes]:
    return {field.name for field in p.fields(header, *p.spans(header)[p.HEADERS])}


# -- ours
# ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [ladder.exit_word("mail"), "mail"])
@pytest.mark.parametrize("bindings", [CELERY, None, []])
def test_a_task_of_a_queue_that_is_brought_back_is_a_plain_one_again(
    suffix: str, bindings: Collection[Binding] | None
) -> None:
    task = found(suffix, eta=at(seconds=90), **{"x-death": [], "x-first-death-queue": "celery_delayed_7"})
    [send] = bringing("mail", bindings=bindings).sends(task, WALL)
    assert send.queue == "mail"
    assert names(send.header) == names(task.header) - {b"x-death", b"x-first-death-queue"}
    assert p.spans(send.header).keys() == p.spans(task.header).keys()


def test_a_hashed_word_is_known_by_the_queues_that_are_brought_back() -> None:
    name = "q" * 250
    task = found(ladder.exit_word(name), eta=at(seconds=90))
    assert [send.queue for send in bringing(name, bindings=None).sends(task, WALL)] == [name]
    assert [send.queue for send in bringing("mail", bindings=None).sends(task, WALL)] == [""]


def test_a_word_that_is_not_ascii_is_none_of_ours() -> None:
    [send] = bringing("mail").sends(found(ladder.WORD_PREFIX + "\udcff", eta=at(seconds=90)), WALL)
    assert send.key.endswith(b"bridge:\xff")


# -- others
# ----------------------------------------------------------------------------------------------------------------


def test_another_queues_task_stays_what_it_is() -> None:
    task = found("sms", eta=at(seconds=70.9), **{"x-death": []})
    [send] = bringing("mail").sends(task, WALL)
    assert again(send) == tuple(ladder.entry(70, "sms"))
    assert names(send.header) == names(task.header) - {b"x-death"}
    assert p.EXPIRATION not in p.spans(send.header)
    assert send.header.count(b"\x09") >= 1


def test_what_became_due_meanwhile_goes_on_at_once() -> None:
    [send] = bringing("mail").sends(found("sms", eta=at(seconds=0.5)), WALL)
    assert (send.exchange, send.key) == (DUE_EXCHANGE, b"0." * 28 + b"sms")
    [send] = bringing("mail").sends(found(ladder.exit_word("sms"), eta=at(seconds=-9)), WALL)
    assert send.key == b"0." * 28 + b"bridge:sms"


def test_what_no_binding_takes_stays_for_the_one_that_may_come() -> None:
    [send] = bringing("mail", bindings=[]).sends(found("sms", eta=at(seconds=70)), WALL)
    assert again(send) == tuple(ladder.entry(70, "sms"))


def test_a_key_that_is_none_of_the_ladders_goes_where_it_came_from() -> None:
    [send] = bringing("mail").sends(Found(3, "", "celery_delayed_3", wire.header({}, 1), b"x"), WALL)
    assert again(send) == ("", "celery_delayed_3")


def test_a_header_that_cannot_be_read_passes_as_it_is() -> None:
    header = b"\x00<\x00\x00" + bytes(8) + b"\x20\x00\x00\x00\x00\x09"
    [send] = bringing("mail").sends(Found(6, "", ladder.entry(100, "sms").routing_key, header, b""), WALL)
    assert again(send) == tuple(ladder.entry(100, "sms"))
    assert send.header == header


def test_a_task_without_headers_has_its_eta_in_its_body() -> None:
    body = b'{"task": "t", "id": "1", "args": [], "eta": "%s"}' % at(seconds=66).encode()
    header = wire.header(
        {p.CONTENT_TYPE: wire.shortstr(b"application/json"), p.USER_ID: wire.shortstr(b"app")}, len(body)
    )
    [send] = bringing("mail").sends(Found(6, "", ladder.entry(100, "sms").routing_key, header, body), WALL)
    assert again(send) == tuple(ladder.entry(66, "sms"))
    assert p.USER_ID not in p.spans(send.header)


# -- for several queues
# ----------------------------------------------------------------------------------------------------


def test_a_suffix_that_two_patterns_match_goes_each_way_once() -> None:
    task = found("a.mail", eta=at(seconds=70))
    back, stays = bringing("mail").sends(task, WALL)
    assert back.queue == "mail"
    assert again(stays) == tuple(ladder.entry(70, ladder.exit_word("a.mail")))
    assert [send.queue for send in bringing("mail", "a.mail").sends(task, WALL)] == ["a.mail", "mail"]
    assert bringing("mail").reach(task.key) == {"mail", "a.mail"}


def test_by_name_alone_a_suffix_is_one_queue() -> None:
    assert [send.queue for send in bringing("mail", bindings=None).sends(found("a.mail"), WALL)] == [""]


def test_ways_through_exchanges_of_every_kind() -> None:
    ends = Ends(
        TYPES,
        [
            binding(DELIVERY, "all", "#.news", "exchange"),
            binding("all", "q1", "whatever"),
            binding("all", "q2", ""),
            binding(DELIVERY, "direct", "#.exact", "exchange"),
            binding("direct", "q3", ladder.entry(1, "exact").routing_key),
            binding("direct", "q4", "exact"),
            binding(DELIVERY, "by-headers", "#.odd", "exchange"),
            binding("by-headers", "q5", ""),
        ],
    )
    assert ends.queues("news") == {"q1", "q2"}
    assert ends.queues("exact") == {"q3"}
    assert ends.queues("odd") is None
    assert ends.queues("nowhere") == frozenset()


def test_what_cannot_be_told_stays_unless_it_is_by_our_own_exit() -> None:
    bindings = [
        binding(DELIVERY, "by-headers", "#.odd", "exchange"),
        binding(DELIVERY, "by-headers", "#.bridge:odd", "exchange"),
        binding("by-headers", "odd", ""),
    ]
    odd = bringing("odd", bindings=bindings)
    assert [send.queue for send in odd.sends(found("odd", eta=at(seconds=9)), WALL)] == [""]
    assert [send.queue for send in odd.sends(found("bridge:odd", eta=at(seconds=9)), WALL)] == ["odd"]


# -- what an old queue refuses
# ---------------------------------------------------------------------------------------------


def test_what_is_refused_is_in_the_ladder_for_a_second_at_least() -> None:
    mail = bringing("mail")
    word = ladder.exit_word("mail")
    assert again(mail.stays(found("mail", eta=at(seconds=70)), WALL, "mail", least=1)) == tuple(ladder.entry(70, word))
    assert again(mail.stays(found("mail", eta=at(seconds=-5)), WALL, "mail", least=1)) == tuple(ladder.entry(1, word))


# -- no ETA
# ----------------------------------------------------------------------------------------------------------------


def test_without_an_eta_the_bits_say_the_most_that_can_be_left() -> None:
    times = LeaveTimes()
    there = bringing("mail", times=times)
    # 0b1100100: 64 s of the 100 are waited for when it is met in level 5.
    [send] = there.sends(found("sms", level=5), WALL)
    assert again(send) == tuple(ladder.entry(36, "sms"))
    # Ten and a half seconds later it is met again: not the 36 s of its key once more, and not early.
    [send] = there.sends(found("sms", delay=36, level=5), WALL + 10.5)
    assert again(send) == tuple(ladder.entry(26, "sms"))
    [send] = there.sends(found("sms", delay=26, level=4), WALL + 36)
    assert send.exchange == DUE_EXCHANGE
    [send] = there.sends(found("sms", delay=26, level=4), WALL + 36)
    assert again(send) == tuple(ladder.entry(26, "sms")), "it is another one: the first is remembered no more"


def test_an_eta_that_cannot_be_read_counts_as_none() -> None:
    [send] = bringing("mail").sends(found("sms", eta="tomorrow"), WALL)
    assert again(send) == tuple(ladder.entry(100, "sms"))


def test_only_so_many_are_remembered() -> None:
    there = bringing("mail", times=LeaveTimes(most=1))
    for body in (b"[1]", b"[2]"):
        there.sends(found("sms", body=body), WALL)
    [first] = there.sends(found("sms", body=b"[1]"), WALL + 10)
    assert again(first) == tuple(ladder.entry(100, "sms"))
