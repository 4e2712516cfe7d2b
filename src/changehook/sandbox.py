"""The Jinja2 sandbox: renders templates, says what they can reach, and holds their budget."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import BuiltinMethodType, MethodType
from typing import Any

from jinja2 import StrictUndefined, Template, Undefined, nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.utils import Namespace, missing

from changehook.budget import (
    CALL,
    DEEPEST_CALLS,
    FUEL,
    LONGEST_TEXT,
    SHORT,
    SMALL_BITS,
    length,
)
from changehook.compiler import Generator, sizes
from changehook.escaping import Absent, RefusedError, Text
from changehook.failures import MissingError, failure, told, uncompiled
from changehook.filters import FILTERS, TESTS, TextEnvironment
from changehook.operations import COMPARISONS, LONGEST_SPELLING, OPERATORS, call_method, operate

__all__ = ["Program", "open_names"]

_ATTRIBUTES: Mapping[type, str] = {
    dict: "get items keys values",
    list: "count index",
    tuple: "count index grouper list",
    str: "capitalize casefold center count endswith find index isalnum isalpha isascii isdecimal "
    "isdigit islower isnumeric isspace istitle isupper join ljust lower lstrip partition "
    "removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split "
    "splitlines startswith strip swapcase title upper zfill",
    LoopContext: "changed cycle depth depth0 first index index0 last length nextitem previtem "
    "revindex revindex0",
}
MOST_STARRED = 256
_SCOPES = ("_loop_vars", "_block_vars")  # which Jinja2 passes to each call, for its own use


class _Undefined(StrictUndefined):
    """An undefined whose error says what was looked up, and in what."""

    __slots__ = ()
    _undefined_message = ""  # Jinja2's own would repeat what was looked up, however long it is

    def __init__(self, hint: Any = None, obj: Any = missing, name: Any = None, **_: Any) -> None:
        self._undefined_hint = hint
        self._undefined_obj = obj
        self._undefined_name = name

    @property
    def _undefined_exception(self) -> Any:  # type: ignore[override]  # made only when raised
        found = self._undefined_hint, self._undefined_name, self._undefined_obj
        return lambda _: MissingError(*found)


Absent.register(Undefined)


class _Environment(TextEnvironment):
    """Closed lists of what a template may use, and one way of escaping.

    Each rendering has a copy of its own, with the fuel that it has left.
    """

    code_generator_class = Generator
    intercepted_binops = frozenset(OPERATORS)
    intercepted_unops = frozenset("-")

    def __init__(self, text: type[Text], fuel: int) -> None:
        super().__init__(optimized=False, undefined=_Undefined, keep_trailing_newline=True)
        self.text = text
        self.escape = text.escape
        self.most_fuel = fuel
        self.fuel = fuel
        self.depth = 0
        self.parts: dict[str | None, int] = {}
        self.sizes: dict[nodes.Node, int] = {}
        self.filters = dict(FILTERS)
        self.tests = dict(TESTS)
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace")}

    def fuelled(self) -> _Environment:
        """Return a copy with all of its fuel."""
        copy = object.__new__(_Environment)
        copy.__dict__.update(self.__dict__)
        return copy

    def measure(self, tree: nodes.Template) -> None:
        """Remember how many parts the loops and macros of a template have.

        Raises:
            RefusedError: the template has too many parts, is too deep, or uses what is closed.
        """
        self.sizes = sizes(tree)
        for node, size in self.sizes.items():
            if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock):
                name = "for" if isinstance(node, nodes.For) else getattr(node, "name", None)
                self.parts[name] = max(self.parts.get(name, 0), size)

    def insert(self, value: Any) -> str:
        """Return what the output holds for a value."""
        if value.__class__ is str and len(value) <= SHORT:
            return self.escape(value)
        self._pay_for_text(value)
        return self.text.insert(value)

    def capture(self, value: Any) -> Text:
        """Return a value as a part of text that is still being made."""
        if value.__class__ is str and len(value) <= SHORT:
            text = self.text(value, self.escape(value))
        else:
            self._pay_for_text(value)
            text = self.text.capture(value)
        # It is kept until all of the text is made, beside what it is in the output.
        self.spend(10)
        self.make_text(len(text.output))
        return text

    def concat(self, parts: Any) -> Text:
        """Return the text of literal parts and captured ones."""
        self.make_text(sum(map(len, parts)))
        self.make_text(sum([len(getattr(part, "output", part)) for part in parts]))
        return self.text.concat(parts)

    def joined(self, values: Sequence[Any], glue: Any = "") -> str:
        """Return values joined as text: ``~`` and the filter ``join``."""
        texts = [value if value.__class__ is str else self._spelt(value) for value in values]
        between = self._spelt(glue)
        self.make_text(sum(map(len, texts)) + len(between) * len(texts))
        if not any(isinstance(value, Text) for value in (glue, *values)):
            return between.join(texts)
        text = self.text.joined(values, glue)
        self.make_text(len(text.output) if isinstance(text, Text) else 0)
        return text

    def steps(self, iterable: Any, parts: int) -> Iterable[Any]:
        """Return what a loop goes through, and pay for it: ``parts`` for each item."""
        if isinstance(iterable, str | list | dict | tuple | range):
            self.spend(len(iterable) * parts)
            return iterable
        return self._stepped(iter(iterable), parts)

    def compared(self, sign: str, one: Any, other: Any) -> Any:
        """Return what a comparison gives."""
        if sign in ("in", "notin"):
            self.find(one, other)
        else:
            self.compare(one, other)
        return COMPARISONS[sign](one, other)

    def starred(self, values: Any) -> Any:
        """Return what stands after ``*`` or ``**`` in a call, and pay for it."""
        self.spend(length(values))
        if not isinstance(values, list | tuple | dict) or len(values) > MOST_STARRED:
            raise RefusedError(f"* and ** take a list or an object of up to {MOST_STARRED} values")
        self.read(values)
        return values

    def sliced(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        """Return a slice."""
        if not isinstance(value, str | list | tuple | range):
            return self._attribute(value, None)
        part = slice(start, stop, step)
        items = len(range(*part.indices(len(value))))
        if isinstance(value, str):
            self.make_text(items)
        else:
            self.make_list(items)
        return value[part]

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return what a dot finds: keys win over methods."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return self._attribute(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return what brackets find."""
        if argument.__class__ is not str:
            self.read(argument)
        try:
            if isinstance(obj, dict | list | str | tuple | range):
                return obj[argument]
        except (TypeError, LookupError):
            return self._attribute(obj, argument)
        return self._attribute(obj, argument)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return what an operator gives."""
        return operate(self, operator, left, right)

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        """Return what a minus sign gives."""
        self.make_bits(arg.bit_length() if isinstance(arg, int) else 0)
        return -arg

    def call(self, context: Context, obj: Any, /, *values: Any, **named: Any) -> Any:
        """Return what a macro, a function or a method gives; nothing else can be called."""
        for name in _SCOPES:
            named.pop(name, None)
        self.spend(CALL + len(values) + len(named))
        if isinstance(obj, Macro):
            return self._deeper(self.parts[obj.name], obj, context.eval_ctx, *values, **named)
        if isinstance(obj, LoopContext):
            (iterable,) = values
            return self._deeper(0, obj, self.steps(iterable, self.parts["for"]), **named)
        # A namespace has whatever attributes its template gives it.
        owner = obj.__self__ if isinstance(obj, BuiltinMethodType | MethodType) else None
        if isinstance(owner, str | list | tuple | dict) and _is_open(owner, obj.__name__):
            return call_method(self, obj, values, named)
        if isinstance(owner, LoopContext):
            self.read_all((*values, *named.values()))
            return obj(*values, **named)
        if any(obj is each for each in self.globals.values()):
            return self._built(obj, values, named)
        length(obj)  # raises what was looked for, if it is not there
        raise RefusedError("only macros, functions and methods can be called")

    def _built(self, build: Any, values: tuple[Any, ...], named: dict[str, Any]) -> Any:
        for value in values:
            if not isinstance(value, int | dict | list | tuple):
                length(value)  # raises what was looked for, if it is not there
                raise TypeError
            if isinstance(value, int) and value.bit_length() > SMALL_BITS:
                raise RefusedError("a number given to range is too large")
            self.spend(4 * length(value))
            for pair in value if isinstance(value, list | tuple) else ():
                self.key(pair[0])
        return build(*values, **named)

    def _deeper(self, parts: int, call: Any, /, *values: Any, **named: Any) -> Any:
        self.spend(CALL + parts)
        if self.depth == DEEPEST_CALLS:
            raise RefusedError(f"calls itself more than {DEEPEST_CALLS} deep")
        self.depth += 1
        try:
            return call(*values, **named)
        finally:
            self.depth -= 1

    def _stepped(self, items: Iterator[Any], parts: int) -> Iterator[Any]:
        for item in items:
            self.spend(parts)
            yield item

    def _pay_for_text(self, value: Any) -> None:
        if value.__class__ is str:
            if len(value) > SHORT:
                self.make_text(len(value))
        else:
            longest = LONGEST_SPELLING if isinstance(value, dict | list | tuple) else 1
            self.make_text(32 + longest * self.read(value))

    def _spelt(self, value: Any) -> str:
        self._pay_for_text(value)
        return self.text.characters(value)

    def _attribute(self, obj: Any, name: Any) -> Any:
        if isinstance(obj, Undefined):
            str(obj)  # raises its own error
        is_open = isinstance(name, str) and _is_open(obj, name)
        value = getattr(obj, name, missing) if is_open else missing
        return self.undefined(obj=obj, name=name) if value is missing else value


def _is_open(obj: Any, name: str) -> bool:
    if isinstance(obj, Namespace):
        return not name.startswith("_")
    return name in open_names(obj.__class__)


@functools.cache
def open_names(cls: type) -> frozenset[str]:
    """Return the names of what templates may read of values of a type."""
    names = [each for base, each in _ATTRIBUTES.items() if issubclass(cls, base)]
    return frozenset(" ".join(names).split())


class Program:
    """A compiled template. One without any markup is a constant and is never rendered.

    Args:
        source: the template, with line feeds as line ends.
        text: how what it inserts is escaped.
        most: characters of output.
        fuel: steps that one rendering may take.

    Raises:
        RefusedError: the source is not a template, or uses what is not available.
    """

    def __init__(
        self, source: str, text: type[Text], most: int = LONGEST_TEXT, fuel: int = FUEL
    ) -> None:
        self._source = source
        self._most = most
        self.is_constant = not any(mark in source for mark in ("{{", "{%", "{#"))
        self._template = None if self.is_constant else _compiled(source, text, fuel)

    def render(self, context: Mapping[str, Any]) -> str:
        """Return the output for a context of plain JSON data, which is left as it was.

        Raises:
            RefusedError: the template cannot be rendered for this context.
        """
        template = self._template
        if template is None:
            return self._source
        environment: Any = template.environment
        try:
            return self._output(template, environment.fuelled(), context)
        except Exception as error:
            message = failure(error, self._source, context)
            line = _line(error, template) or getattr(error, "line", 0)
            raise RefusedError(message, line) from None

    def _output(
        self, template: Template, environment: _Environment, variables: Mapping[str, Any]
    ) -> str:
        run: Any = template.root_render_func
        context = Context(environment, {**environment.globals, **variables}, None, {})
        pieces, room = [], self._most
        output = run(context, environment=environment)
        for piece in output:
            room -= len(piece)
            if room < 0:
                line = template.get_corresponding_lineno(output.gi_frame.f_lineno)
                raise RefusedError(f"gives more than {self._most} characters", line)
            pieces.append(piece)
        return "".join(pieces)


def _compiled(source: str, text: type[Text], fuel: int) -> Template:
    environment = _Environment(text, fuel)
    try:
        tree = environment.parse(source)
        environment.measure(tree)
        template = environment.from_string(tree)
        environment.sizes = {}
    except TemplateSyntaxError as error:
        raise RefusedError(told(str(error.message)), error.lineno) from None
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(uncompiled(error)) from None
    return template


def _line(error: Exception, template: Template) -> int:
    """Return the line of the template that raised the error, innermost, or 0."""
    lines = [
        template.get_corresponding_lineno(line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__jinja_template__") is template
    ]
    return lines[-1] if lines else 0
