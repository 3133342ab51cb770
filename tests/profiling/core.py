"""`python -m tests.profiling.core SECONDS SHAPE`: plays a shape of the guard for a while, to be sampled."""

from __future__ import annotations

import sys
import time

from tests.guard.shapes import SHAPES, Play

#: Messages that are made at once: what makes them is a part of the samples, under its own name.
BATCH = 4000
#: Times that a batch is played, so that making it takes little of the time: tags begin anew with each.
AGAIN = 5


def main(seconds: float, name: str) -> None:
    """Play the shape with this name for so many seconds."""
    [shape] = [shape for shape in SHAPES if shape.name == name]
    chunks = Play(shape).chunks(BATCH)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(AGAIN):
            Play(shape).play(chunks)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
