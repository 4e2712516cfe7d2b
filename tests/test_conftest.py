"""The guards that every test runs under do guard."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-o"]

OUTSIDE = """
import contextlib, pytest, socket

@pytest.mark.parametrize("attempt", [
    lambda: socket.create_connection(("192.0.2.1", 80)),
    lambda: socket.create_connection(("2001:db8::1", 80)),
    lambda: socket.create_connection(("receiver.example", 80)),
    lambda: socket.getaddrinfo("receiver.example", 80),
    lambda: socket.gethostbyname(b"receiver.example"),
    lambda: socket.getnameinfo(("192.0.2.1", 80), 0),
])
def test_outside(attempt):
    with contextlib.suppress(Exception):
        attempt()

def test_datagram():
    with socket.socket(type=socket.SOCK_DGRAM) as sock, contextlib.suppress(Exception):
        sock.sendto(b"", ("192.0.2.1", 53))
"""

INSIDE = """
import pytest, socket

@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connect(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection((host, server.getsockname()[1])).close()

@pytest.mark.parametrize("host", [None, "localhost", "127.1", "0x7f.1", "192.0.2.1", "2001:db8::1"])
def test_numbers(host):
    assert socket.getaddrinfo(host, 80)
    assert socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST)

def test_parsing_only():
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("receiver.example", 80, flags=socket.AI_NUMERICHOST)

def test_local_sockets():
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x")
"""

PAGE = """
```python
import socket
socket.getaddrinfo("receiver.example", 80)
```
"""

SKIPS = "import pytest\ndef test_it():\n    pytest.skip('curl is not installed')\n"
SKIPPED_MODULE = "import pytest\npytest.skip('curl is not installed', allow_module_level=True)\n"


def run(folder: Path, name: str, text: str, require: str = "") -> str:
    """Run pytest over one file under the guards of the project, and return its output."""
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [*PYTEST, f"pythonpath={ROOT / 'tests'}", "-p", "no:cacheprovider", "-rA", name],
        cwd=folder,
        env={**os.environ, "CHANGEHOOK_REQUIRE": require},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_leaving_loopback_fails_a_test_that_catches_everything(tmp_path: Path) -> None:
    """A test that reaches outside fails, even when the code under it swallows the refusal."""
    output = run(tmp_path, "test_outside.py", OUTSIDE)
    assert "7 failed in" in output
    assert output.count("\ntried to leave loopback: socket.") == 7


def test_loopback_is_open(tmp_path: Path) -> None:
    """What stays on this machine is allowed, and so is parsing an address."""
    assert "10 passed in" in run(tmp_path, "test_inside.py", INSIDE)


def test_examples_in_documents_stay_on_loopback_too(tmp_path: Path) -> None:
    """An example in a document is run, under the same guard."""
    assert "tried to leave loopback" in run(tmp_path, "page.md", PAGE)


def test_a_skip_for_something_required_is_a_failure(tmp_path: Path) -> None:
    """CHANGEHOOK_REQUIRE turns a skip whose reason names the thing into a failure."""
    assert "1 skipped in" in run(tmp_path, "test_it.py", SKIPS, require="openssl")
    assert "required here: curl" in run(tmp_path, "test_it.py", SKIPS, require="openssl,curl")


def test_a_module_skipped_for_something_required_is_a_failure(tmp_path: Path) -> None:
    """The same holds when the skip comes while the tests are collected."""
    output = run(tmp_path, "test_it.py", SKIPPED_MODULE, require="curl")
    assert "required here: curl" in output
