"""The world: pairs with the sisters that are there."""

from __future__ import annotations

from tests.unit.core.check.worlds import WORLD, without


def test_a_couple_knows_whether_its_sister_is_there() -> None:
    assert [(couple.old.name, couple.name, couple.new is None) for couple in WORLD.couples()] == [
        ("mail", "mail", False)
    ]
    assert [couple.new for couple in without("mail").couples()] == [None]


def test_the_sides_come_with_their_names() -> None:
    assert [(side, vhost.name) for side, vhost in WORLD.sides()] == [("source", "chost"), ("target", "qhost")]
