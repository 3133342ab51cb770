"""The daemon as it is, but for one thing: what has an ETA enters the ladder by Celery's exchange of the highest bit.

It is the way that the bridge goes where it may not declare entries of its own. Run as
`python -m tests.bench.entry_celery -c FILE run`.
"""

from __future__ import annotations

from bridge.core import ladder
from tests.bench.entry27 import run

if __name__ == "__main__":
    run(ladder.BY_CELERY)
