"""`python -m tests.guard.player NAME...`: plays shapes; run under valgrind's callgrind, which counts.

Between `mark` and `mark` stands what is counted. callgrind writes its counter out and begins anew at each call of the
C function `getppid` (`--dump-before=getppid`), which nothing else here calls: start-up and what is made ready fall
outside. First comes the calibration, then the shapes in the order of their names.
"""

from __future__ import annotations

import gc
import os
import sys

from tests.guard.calibration import calibrate
from tests.guard.shapes import BURDENED, SHAPES, Play

#: Messages (rounds of the calibration) before anything is counted: the interpreter has specialised its code by then.
WARM = 160
#: Messages that are counted.
COUNTED = 240

mark = os.getppid


def main(names: list[str]) -> None:
    """Play the shapes with these names."""
    by_name = {shape.name: shape for shape in (*SHAPES, BURDENED)}
    calibrate(WARM)
    mark()
    calibrate(COUNTED)
    mark()
    # What all shapes share is specialised by now whichever of them is counted first.
    general = Play(SHAPES[0])
    general.play(general.chunks(3 * WARM))
    for name in names:
        play = Play(by_name[name])
        play.play(play.chunks(WARM))
        chunks = play.chunks(COUNTED)
        # The collector runs as in the daemon, but does not go through what was there before the messages: when it does
        # is a matter of the whole process's size, not of the hot path.
        gc.collect()
        gc.freeze()
        mark()
        play.play(chunks)
        mark()
        play.check()


if __name__ == "__main__":
    main(sys.argv[1:])
