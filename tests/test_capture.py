"""The request context."""

import contextvars

from changehook.capture import current_context, request_context


def test_a_context_ends_with_its_block():
    """And is not seen by another task or thread."""
    with request_context(username="ann") as context:
        assert current_context() is context
        assert contextvars.Context().run(current_context).username is None
    assert current_context().username is None


def test_an_inner_context_keeps_what_it_does_not_name():
    """And the outer one is back afterwards."""
    with request_context(username="ann", request_id="1"):
        with request_context(username="bob"):
            assert current_context().username == "bob"
            assert current_context().request_id == "1"
        assert current_context().username == "ann"
