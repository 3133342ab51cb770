from __future__ import annotations

import random

from bridge.lab.shapes import MIX, pick
from bridge.lab.wiretap import Typed


def test_the_same_seed_gives_the_same_shapes() -> None:
    first, second = random.Random(7), random.Random(7)
    assert [pick(first) for _ in range(200)] == [pick(second) for _ in range(200)]


def test_all_shapes_come() -> None:
    rng = random.Random(7)
    names = {pick(rng).name for _ in range(2000)}
    assert {"plain", "limits", "stamps", "priority absent", "priority 9", "rare types"} <= names
    assert {f"protocol 1 {serializer}" for serializer in ("json", "pickle", "msgpack", "yaml")} <= names
    assert len(names) == len(MIX) + 3  # protocol 1 has four names


def test_rare_types_are_those_that_py_amqp_cannot_write() -> None:
    rng = random.Random(7)
    rare = next(shape for shape in iter(lambda: pick(rng), None) if shape.name == "rare types")
    assert rare.headers is not None
    tags = {value.tag for value in rare.headers.values() if isinstance(value, Typed)}
    assert tags == {b"b", b"B", b"s", b"u", b"i", b"l", b"f", b"x", b"D"}
