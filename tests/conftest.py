"""What every test tier shares."""

from __future__ import annotations

import hypothesis

# Two busy cores make single examples slow now and then: the count of examples bounds the time, not a deadline for each.
hypothesis.settings.register_profile("bridge", deadline=None)
hypothesis.settings.load_profile("bridge")
