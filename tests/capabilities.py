"""``python -m tests.capabilities``: run the kit over every store, and write the table of the docs.

Every server has to be there. If one is missing, or a test fails, nothing is written.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def main(*options: str) -> int:
    """Run it with more options of pytest; the exit code is that of pytest."""
    os.environ["LANPO_SERVERS"] = "required"
    os.chdir(ROOT)
    kit = "lanpo_memory.testing.conformance.capabilities"
    page = ["-p", kit, "--capabilities", "docs/backends.md"]
    return int(pytest.main(["tests/memory/test_conformance.py", "-q", *page, *options]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
