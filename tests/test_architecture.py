"""The layout and the import rules of docs/explanation/architecture.md hold."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "changehook"
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
MODULES = sorted(SOURCE.rglob("*.py"))
OWNERS = {
    "attrs": {"*"},
    "jinja2": {"compiler", "failures", "filters", "rendering", "sandbox"},
    "markupsafe": {"rendering"},
    "redis": {"rq"},
    "urllib3": {"transport"},
}


def imports(node: ast.AST) -> Iterator[str]:
    """Yield the dotted name of everything that is imported anywhere below the node."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield "." * child.level + (child.module or "")


def is_own(name: str) -> bool:
    return name.startswith(("changehook.", ".")) or name == "changehook"


def module_id(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contracts of a copy of the project, whatever is installed."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as check; check()",
            "--no-cache",
            "--no-logo",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project's sources that a test may break."""
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE, tmp_path / "src" / "changehook", ignore=ignored)
    return tmp_path


def test_contracts_are_kept(copy: Path) -> None:
    """The sources as they stand keep every import contract."""
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("models.py", "import changehook.webhooks", "a module imports only what lies below it"),
        ("signing.py", "import changehook.retries", "a module imports only what lies below it"),
        ("emitter.py", "import changehook.cli", "a module imports only what lies below it"),
        ("stray.py", "import changehook.errors", "a module imports only what lies below it"),
        ("queues/memory.py", "import changehook.emitter", "queues carry, they never send"),
        ("queues/memory.py", "import urllib3", "queues carry, they never send"),
        ("queues/memory.py", "import changehook.queues.threads", "queues are strangers"),
        ("stores/other.py", "import changehook.stores.memory", "stores are strangers"),
        ("network.py", "import urllib3.util", "only transport touches urllib3"),
        ("escaping.py", "import jinja2", "only the sandbox and the page touch jinja2"),
    ],
)
def test_a_wrong_import_is_caught(copy: Path, module: str, line: str, contract: str) -> None:
    """An import against the rules breaks the contract that forbids it."""
    with (copy / "src" / "changehook" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(copy)
    broken = [row for row in done.stdout.splitlines() if " BROKEN" in row]
    assert done.returncode == 1, done.stdout + done.stderr
    assert any(contract in row for row in broken), done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_no_module_imports_the_root_package(path: Path) -> None:
    """Modules import the module that defines a name, never the package that collects them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [name for name in imports(tree) if name == "changehook" or name.startswith(".")]


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_own_modules_are_imported_at_the_top(path: Path) -> None:
    """Own modules are imported by plain lines at the top, not inside a function or condition."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [name for block in blocks for name in imports(block) if is_own(name)]


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_a_library_is_imported_by_its_owner_only(path: Path) -> None:
    """Core libraries have their modules, and an optional one is for the module named after it."""
    names = path.relative_to(SOURCE).with_suffix("").parts
    tree = ast.parse(path.read_text(encoding="utf-8"))
    libraries = {name.partition(".")[0] for name in imports(tree) if not is_own(name)}
    for library in libraries - sys.stdlib_module_names:
        assert OWNERS.get(library, {library}) & {"*", *names}, f"{library} in {'/'.join(names)}"


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_every_module_says_what_it_is(path: Path) -> None:
    """Every module starts with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_the_documented_layers_are_the_checked_ones() -> None:
    """The page on architecture shows the layers that the import contract checks."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config["tool"]["importlinter"]["contracts"]
    checked = next(each["layers"] for each in contracts if each["id"] == "layers")
    shown = re.search(r"```\n(cli\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown
    assert shown[1].split("\n")[:-1] == checked


def test_every_module_has_its_line_in_the_documented_layout() -> None:
    """The page on architecture lists the modules that exist, and no others."""
    layout = re.search(r"src/changehook/\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert layout
    listed = re.findall(r"^ +([\w/]+\.py)\b", layout[1], re.MULTILINE)
    there = [module_id(path) for path in MODULES]
    assert sorted(listed) == sorted(name for name in there if not name.endswith("/__init__.py"))


IMPORT = """
import os, socket, sys, threading
import attrs, jinja2, jinja2.sandbox, urllib3

class Watched(type(os.environ)):
    def __getitem__(self, key):
        frame = sys._getframe(1)
        while frame.f_globals["__name__"] in ("os", "_collections_abc"):
            frame = frame.f_back
        if frame.f_globals["__name__"].startswith("changehook"):
            found.append(f"{frame.f_globals['__name__']} read {key} of the environment")
        return super().__getitem__(key)

def hook(event, arguments):
    if event.startswith(("socket.", "subprocess.", "_thread.start_new_thread", "os.fork")):
        found.append(event)

found = []
before = {name.partition(".")[0] for name in sys.modules}
os.environ.__class__ = Watched
sys.addaudithook(hook)
import changehook
after = {name.partition(".")[0] for name in sys.modules}
found += sorted(after - before - sys.stdlib_module_names - {"changehook"})
found += [thread.name for thread in threading.enumerate()[1:]]
print("found", found)
"""


def test_importing_does_nothing_else() -> None:
    """Importing starts no thread, opens no socket, reads no setting, needs no optional library."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "found []\n", done.stdout + done.stderr


def test_the_wheel_is_typed_and_whole(tmp_path: Path) -> None:
    """The wheel holds py.typed, the licence and every file of the package, and nothing else."""
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])",
            str(tmp_path),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("changehook-*-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {path for path in SOURCE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {name for name in names if name.startswith("changehook/")} == {
        f"changehook/{module_id(path)}" for path in files
    }
    assert "changehook/py.typed" in names
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    assert not [name for name in names if not re.match(r"changehook(-[\d.]+\.dist-info)?/", name)]
