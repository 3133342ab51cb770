"""The cases that a seed makes, by number: one in four plays deliveries and answers, others read a header or a key."""

from __future__ import annotations

import random
import traceback
from collections import Counter
from pathlib import Path

from tests.fuzz.parsed import key, parsed
from tests.fuzz.played import played


def case(seed: int, number: int) -> str:
    """Play one case; what came of it."""
    chance = random.Random(f"{seed}/{number}")
    if number % 4 == 0:
        return f"deliveries: {played(chance)}"
    if number % 50 == 1:
        return f"routing key: {key(chance)}"
    return f"header: {parsed(chance)}"


def cases(seed: int, numbers: range) -> tuple[Counter[str], list[str]]:
    """Play these cases; how often each outcome was, and what must not have been."""
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    for number in numbers:
        try:
            outcomes[case(seed, number)] += 1
        except Exception as fault:  # noqa: BLE001  whatever comes out is what is looked for
            at = traceback.extract_tb(fault.__traceback__)[-1]
            outcomes["FAULT"] += 1
            where = f"{Path(at.filename).name}:{at.lineno}"
            faults.append(f"--seed {seed} --only {number}: {type(fault).__name__}: {str(fault)[:200]} ({where})")
    return outcomes, faults
