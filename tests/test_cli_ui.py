"""``changehook ui``: a real process that shows a real file to whoever has its link."""

from __future__ import annotations

import contextlib
import http.client
import http.cookiejar
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from changehook.cli import main
from changehook.deliveries import Delivery, DeliveryStatus
from changehook.models import utcnow
from changehook.receiver import Receiver
from changehook.stores.sqlite import SQLiteStore
from changehook.testing.deliveries import failed, make_delivery, until

LIMIT = 60.0
LINK = re.compile(r"Open (http://127\.0\.0\.1:([0-9]+)/([\w-]{32})/)\n")
COOKIE = re.compile(r"changehook_csrf=[\w-]{43}; HttpOnly; SameSite=Lax")
TOKEN = re.compile(r'name="csrf" value="([^"]+)"')
APPLICATION = """
from changehook import Emitter, InMemoryQueue, NetworkPolicy, Queue, ThreadPoolQueue, Webhook
from changehook.stores.sqlite import SQLiteStore

def make():
    hook = Webhook(name="log", object_types=["*"], events=["*"], url={url!r})
    queue = ThreadPoolQueue(SQLiteStore({path!r}))
    return Emitter(webhooks=[hook], queue=queue, network=NetworkPolicy.internal())

class Foreign(Queue):
    def put(self, deliveries): pass

memory = Emitter(queue=InMemoryQueue())
foreign = Emitter(queue=Foreign())
number = 7
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the store is."""
    return str(tmp_path / "webhooks.db")


@pytest.fixture
def store(path: str) -> Iterator[SQLiteStore]:
    """A store with a delivery that was given up."""
    with contextlib.closing(SQLiteStore(path)) as store:
        now = utcnow()
        store.add([make_delivery(id="msg_1", webhook="log", created_at=now, due_at=now)])
        (claimed,) = store.claim(now, lease=lambda name: 60.0)
        store.save(failed(claimed))
        yield store


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file with one webhook, which the store has deliveries of."""
    document = {"name": "log", "object_types": ["*"], "events": ["*"]}
    path = tmp_path / "webhooks.json"
    path.write_text(json.dumps({"webhooks": [{**document, "url": "https://receiver.example/"}]}))
    return str(path)


def kept(store: SQLiteStore) -> Delivery:
    """Return the delivery as it is now."""
    found = store.get("msg_1")
    assert found
    return found


@attrs.frozen
class Answered:
    """What the page answered."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def cookies(self) -> str:
        """What a browser sends after this answer."""
        return self.headers.get("Set-Cookie", "").partition(";")[0]


class Shown:
    """A ``changehook ui`` in a process of its own."""

    def __init__(self, words: tuple[str, ...], folder: Path) -> None:
        command = [sys.executable, "-W", "error", "-m", "changehook", "ui", *words]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes, cwd=folder)
        self._watchdog = threading.Timer(LIMIT, self.process.kill)
        self._watchdog.start()
        self.port, self.key = 0, ""

    def opened(self) -> Shown:
        """Wait for the link that is printed."""
        match = LINK.fullmatch(self.line())
        assert match
        self.port, self.key = int(match[2]), match[3]
        assert self.line() == "CONTROL-C stops it.\n"
        return self

    def line(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self, address: str, form: dict[str, str] | None = None, **headers: str) -> Answered:
        """Send a request, and return the answer, which sets no cookie but that of the forms."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        with contextlib.closing(connection):
            body = None if form is None else urllib.parse.urlencode(form)
            if body is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request("GET" if body is None else "POST", address, body, headers)
            response = connection.getresponse()
            given = response.headers.get_all("Set-Cookie", [])
            assert all(COOKIE.fullmatch(each) and self.key not in each for each in given)
            return Answered(response.status, dict(response.getheaders()), response.read().decode())

    def open(self, path: str, form: dict[str, str] | None = None, **headers: str) -> Answered:
        """Send a request for what is below the key, and return the answer."""
        return self.ask(f"/{self.key}{path}", form, **headers)

    def done(self, *, stop: bool = True) -> tuple[int, str, str]:
        """Stop it; return its code and what else it printed."""
        if stop:
            self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=LIMIT)
        self._watchdog.cancel()
        return self.process.returncode, out, err


Start = Callable[..., Shown]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start pages, none of which outlives the test."""
    pages: list[Shown] = []

    def start(*words: str) -> Shown:
        pages.append(Shown(("--port", "0", *words), tmp_path))
        return pages[-1]

    yield start
    for page in pages:
        page.process.kill()
        page.done(stop=False)


