"""`bridge`, with a loop that stands still from the moment a file appears: what no signal can bring about.

python -m tests.support.stuck -c bridge.yaml run        # stuck when bridge.yaml.stuck is there
"""

from __future__ import annotations

import sys
from pathlib import Path

from gevent import monkey

if __name__ == "__main__":
    monkey.patch_all()

import gevent

from bridge import cli

#: Seconds between two looks for the file.
_EVERY = 0.05


def stick(file: Path) -> None:
    """Wait for the file, and then keep the loop for ever."""
    while not file.exists():
        gevent.sleep(_EVERY)
    while True:
        pass


if __name__ == "__main__":
    gevent.spawn(stick, Path(f"{sys.argv[2]}.stuck"))
    sys.exit(cli.main(sys.argv[1:]))
