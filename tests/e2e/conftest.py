"""Real brokers for this tier."""

from __future__ import annotations

from tests.support.brokers import broker_set, new_lab, new_vhosts, three, vhosts, world

__all__ = ["broker_set", "new_lab", "new_vhosts", "three", "vhosts", "world"]
