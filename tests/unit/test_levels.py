"""The levels of the ladder by looks that the test makes up; tests/functional/test_certify.py has one that is stuck."""

from __future__ import annotations

from bridge.depths import Depth, Depths
from bridge.levels import NOT_SEEN, STAYS, Levels


class Bench:
    """Looks at a target whose levels the test fills."""

    def __init__(self) -> None:
        self.now = 0.0
        self.depths = Depths(None, None)
        self.levels = Levels(self.depths, lambda: self.now)

    def look(self, seconds: float, **due: int) -> None:
        """A look so many seconds later: messages of levels, named `l<level>`, all of them due."""
        self.now += seconds
        side = self.depths.new_side
        side.at = self.now
        side._seen = {
            f"celery_delayed_{name[1:]}": Depth(0, 0, 0, self.now, None, number) for name, number in due.items()
        }
        self.levels.look()


def test_nothing_is_told_where_nobody_looked() -> None:
    assert Bench().levels.status() == NOT_SEEN


def test_the_levels_that_are_not_empty_are_told_and_those_that_stay_are_stuck() -> None:
    bench = Bench()
    bench.look(0, l3=5, l12=1)
    bench.now += 2
    assert bench.levels.status() == {
        "levels": [{"level": 3, "messages": 5, "due": 5}, {"level": 12, "messages": 1, "due": 1}],
        "messages": 6,
        "stuck": [],
        "age_s": 2.0,
    }
    bench.look(4, l3=2)
    assert bench.levels.status()["stuck"] == [3]
    assert bench.levels.stuck()[3] == 2
    bench.look(STAYS, l3=9)
    bench.look(1)
    assert bench.levels.status() == {"levels": [], "messages": 0, "stuck": [], "age_s": 0.0}
