"""The page about parts of one's own: its code is the example's, and passes the kit as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from lanpo_memory.testing import conformance

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-parts.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_store_on_the_page_is_that_of_the_example():
    example = (ROOT / "examples" / "08_own_backend.py").read_text(encoding="utf-8")
    store = BLOCKS[0][BLOCKS[0].index("class JSONFolderStore") :]
    assert store in example


def test_every_kit_is_on_the_page():
    assert all(f"`{name}`" in PAGE for name in conformance.__all__ if name.endswith("Conformance"))


def test_the_code_of_the_page_saved_as_a_test_file_passes(tmp_path: Path):
    """As a reader would do it: in a folder of its own, with no settings of this project."""
    (tmp_path / "test_mine.py").write_text("\n".join(BLOCKS), encoding="utf-8")
    table = tmp_path / "README.md"
    table.write_text("<!-- capabilities -->\n<!-- /capabilities -->\n", encoding="utf-8")
    plugin = ["-p", "lanpo_memory.testing.conformance.capabilities", "--capabilities", "README.md"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-W", "error", *plugin, "test_mine.py"],
        cwd=tmp_path,
        env={**os.environ, "LANPO_EXAMPLES": "5", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-1_000:]
    assert re.search(
        r"\| TestJSONFolderStore \| kept \(\d+ tests\) .* \| refused \|$",
        table.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
