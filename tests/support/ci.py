"""Whether the tests run in CI: what is absent locally skips its tests, what is absent in CI fails them."""

from __future__ import annotations

import os


def in_ci() -> bool:
    """Whether the environment says that this is CI."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")
