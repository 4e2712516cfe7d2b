"""Where webhooks are looked up."""

import gc
import json
import os
import pickle
import threading
import weakref

import attrs
import pytest

from changehook import ConfigurationError, FileSource, Webhook, WebhookRegistry
from changehook.sources import SELECTIONS, load_webhooks
from changehook.testing.deliveries import LIMIT, until


def hook(name, *, models=("site",), events=("created",), **more):
    """Return a webhook."""
    return Webhook(
        name=name, object_types=models, events=events, url="https://receiver.example/", **more
    )


def names(webhooks):
    """Return the names."""
    return [webhook.name for webhook in webhooks]


def test_listeners_are_selected_in_the_order_of_definition():
    """By exact pair and by glob, each once."""
    registry = WebhookRegistry(
        [
            hook("glob", models=["*"], events=["*"]),
            hook("exact", models=["site", "s*"], events=["created", "c*"]),
            hook("other", models=["device"]),
            hook("dotted", models=["dcim.*"], events=["job.*", "created"]),
            hook("off", enabled=False),
            hook("one", models=["sit[e]"]),
            hook("also", models=["sit[e]"], enabled=False),
        ]
    )
    for _ in range(2):
        assert names(registry.select("created", "site")) == ["glob", "exact", "one"]
        assert names(registry.select("job.done", "dcim.site")) == ["glob", "dotted"]
        assert names(registry.select("job", "dcim.site")) == ["glob"]
    assert names(registry.all()) == ["glob", "exact", "other", "dotted", "off", "one", "also"]
    assert registry.get("off").name == "off"
    assert registry.get("none") is None


@pytest.mark.parametrize(
    "pair", [("", "site"), (["created"], "site"), ("created", None), (5, "site")]
)
def test_a_pair_that_is_no_pair_of_names_is_refused(pair):
    """The caller's mistake gets a clear error, also for what cannot be hashed."""
    with pytest.raises(ConfigurationError, match="expected a name such as"):
        WebhookRegistry().select(*pair)


def test_webhooks_that_share_a_glob_both_listen():
    """A glob is compiled once for all of them."""
    registry = WebhookRegistry([hook("a", models=["s*"]), hook("b", models=["s*", "x"])])
    assert names(registry.select("created", "site")) == ["a", "b"]
    assert names(registry.select("created", "x")) == ["b"]


def test_names_are_unique():
    """A delivery refers to its webhook by name."""
    with pytest.raises(ConfigurationError, match='/1/name: there is another webhook "a"'):
        WebhookRegistry([hook("a"), hook("a")])


def test_a_registry_can_be_changed():
    """Replaced whole, and one by one; a bad set leaves the old one."""
    registry = WebhookRegistry([hook("a")])
    assert names(registry.select("created", "site")) == ["a"]
    registry.add(hook("b"))
    registry.add(hook("a", models=["device"]))
    assert names(registry.select("created", "site")) == ["b"]
    registry.remove("b")
    registry.remove("unknown")
    assert names(registry.all()) == ["a"]
    with pytest.raises(ConfigurationError):
        registry.replace([hook("x"), hook("x")])
    assert names(registry.all()) == ["a"]
    registry.replace([])
    assert registry.all() == ()


def test_what_a_selection_remembers_is_bounded():
    """A host that makes up model names does not fill the memory."""
    registry = WebhookRegistry([hook("a", models=["*"])])
    for number in range(SELECTIONS + 10):
        assert names(registry.select("created", f"m{number}")) == ["a"]
    assert len(registry._index.selections) <= SELECTIONS


