"""The releases of the lab."""

from __future__ import annotations

import pytest

from bridge.errors import LabError
from bridge.lab.releases import RELEASES, release


def test_each_has_a_place_to_come_from():
    assert {name: it.suite for name, it in RELEASES.items()} == {"3.10": "bookworm", "4.0": "trixie", "4.3": "forky"}
    assert all(it.image == f"rabbitmq:{name}-management" for name, it in RELEASES.items())


def test_another_is_refused_with_those_that_there_are():
    with pytest.raises(LabError, match=r"no RabbitMQ 3\.9 in the lab; it has 3\.10, 4\.0, 4\.3"):
        release("3.9")
