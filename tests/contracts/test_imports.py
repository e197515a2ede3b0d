"""Who may import whom, and what importing costs.

The layers below are the design: a module imports from lower layers or, without cycles, from its
own. A part that is not listed fails: give it a place here first.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FOUNDATION = ["errors", "types", "protocols", "ledger", "texts", "legacy"]
PROVIDERS = ["stores", "retrievers", "models", "embedders"]
POOL = [
    "admission",
    "answering",
    "appending",
    "calibration",
    "comparison",
    "copying",
    "filters",
    "hit_rate",
    "importers",
    "merging",
    "parquet",
    "parsing",
    "pool",
    "problems",
    "prompts",
    "reindex",
    "rewinding",
    "schedules",
    "selection",
    "snapshots",
    "utility",
]
GUIDE = ["abstraction", "guide", "summarizers", "reflectors", "relevance"]
ADAPTER = ["adapter", "audit", "dead_letters", "rollouts", "sessions", "solving", "turns"]

# part of lanpo_memory -> the parts it may import
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "types": {"errors"},
    "protocols": {"errors", "types", "ledger"},
    "ledger": {"errors", "types"},
    "texts": {"errors", "types"},
    "legacy": {"errors", "types"},
    "chroma": set(FOUNDATION),  # the way to a server, for a store and a retriever
    **{part: set(FOUNDATION) for part in PROVIDERS},
    **{part: {*FOUNDATION, *POOL} for part in POOL},
    **{part: {*FOUNDATION, *POOL, *GUIDE} for part in GUIDE},
    **{part: {*FOUNDATION, *POOL, *GUIDE, *ADAPTER} for part in ADAPTER},
}
for part in ("stores", "retrievers"):
    ALLOWED[part] |= {"chroma"}
ALLOWED["pool"] |= {"stores", "retrievers", "embedders"}  # open_pool("sqlite:///...") chooses
ALLOWED["reindex"] |= {"embedders"}  # fills the cache that the pool reads
ALLOWED["copying"] |= {"embedders", "retrievers"}  # takes along what they had computed
ALLOWED["testing"] = {*ALLOWED}
ALLOWED["cli"] = {*ALLOWED} - {"testing"}
ALLOWED["__init__"] = ALLOWED["cli"]

# third-party packages a part may import at the top of a module; all others: inside functions
CHEAP = {"numpy", "pydantic", "pydantic_core", "typing_extensions"}
CHEAP_FOR = {
    "cli": {"rich", "typer"},
    "testing": {"hypothesis", "pytest"},  # the conformance kit; LIGHT sees to the rest
}

HEAVY = [
    "accelerate",
    "chromadb",
    "datasets",
    "litellm",
    "matplotlib",
    "psycopg",
    "pyarrow",
    "rank_bm25",
    "sentence_transformers",
    "torch",
    "transformers",
    "trl",
]
# what must stay light -> what it must not load
LIGHT = {
    "lanpo_memory": [*HEAVY, "numpy", "rich", "typer", "pytest"],
    "lanpo_memory.testing": [*HEAVY, "rich", "typer", "pytest", "hypothesis"],
    "lanpo_memory.testing.conformance": [*HEAVY, "typer"],
    "lanpo_memory.cli": HEAVY,
    "lanpo_rl": HEAVY,
    "lanpo_rl.cli": HEAVY,
}


@dataclass(frozen=True)
class Import:
    """One import of one module: `name` is absolute; `top` is false inside a function."""

    module: str
    line: int
    name: str
    top: bool
    typing_only: bool

    @property
    def root(self) -> str:
        return self.name.partition(".")[0]


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, root: Path) -> list[Import]:
    """List the imports of a file, in order, relative ones made absolute."""
    module = module_name(path, root)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return list(_walk(tree, module, package, top=True, typing_only=False))


def _walk(
    node: ast.AST, module: str, package: str, *, top: bool, typing_only: bool
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for name in _names(child, package):
            yield Import(module, child.lineno, name, top, typing_only)
        deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            guarded = ast.Module(body=child.body, type_ignores=[])
            yield from _walk(guarded, module, package, top=top, typing_only=True)
            child = ast.Module(body=child.orelse, type_ignores=[])
        yield from _walk(child, module, package, top=top and not deferred, typing_only=typing_only)


def _names(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parents = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*parents, base] if base else parents)
    # `from lanpo_memory import pool` names a module, `from lanpo_memory.pool import X` does not
    if base in ("lanpo_memory", "lanpo_rl"):
        return [f"{base}.{alias.name}" for alias in node.names]
    return [base]


def part_of(module: str) -> str:
    """`lanpo_memory.stores.sqlite` belongs to the part `stores`."""
    return [*module.split("."), "__init__"][1]


def violations(root: Path) -> list[str]:
    """Say, one line each, what in `root`/lanpo_memory and `root`/lanpo_rl breaks the design."""
    memory = [
        item
        for path in sorted((root / "lanpo_memory").rglob("*.py"))
        for item in imports_of(path, root)
    ]
    rl = [
        item
        for path in sorted((root / "lanpo_rl").rglob("*.py"))
        for item in imports_of(path, root)
    ]
    found = [_where(item, "imports what stands above it") for item in memory if _upward(item)]
    found += [
        _where(item, "is not part of the distribution")
        for item in memory + rl
        if item.root in ("tests", "examples", "benchmarks")
    ]
    found += [_where(item, problem) for item in memory if (problem := _direction(item, root))]
    found += [_where(item, "belongs inside a function") for item in memory if _too_early(item)]
    parts = {part_of(module_name(path, root)) for path in (root / "lanpo_memory").rglob("*.py")}
    found += [f"lanpo_memory.{part}: has no layer yet" for part in sorted(parts - ALLOWED.keys())]
    return found + _cycles(memory)


def _where(item: Import, problem: str) -> str:
    return f"{item.module}:{item.line}: {item.name}: {problem}"


def _upward(item: Import) -> bool:
    return item.root == "lanpo_rl"


def _direction(item: Import, root: Path) -> str | None:
    if item.root != "lanpo_memory" or item.typing_only:
        return None
    part, target = part_of(item.module), part_of(item.name)
    if target not in ALLOWED and not _is_module(item.name, root):
        target = "__init__"  # a name re-exported by the package, not a module of it
    if target == part or target in ALLOWED.get(part, {target}):
        return None
    return f"{part} must not import {target}"


def _is_module(name: str, root: Path) -> bool:
    path = root.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def _too_early(item: Import) -> bool:
    ours = item.root in ("lanpo_memory", "lanpo_rl", "__future__")
    if ours or not item.top or item.typing_only or item.root in sys.stdlib_module_names:
        return False
    return item.root not in CHEAP | CHEAP_FOR.get(part_of(item.module), set())


def _cycles(memory: list[Import]) -> list[str]:
    graph: dict[str, set[str]] = {}
    for item in memory:
        part, target = part_of(item.module), part_of(item.name)
        if item.root == "lanpo_memory" and item.top and not item.typing_only and target != part:
            graph.setdefault(part, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["cycle: " + " -> ".join(error.args[1])]
    return []


def loaded_by(module: str) -> set[str]:
    """Import `module` in a fresh interpreter; return the top-level names it has loaded."""
    code = f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


def test_dependency_direction() -> None:
    assert violations(ROOT) == []


# Only what is there: a file counts from the moment it exists.
@pytest.mark.parametrize("module", [module for module in LIGHT if _is_module(module, ROOT)])
def test_import_is_light(module: str) -> None:
    assert loaded_by(module).isdisjoint(LIGHT[module])


def plant(root: Path, **files: str) -> Path:
    """Write modules into a synthetic tree: `a__b="code"` becomes `a/b.py`."""
    for name, code in files.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    return root


CLEAN = {
    "lanpo_memory__types": "from lanpo_memory.errors import E\nimport numpy as np\nimport json",
    "lanpo_memory__stores__sqlite": "from lanpo_memory.types import T",
    "lanpo_memory__stores__memory": "from lanpo_memory.stores.sqlite import S",
    "lanpo_memory__embedders__mini": "def f():\n    import torch",
    "lanpo_memory__prompts": "from lanpo_memory.parsing import p",
    "lanpo_memory__pool": "def open_pool():\n    from .stores.sqlite import S",
    "lanpo_memory__protocols": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lanpo_memory.pool import P"
    ),
    "lanpo_memory__cli": "import typer\nfrom lanpo_memory import pool",
    "lanpo_rl__trainer": "import torch\nfrom trl import GRPOTrainer\nimport lanpo_memory.cli",
}


def test_a_sound_tree_passes(tmp_path: Path) -> None:
    assert violations(plant(tmp_path, **CLEAN)) == []


@pytest.mark.parametrize(
    ("module", "code", "complaint"),
    [
        ("errors", "from lanpo_memory.types import T", "errors must not import types"),
        ("types", "from lanpo_memory.protocols import P", "types must not import protocols"),
        ("protocols", "import lanpo_memory.pool", "protocols must not import pool"),
        ("filters", "from lanpo_memory import guide", "filters must not import guide"),
        ("filters", "from lanpo_memory.stores import S", "filters must not import stores"),
        ("stores__sqlite", "from ..pool import P", "stores must not import pool"),
        ("stores__sqlite", "from lanpo_memory.retrievers import R", "must not import retrievers"),
        ("models__chat", "def f():\n    from lanpo_memory.guide import G", "not import guide"),
        ("guide", "class G:\n    from lanpo_memory.adapter import A", "not import adapter"),
        ("solving", "import lanpo_memory.cli", "solving must not import cli"),
        ("pool", "from lanpo_memory.testing import F", "pool must not import testing"),
        ("pool", "from lanpo_memory import Experience", "pool must not import __init__"),
        ("guide", "import torch", "torch: belongs inside a function"),
        ("models__chat", "try:\n    import litellm\nexcept ImportError: ...", "inside a function"),
        ("guide", "import typer", "typer: belongs inside a function"),
        ("pool", "def f():\n    import lanpo_rl.config", "imports what stands above it"),
        ("pool", "from tests.helpers import x", "is not part of the distribution"),
        ("novelty", "", "lanpo_memory.novelty: has no layer yet"),
        ("parsing", "import lanpo_memory.prompts", "cycle: "),
    ],
)
def test_a_planted_violation_is_found(
    tmp_path: Path, module: str, code: str, complaint: str
) -> None:
    found = violations(plant(tmp_path, **CLEAN | {f"lanpo_memory__{module}": code}))
    assert any(complaint in line for line in found), found


def test_a_loaded_package_is_noticed() -> None:
    assert {"decimal", "numpy"} <= loaded_by("decimal, numpy")