def write(path, *webhooks):
    """Write a file of definitions, in one step."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"webhooks": [webhook.to_dict(reveal=True) for webhook in webhooks]}))
    new.replace(path)


TOML = """
[[webhooks]]
name = "a"
object_types = ["site"]
events = ["created"]
url = "https://receiver.example/"
[webhooks.conditions]
attr = "status"
value = "active"
"""


def test_files_are_json_or_toml(tmp_path):
    """A document with webhooks, a list, one webhook; or TOML tables."""
    one = hook("a").to_dict(reveal=True)
    for number, content in enumerate(({"webhooks": [one]}, [one], one)):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(content))
        assert load_webhooks(path) == [hook("a")]
    path = tmp_path / "webhooks.toml"
    path.write_text(TOML)
    assert load_webhooks(str(path))[0].conditions == {"attr": "status", "value": "active"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "a.json: not JSON"),
        ("a.json", '{"webhooks": [], "webhooks": []}', 'the key "webhooks" stands twice'),
        ("a.json", "[" * 100_000, "a.json: not JSON"),
        ("a.toml", "= 5", "a.toml: not TOML, which a file is whose name ends in .toml"),
        ("a.TOML", "= 5", "a.TOML: not TOML"),
        ("a.yaml", "webhooks:", "a.yaml: not JSON, which a file is unless its name ends in .toml"),
        ("a.toml", "", "a.toml: holds no webhooks; write [[webhooks]]"),
        ("a.toml", "[[webhook]]\nname = 'x'", "a.toml: holds no webhooks; write [[webhooks]]"),
        ("a.json", "{}", 'a.json: holds no webhooks; write {"webhooks": [...]}'),
        ("a.json", '{"webhooks": [], "hooks": []}', "/hooks: unknown"),
        ("a.json", '{"webhooks": {}}', "/webhooks: expected a list"),
        ("a.json", "5", "/webhooks: expected a list"),
        ("a.json", '[{"name": "x"}]', "/webhooks/0/url: required"),
        ("a.json", None, "a.json: cannot be read"),
        ("a.json", " " * (4 * 1024 * 1024 + 1), "it is longer than 4194304 bytes"),
        ("a.toml", "# 1\n" + "a.b.c.d.e.f.g.h.i = 1", "line 2: a key of more than 8 names"),
        ("a.json", "[" + "{}," * 10_000 + "{}]", "10001 webhooks, and a file holds at most 10000"),
        ("a.json", "[" + "{}," * 100 + "{}]", "these are the first 100 faults; there may be more"),
        ("a.json", "\ufeff[]", "begins with a byte order mark; save it as UTF-8 without one"),
        ("a.json", '{"x": 1, "webhooks": []}', "/x: unknown"),
        ("a.toml", "a.a.a.a.a.a.a.a.a = 1", "a key of more than 8 names"),
    ],
)
def test_a_broken_file_says_where(tmp_path, name, content, message):
    """Every fault of every webhook."""
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load_webhooks(path)
    assert message in str(caught.value)


def test_a_pipe_is_not_read(tmp_path):
    """It would keep the reader waiting for a writer that may never come."""
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(ConfigurationError, match="it is not a regular file"):
        load_webhooks(tmp_path / "a.json")


def test_two_webhooks_of_one_name_in_a_file(tmp_path):
    """The pointer leads to the second."""
    write(tmp_path / "a.json", hook("a"), hook("b"), hook("a"))
    with pytest.raises(ConfigurationError, match="/webhooks/2/name"):
        load_webhooks(tmp_path / "a.json")


@pytest.fixture
def source(tmp_path):
    """Give a file source that looks often."""
    path = tmp_path / "webhooks.json"
    write(path, hook("a"))
    source = FileSource(path, interval=0.005)
    yield source
    source.close()


def test_a_file_is_read_again_when_it_changes(source):
    """By a thread, that starts with the first use."""
    before = threading.active_count()
    assert names(source.select("created", "site")) == ["a"]
    assert source.get("a").name == "a"
    assert threading.active_count() == before + 1
    write(source.path, hook("a"), hook("b"))
    assert until(lambda: names(source.select("created", "site")) == ["a", "b"])


def test_a_broken_file_keeps_the_last_good_set(source, caplog):
    """And says so, once, until it is repaired."""
    assert source.refresh() is False
    source.path.write_text('{"webhooks": [{"name": 5}]}')
    assert source.refresh() is False
    assert source.refresh() is False
    assert names(source.all()) == ["a"]
    assert "/webhooks/0/name" in str(source.error)
    assert caplog.text.count("is broken, the last good webhooks stay") == 1
    source.path.unlink()
    assert source.refresh() is False
    assert "cannot be read" in str(source.error)
    write(source.path, hook("c"))
    assert source.refresh() is True
    assert source.error is None
    assert names(source.all()) == ["c"]


def test_a_broken_file_is_refused_at_the_start(tmp_path):
    """A host does not start without its webhooks."""
    with pytest.raises(ConfigurationError):
        FileSource(tmp_path / "none.json")


@pytest.mark.parametrize("interval", [0, -1, float("nan"), "1", None])
def test_an_interval_is_more_than_nothing(source, interval):
    """A thread that never rests would take a whole processor."""
    with pytest.raises(ConfigurationError, match=r"interval is .*; write seconds"):
        FileSource(source.path, interval=interval)


def test_only_webhooks_are_added():
    """Anything else is named."""
    with pytest.raises(ConfigurationError, match="expected a Webhook, found str"):
        WebhookRegistry().add("w")


def test_selecting_never_touches_the_disk(source):
    """Not even when the file is gone: only the thread looks."""
    source.close()
    source.path.unlink()
    assert names(source.select("created", "site")) == ["a"]
    assert names(source.select("created", "other")) == []
    assert source._watcher is None


def test_a_source_that_nobody_uses_ends_its_thread(source):
    """The thread does not keep the source alive."""
    other = FileSource(source.path, interval=0.005)
    other.get("a")
    thread, reference = other._watcher, weakref.ref(other)
    del other
    gc.collect()
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert reference() is None


def test_a_forked_child_looks_at_the_file_itself(source):
    """The parent's thread is not in the child."""
    source.select("created", "site")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child reports through the pipe and leaves at once
        write(source.path, hook("child"))
        seen = until(lambda: names(source.select("created", "site")) == ["child"])
        os.write(writer, pickle.dumps(seen))
        os._exit(0)
    os.waitpid(pid, 0)
    assert pickle.loads(os.read(reader, 1000)) is True
    os.close(reader)
    os.close(writer)


