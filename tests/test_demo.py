"""The demonstration: what it does, and that it notices when something is wrong."""

from __future__ import annotations

import json
import socket

import attrs
import pytest

from changehook.deliveries import DeliveryStatus
from changehook.demo import Demonstration, demonstrate, request_document


@pytest.fixture(scope="module")
def demo() -> Demonstration:
    """A demonstration that ran on this machine."""
    return demonstrate()


def test_all_arrives_as_expected(demo: Demonstration) -> None:
    """Two changes make three deliveries, each delivered by one attempt and received once."""
    assert demo.problems == ()
    assert demo.statuses == {"delivered": 3}
    assert demo.attempts == 3
    assert sorted(request.path for request in demo.requests) == ["/log", "/log", "/slack"]


def test_the_slack_webhook_sends_the_body_of_the_specification(demo: Demonstration) -> None:
    """The body template of the specification gives its text."""
    slack = next(request for request in demo.requests if request.path == "/slack")
    assert json.loads(slack.body) == {"text": "IP address 192.0.2.10/24 was created by ann!"}


def test_the_third_webhook_is_explained(demo: Demonstration) -> None:
    """The story shows the conditions that did not match, as a tree."""
    assert not demo.explanation.fires
    assert 'not matched: status.value eq "active" (found "planned")' in str(demo)


def test_the_story_shows_the_requests_and_sums_up(demo: Demonstration) -> None:
    """The text holds every request as the receiver prints it, the counts and what to try next."""
    lines = str(demo).splitlines()
    assert lines.count("------------") == 3
    assert "Deliveries:         3 delivered" in lines
    assert "Requests received:  3" in lines
    assert any("docs/tutorial.md" in line for line in lines)
    assert not [line for line in lines if demo.secret in line]


def test_the_document_is_plain_json(demo: Demonstration) -> None:
    """The same outcome is one JSON document, without the secret."""
    document = json.loads(json.dumps(demo.to_dict()))
    assert document["ok"] is True
    assert document["deliveries"] == {"delivered": 3}
    assert len(document["requests"]) == 3
    assert demo.secret not in json.dumps(document)


def changed(demo: Demonstration, where: str, **changes: object) -> Demonstration:
    """Return the demonstration with one request of a path changed."""
    requests = list(demo.requests)
    index = next(index for index, request in enumerate(requests) if request.path == where)
    requests[index] = attrs.evolve(requests[index], **changes)
    return attrs.evolve(demo, requests=tuple(requests))


@pytest.mark.parametrize(
    ("path", "changes", "problem"),
    [
        ("/slack", {"body": b"{"}, "the body is not JSON"),
        ("/slack", {"body": b"{}"}, "the body is not what the template says"),
        ("/log", {"body": b'{"data": 1}'}, "seven documented keys"),
        ("/log", {"headers": ()}, "the signature is not valid: not signed"),
        ("/log", {"path": "/other"}, "expected requests for"),
    ],
)
def test_a_wrong_request_is_a_problem(
    demo: Demonstration, path: str, changes: dict[str, object], problem: str
) -> None:
    """A request that is not the expected one is named as a problem, in the text too."""
    wrong = changed(demo, path, **changes)
    assert any(problem in text for text in wrong.problems), wrong.problems
    assert f"Problem:            {wrong.problems[0]}" in str(wrong)
    assert "All arrived as expected" not in str(wrong)
    assert wrong.to_dict()["ok"] is False


def test_what_is_not_delivered_is_a_problem(demo: Demonstration) -> None:
    """A delivery that failed is named with its reason, and so are requests that are missing."""
    failed = attrs.evolve(demo.deliveries[0], status=DeliveryStatus.FAILED, reason="status 500")
    wrong = attrs.evolve(demo, deliveries=(failed,), requests=())
    name = demo.deliveries[0].webhook
    assert f"the delivery to {name} is failed: status 500" in wrong.problems
    assert any("and got {}" in problem for problem in wrong.problems)
    assert "Deliveries:         1 failed" in str(wrong)
    assert "Deliveries:         none" in str(attrs.evolve(wrong, deliveries=()))


def test_a_third_webhook_that_fires_is_a_problem(demo: Demonstration) -> None:
    """The demonstration fails when conditions that are not met fire."""
    wrong = attrs.evolve(demo, explanation=attrs.evolve(demo.explanation, fires=True))
    assert wrong.problems == ("monitoring fires, though its condition is not met",)


def test_bytes_that_are_no_text_have_a_document(demo: Demonstration) -> None:
    """A received body that is not UTF-8 is shown with replacement characters."""
    request = attrs.evolve(demo.requests[0], body=b"\xff")
    assert json.loads(json.dumps(request_document(request)))["body"] == "\ufffd"


def test_nothing_is_left_listening(demo: Demonstration) -> None:
    """After the demonstration its port is closed."""
    host, port = demo.url.removeprefix("http://").split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5).close()
