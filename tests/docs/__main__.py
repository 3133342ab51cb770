"""`python -m tests.docs`, which is `make docs`: writes the pages that are made from the code."""

from __future__ import annotations

import sys

from tests.docs.pages import write

if __name__ == "__main__":
    for name in write():
        sys.stdout.write(f"written: docs/{name}\n")
