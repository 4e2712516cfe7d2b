"""Everything that is checked: ``nox -s tests``; lint, types, lowest, fuzz, bench, docs, build."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nox

os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
os.environ.setdefault("UV_SYSTEM_CERTS", "1")

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "docs", "build"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
# The Python that runs nox is always there, so the tests are never all skipped.
PYTHONS = sorted({"3.11", "3.12", "3.13", THIS}, key=lambda version: int(version.split(".")[1]))


# The operator's page from the wheel, with its templates and its style.
OVERVIEW = """
from wsgiref.util import setup_testing_defaults
from changehook import Emitter, InMemoryQueue
from changehook.web import inspection_app

app = inspection_app(Emitter(queue=InMemoryQueue()), authorize=lambda environ: "view")
for path in ("/", "/static/page.css", "/static/page.js", "/static/icon.svg"):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    statuses = []
    assert len(b"".join(app(environ, lambda status, headers: statuses.append(status)))) > 100
    assert statuses == ["200 OK"]
"""


def group(name: str) -> tuple[str, ...]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


def fetch_browser(session: nox.Session) -> None:
    """Have Playwright download a browser if there is none; without one, tests are skipped."""
    session.run("python", "tests/browsing.py")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling, and who may import whom."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "src"})
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Types of the library, and of the public API as a host uses it."""
    session.install("-e", ".", *group("types"))
    session.run("mypy", "src", "tests/typing")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Every test and every example of the documentation; on one Python with the core's coverage."""
    session.install("-e", ".", *group("test"))
    fetch_browser(session)
    covered = session.python == THIS and not session.posargs
    coverage = ["--cov", "--cov-report=term", "--cov-fail-under=100"] if covered else []
    data = Path(session.create_tmp(), "coverage")
    session.run("pytest", *coverage, *session.posargs, env={"COVERAGE_FILE": str(data)})


@nox.session(venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The tests with the oldest versions that pyproject.toml allows."""
    session.install("--resolution=lowest-direct", "-e", ".", *group("test"))
    fetch_browser(session)
    session.run("pytest", *session.posargs)


@nox.session(python="3.11")  # each atheris has wheels for some Pythons only; 3.0 for this one
def fuzz(session: nox.Session) -> None:
    """Every parser fuzzed, some 15 s each; ``-- conditions`` only that one.

    Without arguments their number and the seed are the same in each run, so that CI tells of a
    change and not of a faster machine or of its luck; who looks for more chooses another seed, as
    in ``-- -seed=0``, or a time, as in ``-- -max_total_time=600``.
    """
    session.install(".", *group("fuzz"))
    arguments = session.posargs or ["-seed=1"]
    session.run("python", "tests/fuzz/run.py", *arguments, env={"PYTHONHASHSEED": "0"})


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks; each compares with a peer in the same run and has its limit."""
    session.install("-e", ".", *group("test"))
    failed = []
    for script in sorted(ROOT.glob("tests/benchmarks/bench_*.py")):
        try:
            session.run("python", str(script))
        except nox.command.CommandFailed:
            failed.append(script.name)
    if failed:
        session.error(f"failed: {', '.join(failed)}")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation; every warning is an error."""
    session.install("-e", ".", *group("docs"))
    out = Path(session.create_tmp(), "html")
    session.run("sphinx-build", "-E", "-W", "--keep-going", "docs", str(out))


@nox.session
def build(session: nox.Session) -> None:
    """The wheel, built from the sdist and used as a stranger would: alone, outside the checkout."""
    session.install(*group("build"), *group("types"))
    with tempfile.TemporaryDirectory() as folder:
        session.run("python", "-m", "build", "--outdir", f"{folder}/dist")
        (wheel,) = Path(folder, "dist").glob("*.whl")
        (sdist,) = Path(folder, "dist").glob("*.tar.gz")
        session.run("twine", "check", "--strict", str(wheel), str(sdist))
        session.run("python", "-m", "venv", f"{folder}/venv")
        session.chdir(folder)
        python = f"{folder}/venv/bin/python"
        session.run(python, "-m", "pip", "install", "-q", str(wheel), external=True)
        session.run(f"{folder}/venv/bin/changehook", "--version", external=True)
        session.run(f"{folder}/venv/bin/changehook", "demo", external=True)
        session.run(python, "-c", OVERVIEW, external=True)
        api = str(ROOT / "tests" / "typing")
        session.run("mypy", "--strict", "--python-executable", python, api)
