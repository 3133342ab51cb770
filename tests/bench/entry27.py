"""The daemon as it is, but for one thing: what has an ETA enters the ladder at `celery_delayed_27`, as Celery does it.

Run as `python -m tests.bench.entry27 -c FILE run`. Everything else being equal, the difference to `python -m bridge` is
what entering at the highest set bit, by a fanout exchange, is worth.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from bridge.core import ladder

_TOP = (ladder.level_name(ladder.LEVELS - 1).encode(),) * ladder.LEVELS


def run(entries: ladder.Entries) -> NoReturn:
    """Be the daemon, with these exchanges before the ladder's levels."""
    # Before any room that uses them is imported, whichever way it takes the names.
    ladder.BY_BRIDGE = ladder.BY_CELERY = entries
    from bridge.cli import main

    sys.exit(main())


if __name__ == "__main__":
    run(_TOP)
