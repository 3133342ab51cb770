"""The ladder: our keys walked through kombu's own bindings, our words against every other queue's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kombu.connection import Connection
from kombu.transport import native_delayed_delivery as kombu_ladder

from bridge.core import ladder

DELAY = st.integers(1, ladder.MAX_DELAY)
#: Names of queues, and such as look like a part of what the ladder itself writes.
QUEUE = st.one_of(
    st.text(min_size=1, max_size=80),
    st.text("aq1.*#%~:/0 é", min_size=1, max_size=8),
    st.sampled_from(
        ["q1", "a.q1", "q.1", "1.0.q1", "#", "*", "#.q1", "~", "~00", "bridge:q1", "q%2E1", "q" * 255, "日" * 85]
    ),
)


class Level(NamedTuple):
    """One level's queue as kombu declares it."""

    seconds: int
    dead_letters_to: str


class Recorded:
    """A kombu channel that only notes what is declared and bound on it."""

    def __init__(self) -> None:
        self.queues: dict[str, Level] = {}
        #: From exchange: pattern and queue, pattern and exchange.
        self.to_queues: dict[str, list[tuple[str, str]]] = {}
        self.to_exchanges: dict[str, list[tuple[str, str]]] = {}


@pytest.fixture(scope="module")
def declared() -> Recorded:
    """The ladder that kombu declares, with the exits of a few queues, Celery's trap among them."""
    seen = Recorded()
    with Connection("memory://") as connection:
        channel = connection.default_channel

        def queue_declare(queue: str, arguments: dict[str, object], **_: object) -> object:
            milliseconds = arguments["x-message-ttl"]
            assert isinstance(milliseconds, int)
            seen.queues[queue] = Level(milliseconds // 1000, str(arguments["x-dead-letter-exchange"]))
            return type("Declared", (), {"queue": queue})

        channel.queue_declare = queue_declare
        channel.queue_bind = lambda queue, exchange, routing_key, **_: seen.to_queues.setdefault(exchange, []).append(
            (routing_key, queue)
        )
        channel.exchange_bind = lambda destination, source, routing_key, **_: seen.to_exchanges.setdefault(
            source, []
        ).append((routing_key, destination))
        channel.exchange_declare = lambda **_: None
        connection.channel = lambda: channel
        kombu_ladder.declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
    return seen


def walk(declared: Recorded, exchange: str, key: str) -> tuple[list[str], int]:
    """Levels a message waits in until it comes to the delivery exchange, and the seconds of it."""
    waited: list[str] = []
    seconds = 0
    while exchange != ladder.DELIVERY_EXCHANGE:
        hops = [hop for pattern, hop in declared.to_exchanges.get(exchange, []) if ladder.topic_matches(pattern, key)]
        queues = [
            queue for pattern, queue in declared.to_queues.get(exchange, []) if ladder.topic_matches(pattern, key)
        ]
        assert len(hops) + len(queues) == 1, f"{key} at {exchange}: to {hops} and {queues}"
        if queues:
            waited += queues
            seconds += declared.queues[queues[0]].seconds
            exchange = declared.queues[queues[0]].dead_letters_to
        else:
            exchange = hops[0]
    return waited, seconds


def set_bits(delay: int) -> Iterator[int]:
    return (level for level in reversed(range(ladder.LEVELS)) if delay >> level & 1)


def test_the_names_are_kombus() -> None:
    assert kombu_ladder.MAX_NUMBER_OF_BITS_TO_USE == ladder.LEVELS
    assert kombu_ladder.CELERY_DELAYED_DELIVERY_EXCHANGE == ladder.DELIVERY_EXCHANGE
    assert [ladder.level_name(level) for level in range(28)] == [kombu_ladder.level_name(level) for level in range(28)]


@pytest.mark.parametrize("level", [-1, 28])
def test_a_level_that_is_not_there(level: int) -> None:
    with pytest.raises(ValueError, match="0 to 27 allowed"):
        ladder.level_name(level)
    with pytest.raises(ValueError, match="0 to 27 allowed"):
        ladder.entry_name(level)


@given(DELAY)
@example(1)
@example(ladder.MAX_DELAY)
def test_our_entry_is_before_the_level_of_the_highest_set_bit_and_the_key_is_the_same(delay: int) -> None:
    ours, celerys = (ladder.entry(delay, "w", entries) for entries in (ladder.BY_BRIDGE, ladder.BY_CELERY))
    level = delay.bit_length() - 1
    assert (ours.exchange, celerys.exchange) == (ladder.entry_name(level), ladder.level_name(level))
    assert ours.routing_key == celerys.routing_key
    assert ladder.entry(delay, "w") == celerys


@given(DELAY, QUEUE)
@example(1, "q1")
@example(ladder.MAX_DELAY, "q1")
def test_the_key_is_kombus_and_the_entry_the_highest_set_bit(delay: int, queue: str) -> None:
    word = ladder.exit_word(queue)
    entry = ladder.entry(delay, word)
    assert entry.routing_key == kombu_ladder.calculate_routing_key(delay, word)
    assert entry.exchange == kombu_ladder.level_name(max(set_bits(delay)))
    assert ladder.exchange_bytes(delay) == entry.exchange.encode()
    assert ladder.key_bytes(delay) + word.encode() == entry.routing_key.encode()
    assert len(ladder.key_bytes(delay)) == 56
    assert len(entry.routing_key.encode()) <= 255


@pytest.mark.parametrize("delay", [0, -1, 2**28, -(2**28)])
def test_a_delay_the_ladder_cannot_hold(delay: int) -> None:
    for make in (
        lambda: ladder.entry(delay, "w"),
        lambda: ladder.key_bytes(delay),
        lambda: ladder.exchange_bytes(delay),
    ):
        with pytest.raises(ValueError, match=f"delay of {delay} s"):
            make()


@given(DELAY, QUEUE)
@example(1, "q1")
@example(ladder.MAX_DELAY, "a.q1")
@example(2**27, "a.q1")
def test_every_delay_waits_in_the_levels_of_its_set_bits(declared: Recorded, delay: int, queue: str) -> None:
    entry = ladder.entry(delay, ladder.exit_word(queue))
    waited, seconds = walk(declared, entry.exchange, entry.routing_key)
    assert waited == [ladder.level_name(level) for level in set_bits(delay)]
    assert seconds == delay
    # From the top it is the same path: the levels above only pass it on.
    assert walk(declared, ladder.level_name(27), entry.routing_key) == (waited, seconds)


@given(DELAY, QUEUE, QUEUE)
@example(90, "q1", "a.q1")
@example(90, "a.q1", "q1")
@example(90, "#", "q1")
@example(90, "~" + "0" * 64, "q" * 255)
def test_a_message_leaves_by_its_own_exit_only(delay: int, queue: str, other: str) -> None:
    key = ladder.entry(delay, ladder.exit_word(queue)).routing_key
    assert ladder.topic_matches(ladder.exit_pattern(queue), key)
    assert ladder.topic_matches(ladder.exit_pattern(other), key) == (other == queue)
    # Celery's own patterns are `#.<routing key>`: they catch none of ours, though ours may stand in for one.
    assert not ladder.topic_matches(f"#.{queue}", key) or queue in ("#", "*") or set(queue) <= set("#*.")


def test_celerys_trap_which_our_words_avoid() -> None:
    assert ladder.topic_matches("#.q1", kombu_ladder.calculate_routing_key(5, "a.q1"))


@given(QUEUE, QUEUE)
def test_no_two_queues_share_a_word(queue: str, other: str) -> None:
    assert (ladder.exit_word(queue) == ladder.exit_word(other)) == (queue == other)


@given(QUEUE)
@example("\udc80")
def test_a_word_is_one_word_within_its_bytes_and_leads_back(queue: str) -> None:
    word = ladder.exit_word(queue)
    assert re.fullmatch(r"bridge:~?[^.*#~\s]*", word, re.ASCII)
    assert word.isascii()
    assert len(word) <= ladder.MAX_WORD_BYTES
    assert ladder.queue_of(word, ["another", queue]) == queue


def test_words_stay_what_they_are() -> None:
    """Bindings made yesterday have to catch what is published tomorrow."""
    assert ladder.exit_word("celery") == "bridge:celery"
    assert ladder.exit_word("a.b c%é~*#") == "bridge:a%2Eb%20c%25%C3%A9%7E%2A%23"
    assert ladder.exit_word("q" * 192) == "bridge:" + "q" * 192
    assert ladder.exit_word("q" * 193) == "bridge:~6dda3f4dd986cc8908388bc05d09c9209e85fefc4873f01c6af2b832061d390d"
    assert ladder.exit_pattern("a.b") == "#.bridge:a%2Eb"


def test_a_queue_that_is_named_like_the_hash_of_another() -> None:
    hashed = ladder.exit_word("q" * 255)
    assert ladder.exit_word(hashed.removeprefix("bridge:")) == hashed.replace("~", "%7E")


@pytest.mark.parametrize(
    "suffix",
    ["q1", "celery", "a.q1", "bridge:q1.x", "", "bridge:%FF", "bridge:%2e", "bridge:a#b", "bridge:%41", "bridge:~00"],
)
def test_a_suffix_that_is_not_ours(suffix: str) -> None:
    assert ladder.queue_of(suffix, ["q1", "q" * 250]) is None


def test_the_queue_of_what_its_binding_catches() -> None:
    assert ladder.queue_of("0.bridge:a%2Eq1", []) == "a.q1"
    assert ladder.queue_of(ladder.exit_word("q" * 250), []) is None


@given(DELAY, DELAY, st.integers(0, 3), QUEUE)
def test_a_key_is_read_back_with_all_the_prefixes_of_its_retries(
    delay: int, old: int, retries: int, queue: str
) -> None:
    word = ladder.exit_word(queue)
    key = ladder.key_bytes(delay).decode() + ladder.key_bytes(old).decode() * retries + word
    assert ladder.unconvert(key) == (delay, word)
    assert ladder.unconvert(kombu_ladder.calculate_routing_key(delay, "a.q1")) == (delay, "a.q1")


@pytest.mark.parametrize("key", ["", "q1", "0." * 27 + "q1", "1." * 28, "2." * 28 + "q1", "x." + "1." * 28 + "q1"])
def test_what_is_no_key_of_the_ladder(key: str) -> None:
    assert ladder.unconvert(key) is None


def test_the_key_of_a_probe_has_no_delay() -> None:
    assert ladder.unconvert("0." * 28 + "w\n") == (0, "w\n")


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("q1", "q1", True),
        ("q1", "a.q1", False),
        ("#", "", True),
        ("", "", True),
        ("", "a", False),
        ("*", "", False),
        ("a", "", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("#.b", "b", True),
        ("#.b", "a.a.b", True),
        ("#.b", "a.b.c", False),
        ("#.b.#", "a.b.c", True),
        ("#.#", "", True),
        ("a.#.*.c", "a.c", False),
        ("a.#.*.c", "a.b.c", True),
        ("*.1.#", "0.1", True),
        ("*.1.#", "0.0.1", False),
        ("a..b", "a..b", True),
        ("a.*.b", "a..b", True),
        ("a.b.c", "a.b", False),
    ],
)
def test_topic_patterns(pattern: str, key: str, matches: bool) -> None:
    assert ladder.topic_matches(pattern, key) is matches


@given(st.lists(st.sampled_from(["a", "b", "*", "#"]), max_size=5), st.lists(st.sampled_from("abc"), max_size=6))
def test_topic_patterns_against_a_regular_expression(pattern: list[str], words: list[str]) -> None:
    parts = {"*": "[abc]\\.", "#": "(?:[abc]\\.)*"}
    expected = re.fullmatch(
        "".join(parts.get(part, f"{part}\\.") for part in pattern), "".join(f"{word}." for word in words)
    )
    assert ladder.topic_matches(".".join(pattern), ".".join(words)) == bool(expected)