@pytest.fixture
def page(start: Start, path: str, store: SQLiteStore) -> Shown:
    """The page of a file, without webhooks."""
    return start(path).opened()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that answers 200."""
    with Receiver(port=0, output=lambda text: None) as receiver:
        yield receiver


# What it shows, and what it does


def test_the_link_leads_to_the_overview(page: Shown) -> None:
    """The link is the overview, which does not say the key; its links are relative."""
    overview = page.open("/")
    assert overview.status == 200
    assert "<title>Overview" in overview.text
    assert page.key not in overview.text
    assert overview.headers["Referrer-Policy"] == "same-origin"
    assert page.open("/static/page.css").status == 200


def test_the_slash_is_added(page: Shown) -> None:
    """Without it the link leads to the one with it, and no cookie is given for the path above."""
    answer = page.open("")
    assert (answer.status, answer.headers["Location"]) == (303, f"{page.key}/")
    assert answer.cookies == ""


def test_the_name_localhost_is_as_good(page: Shown) -> None:
    """Whoever types localhost sees the same."""
    assert page.open("/", Host=f"localhost:{page.port}").status == 200


def test_a_retry_makes_a_delivery_due(page: Shown, store: SQLiteStore) -> None:
    """A form of the page, with its token, changes what the file keeps; nothing is sent by it."""
    shown = page.open("/delivery?id=msg_1")
    token = TOKEN.search(shown.text)
    assert token
    form = {"id": "msg_1", "action": "retry", "csrf": token[1]}
    assert page.open("/delivery", form).status == 403
    assert page.ask("/delivery", form, Cookie=shown.cookies).status == 403
    assert kept(store).status is DeliveryStatus.FAILED
    answer = page.open("/delivery", form, Cookie=shown.cookies)
    assert (answer.status, answer.headers["Location"]) == (303, "delivery?id=msg_1&done=retry")
    found = kept(store)
    assert (found.status, len(found.attempts)) == (DeliveryStatus.PENDING, 1)
    assert found.due_at <= utcnow()
    assert page.done() == (0, "", "")
    assert kept(store) == found


def test_it_shows_webhooks_of_a_file_as_it_is_now(
    start: Start, path: str, store: SQLiteStore, file: str
) -> None:
    """Definitions are those of FILE, which is read again."""
    page = start(path, file).opened()
    assert page.open("/webhook?name=log").status == 200
    text = Path(file).read_text().replace('"log"', '"other"')
    fresh = Path(file).with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)
    assert until(lambda: page.open("/webhook?name=other").status == 200)
    assert page.open("/webhook?name=log").status == 404
    code, out, err = page.done()
    assert (code, out) == (0, "")
    assert "Traceback" not in err


def test_the_link_as_json(start: Start, path: str, store: SQLiteStore) -> None:
    """With --json one document is printed, and nothing else."""
    page = start(path, "--json")
    lines = [page.line()]
    while lines[-1] != "}\n":
        lines.append(page.line())
    (url,) = json.loads("".join(lines)).values()
    parts = urllib.parse.urlsplit(url)
    assert (parts.scheme, parts.hostname) == ("http", "127.0.0.1")
    page.port, page.key = parts.port or 0, parts.path.strip("/")
    assert (len(page.key), parts.path, parts.query) == (32, f"/{page.key}/", "")
    assert page.ask(parts.path).status == 200
    assert page.done() == (0, "", "")


def test_control_c_stops_it(page: Shown, store: SQLiteStore) -> None:
    """It ends with 0 and without a traceback, though a browser keeps a connection open."""
    with socket.create_connection(("127.0.0.1", page.port)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\n")
        assert page.ask("/").status == 403
        assert page.done() == (0, "", "")


def test_a_browser_that_hangs_up_is_no_trouble(page: Shown) -> None:
    """It goes on, and says nothing."""
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", page.port)) as gone:
            request = f"GET /{page.key}/ HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n"
            gone.sendall(request.encode())
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert page.open("/").status == 200
    assert page.done() == (0, "", "")


# Who sees it


def test_it_listens_on_one_address_of_this_machine(page: Shown) -> None:
    """No other address answers, not even another loopback one."""
    for address in ("127.0.0.2", "::1"):
        with pytest.raises(OSError, match=r"refused|[Cc]annot assign|unreachable|not supported"):
            socket.create_connection((address, page.port), timeout=LIMIT)


@pytest.mark.parametrize(
    "mount",
    [
        "",
        "/",
        "/" + "x" * 32,
        "/{short}",
        "/{key}x",
        "/x/{key}",
        "x/{key}",
        "http://127.0.0.1/{key}",
        "/%C3%A9",
        "/%ff",
    ],
)
def test_without_the_key_nothing_is_shown(page: Shown, mount: str) -> None:
    """A request without the key as its first segment, or with a wrong one, learns nothing."""
    mount = mount.format(key=page.key, short=page.key[:-1])
    for below in ("", "/", "/deliveries", "/delivery?id=msg_1", "/static/page.css"):
        answer = page.ask(f"{mount}{below}" or "*")
        assert (answer.status, answer.text) == (403, "You may not see this page.\n")
        assert answer.cookies == ""


def test_the_key_counts_in_the_path_only(page: Shown) -> None:
    """The key in a query, a cookie or another header opens nothing, nor does a header that has the
    name of what lets a request in."""
    cookie = f"changehook_{page.port}={page.key}; changehook_csrf={page.key}; key={page.key}"
    headers = {"Cookie": cookie, "Referer": f"http://127.0.0.1:{page.port}/{page.key}/"}
    headers |= {"Authorization": f"Bearer {page.key}", "Script-Name": f"/{page.key}"}
    headers |= {"changehook.right": "operate"}
    answer = page.ask(f"/?key={page.key}", **headers)
    assert (answer.status, answer.cookies) == (403, "")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1"]
)
def test_a_foreign_name_is_refused(page: Shown, store: SQLiteStore, host: str) -> None:
    """A site whose name leads to this machine gets nothing, also with the key and the cookie."""
    host = host.format(port=page.port)
    answer = page.open("/", Host=host)
    assert (answer.status, answer.cookies) == (403, "")
    shown = page.open("/delivery?id=msg_1")
    token = TOKEN.search(shown.text)
    assert token
    form = {"id": "msg_1", "action": "discard", "csrf": token[1]}
    assert page.open("/delivery", form, Host=host, Cookie=shown.cookies).status == 403
    assert kept(store)


def test_a_neighbour_on_another_port_gets_nothing(page: Shown, receiver: Receiver) -> None:
    """A browser sends cookies to every port of a host: those of the page are for its path only."""
    jar = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar)
    )
    for path in ("", "/", "/delivery?id=msg_1", "/static/page.css"):
        browser.open(f"http://127.0.0.1:{page.port}/{page.key}{path}", timeout=LIMIT).close()
    assert [(cookie.name, cookie.path) for cookie in jar] == [("changehook_csrf", f"/{page.key}")]
    for path in ("/", "/hooks/", "/" + "x" * 32):
        browser.open(f"{receiver.url}{path}", timeout=LIMIT).close()
    assert len(receiver.requests) == 3
    for request in receiver.requests:
        assert "cookie" not in {name.lower() for name, _ in request.headers}
        assert page.key not in str((request.request_line, request.headers))


def test_two_of_them_do_not_mix(start: Start, path: str, store: SQLiteStore) -> None:
    """Each has a key of its own, which opens no other."""
    one, two = start(path).opened(), start(path).opened()
    assert one.key != two.key
    assert one.open("/").status == two.open("/").status == 200
    assert two.ask(f"/{one.key}/").status == one.ask(f"/{two.key}/").status == 403


# The emitter of an application


@pytest.fixture
def application(tmp_path: Path, path: str, receiver: Receiver) -> None:
    """An application in the folder where the command is started."""
    (tmp_path / "shop.py").write_text(APPLICATION.format(url=receiver.url, path=path))


@pytest.mark.usefixtures("application")
def test_it_shows_an_emitter(start: Start, store: SQLiteStore, receiver: Receiver) -> None:
    """Its webhooks are shown, and what is retried is sent as the application would."""
    page = start("--emitter", "shop:make").opened()
    shown = page.open("/delivery?id=msg_1")
    token = TOKEN.search(shown.text)
    assert token
    assert not receiver.requests
    form = {"id": "msg_1", "action": "retry", "csrf": token[1]}
    assert page.open("/delivery", form, Cookie=shown.cookies).status == 303
    assert until(lambda: kept(store).status is DeliveryStatus.DELIVERED)
    assert len(receiver.requests) == 1
    assert page.done() == (0, "", "")


@pytest.mark.usefixtures("application")
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--emitter", "shop:make", "x.db"), "--emitter: takes no STORE or FILE"),
        (("--emitter", "shop:memory"), "shop:memory keeps its deliveries in the memory of each"),
        (("--emitter", "shop:foreign"), "its queue, a Foreign, cannot be looked into"),
        (("--emitter", "shop:number"), "shop:number is no Emitter"),
        (("--emitter", "shoop:make"), "there is no module shoop"),
        (("--emitter", "shop"), "expected MODULE:NAME"),
    ],
)
def test_an_emitter_that_cannot_be_shown(
    start: Start, words: tuple[str, ...], complaint: str
) -> None:
    """Each ends with 2 and says why, without a traceback."""
    code, out, err = start(*words).done(stop=False)
    assert (code, out) == (2, "")
    assert complaint in err
    assert "Traceback" not in err


# Wrong usage


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "write STORE, or --emitter MODULE:NAME"),
        (("missing.db",), "missing.db: there is no such file"),
        (("FOLDER",), "FOLDER: there is no such file"),
        (("STORE", "missing.toml"), "missing.toml: cannot be read"),
        (("STORE", "broken.json"), "broken.json: "),
        (("broken.json",), "broken.json"),
        (("STORE", "--port", "65536"), "--port: expected a port from 0 to 65535"),
        (("STORE", "--port", "-1"), "--port: expected a port from 0 to 65535"),
    ],
)
def test_words_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    store: SQLiteStore,
    words: tuple[str, ...],
    complaint: str,
) -> None:
    """Each ends with 2 and says why, and makes no file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "broken.json").write_text("{" * 200)
    before = sorted(each.name for each in tmp_path.iterdir() if "-" not in each.name)
    assert main(["ui", *(word.replace("STORE", "webhooks.db") for word in words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert complaint in captured.err
    assert sorted(each.name for each in tmp_path.iterdir() if "-" not in each.name) == before


@pytest.mark.parametrize("words", [("STORE", "--port", "http"), ("a", "b", "c"), ("--prot", "1")])
def test_words_that_cannot_be_understood(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """Each is wrong usage."""
    with pytest.raises(SystemExit, match="2"):
        main(["ui", *words])
    assert "error:" in capsys.readouterr().err


def test_a_port_that_is_taken(
    capsys: pytest.CaptureFixture[str], path: str, store: SQLiteStore
) -> None:
    """It says so, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["ui", path, "--port", str(port)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    expected = f"cannot listen on port {port} of 127.0.0.1: Address already in use; choose another"
    assert expected in captured.err
