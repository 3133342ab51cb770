"""The daemon as it is, but for one thing: what has an ETA enters the ladder by Celery's exchange of the highest bit.

It is the way that the bridge goes where it may not declare entries of its own. Run as
`python -m tests.bench.entry_celery -c FILE run`.
"""

from __future__ import annotations

import sys

from bridge.core import ladder

if __name__ == "__main__":
    # Before any room that uses them is imported, whichever way it takes the names.
    ladder.BY_BRIDGE = ladder.BY_CELERY
    from bridge.cli import main

    sys.exit(main())
