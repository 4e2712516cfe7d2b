"""The error tree."""

import inspect
import json
import pickle

import pytest

from changehook import errors

ALL = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, errors.ChangehookError)
]


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_error_pickles_and_reads_the_same(cls):
    """An error crosses a process boundary, as Celery and RQ demand."""
    error = cls("data.owner", "cannot encode") if cls is errors.EncodingError else cls("what")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error) != ""
    assert isinstance(cls.retryable, bool)


def test_every_error_stands_in_the_tree_of_the_docstring():
    """The drawing at the top of the module is complete."""
    assert [cls.__name__ for cls in ALL if cls.__name__ not in errors.__doc__] == []


def test_a_configuration_error_lists_its_faults():
    """Each fault keeps its pointer, and can be moved under another document's."""
    fault = errors.Fault("/op", "unknown operator")
    error = errors.ConfigurationError(fault, "something else")
    assert str(error) == "/op: unknown operator\nsomething else"
    assert [str(item) for item in error.faults] == ["/op: unknown operator", "/: something else"]
    assert fault.under("/and/1").pointer == "/and/1/op"
    assert pickle.loads(pickle.dumps(error)).faults == error.faults


def test_what_leaves_a_function_carries_no_variables():
    """Frames within are empty, and what ``from None`` set aside is gone; the traceback stays."""

    @errors.hides_locals
    def read(text, *, secret):
        """Read."""
        try:
            return json.loads(text)
        except ValueError as error:
            raise errors.ConfigurationError(f"not JSON, {secret == text}: {error.pos}") from None

    assert (read("{}", secret=""), read.__name__, read.__doc__) == ({}, "read", "Read.")
    with pytest.raises(errors.ConfigurationError, match="not JSON, True: 0") as caught:
        read("hunter2", secret="hunter2")
    assert caught.value.__context__ is None
    frames = caught.traceback[1:]
    assert [frame.name for frame in frames] == ["call", "read"]
    assert "hunter2" not in repr([frame.frame.f_locals for frame in frames])


def test_what_the_host_is_handling_stays_the_context():
    """Only an error that was set aside is dropped."""

    @errors.hides_locals
    def fail():
        raise errors.ConfigurationError("what")

    def handle():
        try:
            raise KeyError("host")
        except KeyError:
            fail()

    with pytest.raises(errors.ConfigurationError) as caught:
        handle()
    assert isinstance(caught.value.__context__, KeyError)
