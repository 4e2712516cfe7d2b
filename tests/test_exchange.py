"""One HTTP exchange, and what of it may be shown."""

from changehook.exchange import Preview, Request, Response, redact_headers, redact_url


def test_records_hide_what_may_be_secret():
    """No path, query, unknown header or body in any repr."""
    request = Request(
        method="POST",
        url="https://hooks.example:8443/services/SECRET?token=SECRET",
        headers={"Authorization": "Bearer SECRET", "Content-Type": "text/plain"},
        body=b"SECRET",
    )
    shown = [
        request,
        Preview(request=request),
        Response(status=200, headers={"set-cookie": "SECRET"}, body=b"SECRET"),
        Preview(request=request).to_dict()["url"],
        Preview(request=request).to_dict()["headers"],
    ]
    assert "SECRET" not in repr(shown) + str(shown)
    assert "https://hooks.example:8443/***" in repr(request)
    assert "text/plain" in repr(request)
    revealed = Preview(request=request).to_dict(reveal=True)
    assert revealed["url"] == request.url
    assert revealed["headers"]["Authorization"] == "Bearer SECRET"
    assert revealed["body"] == "SECRET"


def test_a_url_is_redacted_to_its_origin():
    """User information goes too."""
    assert redact_url("https://u:p@h.example/") == "https://h.example/"
    assert redact_url("https://h.example/?q") == "https://h.example/***"
    assert redact_headers({"X-Token": "s", "webhook-id": "msg_1"}) == {
        "X-Token": "***",
        "webhook-id": "msg_1",
    }
