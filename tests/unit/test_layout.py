# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the layout: who may import whom, how long a file may be, and traps that must not come back."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from berth.ledger import Ledger
from berth.ledger.model import Verb
from berth.ledger.owner import Owner
from berth.ledger.rows import ActionRequest, BootRecord, NewGuest, Resources

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_PARAMETERS = 6

SOURCES = [
    path
    for folder in ("src", "plugins", "tests", "benchmarks", "demo", "hatch_build.py")
    for path in ([ROOT / folder] if (ROOT / folder).is_file() else sorted((ROOT / folder).rglob("*.py")))
]

# package of berth -> packages of berth it may import. An arrow points down (docs/architecture.md, "Layers").
BASE = {"errors", "units"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "units": set(),
    "cloud": BASE,
    "spec": BASE,
    "domain": BASE | {"spec"},
    "placement": BASE | {"spec"},
    "pki": BASE,
    "ledger": BASE,
    "access": BASE | {"ledger"},
    "hangup": set(),
    "login": BASE | {"access", "hangup", "ledger"},
    "placement_plugins": BASE | {"placement", "cloud"},
    "verbs": BASE | {"cloud", "spec", "domain", "placement", "placement_plugins", "pki", "ledger", "access"},
    "interrupt": BASE,
    "run_folder": BASE | {"cloud"},
    "runner": BASE | {"cloud", "interrupt", "run_folder"},
}
# Pure packages: no I/O, so none of these.
PURE = ("placement", "domain", "ledger.model", "units", "errors")
IO_MODULES = {"subprocess", "socket", "urllib", "time", "random", "libvirt", "ansible", "sqlalchemy", "paramiko", "os"}


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def test_sources_are_found() -> None:
    assert len(SOURCES) > 40


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_small_and_licensed(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_LINES, f"{len(lines)} lines: split it by what the parts know"
    if lines:
        assert any("SPDX-License-Identifier: GPL-3.0-or-later" in line for line in lines[:2])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_short(path: Path) -> None:
    # One parameter per option of a command, one per fixture of a test; a migration is one long list.
    many = {ROOT / "src/berth/cli", ROOT / "tests"} & set(path.parents)
    commands = (ROOT / "src/berth/cli") in path.parents
    if "migrations" in path.parts:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            arguments = [a for a in (*node.args.args, *node.args.kwonlyargs) if a.arg not in ("self", "cls")]
            limit = MAX_FUNCTION_LINES + (30 if commands else 0)
            assert length <= limit, f"{node.name} has {length} lines"
            assert many or len(arguments) <= MAX_PARAMETERS, f"{node.name} has {len(arguments)} parameters"


@pytest.mark.parametrize("path", sorted((ROOT / "src/berth").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_down(path: Path) -> None:
    parts = path.relative_to(ROOT / "src/berth").with_suffix("").parts
    if parts[0] in ("cli", "__init__"):
        return  # the top may import everything below
    package = parts[0]
    allowed = MAY_IMPORT[package] | {package}
    for name in imports_of(path):
        if name.startswith("berth."):
            assert name.split(".")[1] in allowed, f"{package} may not import {name}"
        assert not name.startswith(("ansible.", "ansible_collections")), "berth never imports Ansible"
    if ".".join(parts).startswith(PURE):
        assert not {name.split(".")[0] for name in imports_of(path)} & IO_MODULES, "a pure package does I/O"


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "plugins/modules").glob("*.py"), *(ROOT / "plugins/module_utils").glob("*.py")]),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_modules_bring_everything_along(path: Path) -> None:
    """Modules run where nothing of ours is installed: standard library, Ansible's module_utils, libvirt."""
    for name in imports_of(path):
        top = name.split(".")[0]
        ours = name.startswith("ansible_collections.berth.kvm.plugins.module_utils")
        ansible = name.startswith("ansible.module_utils")
        assert ours or ansible or top == "libvirt" or top in sys.stdlib_module_names, f"{name} is not on a host"


def test_no_python_package_where_it_would_shadow() -> None:
    assert not (ROOT / "collections/__init__.py").exists()


def test_every_action_has_its_documentation() -> None:
    actions = {path.name for path in (ROOT / "plugins/action").glob("*.py")}
    assert actions and actions <= {path.name for path in (ROOT / "plugins/modules").glob("*.py")}


HEAVY = ("pydantic", "numpy", "alembic", "libvirt", "ansible", "ansible_runner", "paramiko", "cryptography")


# Says at the end which of these were loaded, and which packages had a line that imports them.
WATCHED = f"""
import builtins, json, sys
import_, asked = builtins.__import__, set()
def watch(name, variables=None, *more):
    top = name.split(".")[0]
    if top in {HEAVY}:
        asked.add((top, str((variables or {{}}).get("__name__")).split(".")[0]))
    return import_(name, variables, *more)
builtins.__import__ = watch
from berth.cli.app import main
try:
    main()
finally:
    loaded = [name for name in {HEAVY} if name in sys.modules]
    print(json.dumps({{"loaded": loaded, "asked": sorted(asked)}}), file=sys.stderr)
"""


@pytest.fixture
def cloud(tmp_path: Path) -> Path:
    """Returns a cloud whose ledger has one guest, web."""
    (tmp_path / "berth.yml").write_text("name: test\n")
    (tmp_path / "inventory").mkdir()
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite") as ledger:
        begun = ledger.begin_action(ActionRequest(Verb.BOOT, "default", ("web",), "req-1"), Owner.of_process())
        guest = NewGuest("4b1d7e3c-8f0a-4c55-9d6a-0c2f3a9be001", "default", "web", "s", "i", Resources(1, 512, 1024))
        ledger.record_boot(begun.id, BootRecord((guest,)))
    return tmp_path


@pytest.mark.parametrize("words", [("list",), ("show", "web"), ("events", "web"), ("host", "list")], ids=" ".join)
def test_reads_import_nothing_heavy(cloud: Path, words: tuple[str, ...]) -> None:
    """`list` and `show` start fast because of what they do not import. What Typer needs for itself is Typer's."""
    command = [sys.executable, "-c", WATCHED, "--cloud", str(cloud), *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout
    seen = json.loads(done.stderr.splitlines()[-1])
    assert set(seen["loaded"]) <= {"pydantic"}
    assert "berth" not in {importer for _module, importer in seen["asked"]}
