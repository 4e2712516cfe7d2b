"""Every parser has a fuzz target, and the seeds of each target find nothing."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from fuzz import harness, mutation
from security.jail import Jail

import changehook

SHELLS = ("__main__", "cli", "demo", "testing")
NAMED = (
    "changehook.encoding.decode",
    "changehook.encoding.decode_strict",
    "changehook.encoding.encode",
    "changehook.exchange.redact_url",
    "changehook.exchange.scrub",
    "changehook.network._entries",
    "changehook.network.NetworkPolicy.check",
    "changehook.network.destination",
    "changehook.receiver._Handler._chunks",
    "changehook.regexscreen.refusal",
    "changehook.retries._http_date",
    "changehook.retries.RetryPolicy.decide",
    "changehook.signing.verify",
    "changehook.sources.load_webhooks",
    "changehook.templates.BodyTemplate.render",
    "changehook.templates.HeaderTemplates.render",
    "changehook.templates.URLTemplate.render",
    "changehook.transport.HTTPTransport.send",
    "changehook.web.searches.Search.where",
    "changehook.inspection.position_of",
    "changehook.web.wsgi.WebRequest.cookie",
    "changehook.web.wsgi.WebRequest.form",
)
SEEDS = [
    pytest.param(name, seed, id=f"{name}-{seed.name}")
    for name in harness.NAMES
    for seed in harness.seeds(name)
]


@pytest.fixture(scope="module")
def jail():
    """Seeds may be hostile; one that works takes none of this."""
    with Jail() as jail:
        yield jail


def parsers() -> Iterator[str]:
    """Yield what reads a text or a document: all that is called ``from_…``, and what is named."""
    yield from NAMED
    for module in pkgutil.walk_packages(changehook.__path__, "changehook."):
        if module.name.split(".")[1] not in SHELLS:
            classes = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
            yield from (
                f"{module.name}.{cls.__qualname__}.{name}"
                for _, cls in classes
                if cls.__module__ == module.name
                for name in vars(cls)
                if name.startswith("from_")
            )


@pytest.mark.parametrize(("name", "seed"), SEEDS)
def test_seed(jail, name, seed):
    """What fuzzing starts from, and what it once found, is handled within the limits."""
    outcome = jail.run(harness.trial, name, seed.read_bytes())
    again = f"python tests/fuzz/run.py {name} {seed}"
    assert outcome.error is None, f"{outcome.error}; this shows where: {again}"


def test_every_parser_has_a_target(jail):
    """The seeds reach everything that reads text from outside, so that fuzzing can."""
    outcome = jail.run(harness.entered, harness.NAMES)
    assert outcome.error is None
    assert set(parsers()) - outcome.value == set()


@pytest.mark.parametrize("name", harness.NAMES)
def test_seeds_are_small(name):
    """Small inputs make fast fuzzing."""
    sizes = [seed.stat().st_size for seed in harness.seeds(name)]
    assert len(sizes) >= 8
    assert max(sizes) <= 10_000
    assert sum(sizes) <= 16_000


def test_a_finding_is_raised_and_what_does_not_fit_is_not():
    """A target fails for what it asserts, and passes over inputs of another form."""

    def check(data: bytes) -> None:
        harness.document(data)
        assert data == b"1"

    target = harness.Target("own", (), 1, check)
    target.run(b"1")
    target.run(b"{")
    with pytest.raises(AssertionError):
        target.run(b"2")


def test_mutations():
    """A mutation is a function of its seed, keeps to the size, and leaves JSON well-formed."""
    data = b'{"a": [1, "x", {"b": null}], "c": "d"}' + harness.SEPARATOR + b"[2.5]"
    found = [
        mutation.mutated(data, 300, seed, words=("w",), mutate=lambda old, size: old[:size])
        for seed in [*range(200), *range(200)]
    ]
    assert found[:200] == found[200:]
    assert len(set(found)) > 50
    assert max(map(len, found)) <= 300
    assert all(isinstance(json.loads(part), object) for one in found for part in one.split(b"---"))


def test_one_input(tmp_path):
    """An input can be tried by itself, without atheris: a finding is a traceback."""
    file = tmp_path / "input"
    file.write_bytes(b"https://hooks.example.com/")
    command = [sys.executable, str(harness.FOLDER / "run.py"), "urls", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unknown = subprocess.run([*command[:2], "url"], capture_output=True, text=True, cwd=tmp_path)
    assert unknown.returncode == 2
    assert ", urls, " in unknown.stdout