def test_what_a_child_does_first(source):
    """It forgets the thread and what was remembered, so that its first emit starts a thread."""
    source.select("created", "site")
    former = source._watcher
    source.close()
    former.join(LIMIT)
    source._forked()
    assert names(source.select("created", "site")) == ["a"]
    assert source._watcher is not former


def test_a_registry_in_a_child_has_a_lock_of_its_own():
    """A thread of the parent may have held the parent's at the fork."""
    registry = WebhookRegistry()
    registry._lock.acquire()
    registry._forked()
    registry.add(hook("a"))
    assert names(registry.all()) == ["a"]


def test_without_a_thread_the_webhooks_stay(source, monkeypatch):
    """No thread can start while the interpreter exits, from Python 3.12 on."""

    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert names(source.select("created", "site")) == ["a"]
    assert source._watcher is None


def test_a_change_of_the_registry_is_never_seen_in_part():
    """Every select sees the webhooks of one moment."""
    old, new = ([hook(f"{side}{n}") for n in range(20)] for side in ("old", "new"))
    registry, seen, stop = WebhookRegistry(old), [], threading.Event()

    def look():
        while not stop.is_set():
            seen.append(frozenset(name[:3] for name in names(registry.select("created", "site"))))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        registry.replace(new)
        registry.replace([attrs.evolve(each) for each in old])
    stop.set()
    for thread in threads:
        thread.join(LIMIT)
    assert set(seen) <= {frozenset({"old"}), frozenset({"new"})}


def test_a_dotted_number_in_toml_is_no_key(tmp_path):
    """An object identifier may stand in a text and in a comment."""
    path = tmp_path / "a.toml"
    path.write_text(
        "# see 1.3.6.1.4.1.9.9.41.2.0.1\n[[webhooks]]\nname='w'\nobject_types=['*']\nevents=['*']\n"
        "url='https://h.example/'\nbody_template='{\"oid\": \"1.3.6.1.4.1.9.9.41.2.0.1\"}'\n"
    )
    [webhook] = load_webhooks(path)
    assert "1.3.6.1.4.1.9.9.41.2.0.1" in webhook.body_template
