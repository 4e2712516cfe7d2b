"""Emitter.emit_change(): select → match → freeze → put."""

from __future__ import annotations

import asyncio
import datetime
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import attrs

from changehook.capture import current_context
from changehook.conditions import Conditions
from changehook.definitions import LONGEST_TIMEOUT
from changehook.deliverer import Deliverer
from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, QueueError, hides_locals, kind_and_place
from changehook.exchange import Preview
from changehook.explanations import WebhookExplanation, explain
from changehook.interfaces import (
    ContextProvider,
    Listener,
    Queue,
    Resolver,
    Transport,
    WebhookSource,
)
from changehook.models import Change, new_delivery_id, utcnow
from changehook.network import NetworkPolicy
from changehook.payload import freeze
from changehook.retries import RetryPolicy
from changehook.sources import WebhookRegistry
from changehook.transport import HTTPTransport
from changehook.webhooks import Webhook

__all__ = ["Emitter", "WebhookExplanation"]

logger = logging.getLogger(__name__)

_F = TypeVar("_F", bound=Callable[..., object])


class Emitter:
    """Turns changes into deliveries, and performs their attempts when the queue asks.

    Args:
        webhooks: definitions, or a source of them such as ``WebhookRegistry`` or ``FileSource``.
        queue: carries the deliveries; it belongs to this emitter from now on.
        network: which addresses may be called; only public ones by default.
        retry: when a failed attempt is made again, for webhooks without a policy of their own.
        timeout: seconds for one attempt, DNS to the last byte, for webhooks without their own;
            at most 300.
        proxy: the URL of an HTTP proxy for every request; it must then hold the network policy.
        fallback: takes the deliveries that ``queue`` would not take.
        listeners: called on the worker with each delivery after an attempt.
        context_providers: called for each change that some webhook wants; keys under ``context``.
        resolver: returns the addresses of a host name; the system's by default.
        transport: sends requests; without it one is made of ``network``, ``proxy``, ``resolver``.
        clock: returns the present moment, aware.
        random: returns a float in [0, 1), for jitter.
        new_id: returns a fresh delivery id for a moment.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    @hides_locals
    def __init__(
        self,
        *,
        webhooks: Iterable[Webhook] | WebhookSource = (),
        queue: Queue,
        network: NetworkPolicy | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | datetime.timedelta = 15.0,
        proxy: str | None = None,
        fallback: Queue | None = None,
        listeners: Iterable[Listener] = (),
        context_providers: Iterable[ContextProvider] = (),
        resolver: Resolver | None = None,
        transport: Transport | None = None,
        clock: Callable[[], datetime.datetime] = utcnow,
        random: Callable[[], float] = random.random,
        new_id: Callable[[datetime.datetime], str] = new_delivery_id,
    ) -> None:
        _require("queue", queue, isinstance(queue, Queue), "a Queue such as ThreadPoolQueue()")
        _require("fallback", fallback, isinstance(fallback, Queue | None), "a Queue")
        _require("fallback", fallback, fallback is not queue, "another Queue than queue")
        _require("network", network, isinstance(network, NetworkPolicy | None), "a NetworkPolicy")
        _require("retry", retry, isinstance(retry, RetryPolicy | None), "a RetryPolicy")
        _require("transport", transport, _sends(transport), "an object with send and close")
        for name, value in (("clock", clock), ("random", random), ("new_id", new_id)):
            _require(name, value, callable(value), "a function")
        self.webhooks = _as_source(webhooks)
        self.queue = queue
        self.fallback = fallback
        self._listeners = _functions("listeners", listeners)
        self._providers = _functions("context_providers", context_providers)
        self._clock = clock
        self._new_id = new_id
        self._select = self.webhooks.select
        self._retry = RetryPolicy() if retry is None else retry
        settings = _given(network=network, proxy=proxy, resolver=resolver)
        if transport is None:
            transport = HTTPTransport(**settings)
        elif settings:
            names = ", ".join(settings)
            raise ConfigurationError(f"transport: has settings of its own; give it {names} itself")
        self._transport = transport
        self._deliverer = Deliverer(
            source=self.webhooks,
            transport=self._transport,
            retry=self._retry,
            timeout=_seconds(timeout),
            clock=clock,
            random=random,
        )
        for carrier in (queue, fallback):
            if carrier is not None:
                carrier.attach(self.deliver)

    def emit_change(
        self,
        event: str,
        model: str,
        data: Any,
        *,
        prechange: Any = None,
        postchange: Any = None,
        username: str | None = None,
        request_id: str | None = None,
        timestamp: datetime.datetime | None = None,
    ) -> list[Delivery]:
        """Queue one delivery for each webhook that wants this change.

        Args:
            event: the name of what happened: ``created``, ``updated``, ``deleted``, a dotted name.
            model: the type of the object.
            data: the object in its present state: a mapping, an attrs or dataclass instance; or a
                callable that returns one, called only if some webhook listens.
            prechange, postchange: the object before and after, in the same forms.
            username, request_id: None for those of ``request_context``.
            timestamp: when it happened, aware; None for now.

        Returns:
            the deliveries that were queued.

        Raises:
            ConfigurationError: an argument is of the wrong type.
            EncodingError: the change has no JSON form; the error names the part.
            QueueError: neither the queue nor the fallback would take the deliveries.
        """
        webhooks = self._select(event, model)
        if not webhooks:
            return []
        now = self._clock()
        change = _change(
            event, model, data, prechange, postchange, username, request_id, timestamp or now
        )
        wanted = [hook for hook in webhooks if _matches(hook, change)]
        if not wanted:
            return []
        payload = freeze(change, self._providers)
        deliveries = [self._delivery(webhook, change, payload, now) for webhook in wanted]
        self._put(deliveries)
        return deliveries

    def explain(
        self,
        event: str,
        model: str,
        data: Any,
        *,
        prechange: Any = None,
        postchange: Any = None,
        username: str | None = None,
        request_id: str | None = None,
        timestamp: datetime.datetime | None = None,
    ) -> list[WebhookExplanation]:
        """Say for each webhook whether it would fire for this change, and why or why not.

        Takes the arguments of ``emit_change`` and queues nothing.

        Raises:
            ConfigurationError: an argument is of the wrong type.
        """
        moment = timestamp or self._clock()
        change = _change(event, model, data, prechange, postchange, username, request_id, moment)
        listening = {webhook.name for webhook in self._select(event, model)}
        return [explain(hook, change, hook.name in listening) for hook in self.webhooks.all()]

    @hides_locals
    def preview(self, webhook: Webhook | str, change: Change) -> Preview:
        """Return the request that a webhook would send for a change, whatever its conditions say.

        Args:
            webhook: the definition, or the name of one.
            change: what happened.

        Raises:
            ConfigurationError: no webhook has that name, or ``change`` is no ``Change``.
            EncodingError: the change has no JSON form.
            AttemptError: a template cannot be rendered, or a secret cannot be had.
        """
        _require("change", change, isinstance(change, Change), "a Change")
        found = self.webhooks.get(webhook) if isinstance(webhook, str) else webhook
        if found is None:
            raise ConfigurationError(f'no webhook has the name "{webhook}"')
        now = self._clock()
        dated = attrs.evolve(change, timestamp=change.timestamp or now)
        delivery = self._delivery(found, dated, freeze(dated, self._providers), now)
        return Preview(request=self._deliverer.request(found, delivery, now))

    def deliver(self, delivery: Delivery) -> Delivery:
        """Perform one attempt: the worker side of every queue.

        Args:
            delivery: pending, as a broker hands it over, or already claimed.

        Returns:
            the delivery after the attempt; one that is ``pending`` again is due at ``due_at``.

        Raises:
            DeliveryStateError: the delivery is finished: a broker handed it over once more.
        """
        if delivery.status is not DeliveryStatus.DELIVERING:
            delivery = delivery.claimed()
        after = self._deliverer.attempt(delivery)
        for listener in self._listeners:
            _tell(listener, after)
        return after

    def close(self, timeout: float = 10.0) -> int:
        """Close the queues, then the connections.

        Args:
            timeout: seconds for the queue to finish what is due.

        Returns:
            how many deliveries are left undone.
        """
        left = self.queue.close(timeout)
        if self.fallback is not None:
            left += self.fallback.close(timeout)
        self._transport.close()
        return left

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _delivery(
        self, webhook: Webhook, change: Change, payload: str, now: datetime.datetime
    ) -> Delivery:
        return Delivery(
            id=self._new_id(now),
            webhook=webhook.name,
            event=change.event,
            model=change.model,
            payload=payload,
            created_at=now,
            due_at=(webhook.retry or self._retry).first_due(now),
        )

    def _put(self, deliveries: Sequence[Delivery]) -> None:
        try:
            _put(self.queue, deliveries)
        except QueueError as error:
            if self.fallback is None:
                raise
            logger.warning("the queue took no deliveries (%s), the fallback does", error)
            _put(self.fallback, deliveries)


def _put(queue: Queue, deliveries: Sequence[Delivery]) -> None:
    try:
        queue.put(deliveries)
    except QueueError:
        raise
    except Exception as error:
        raise QueueError(f"the queue failed ({type(error).__name__})") from error


def _require(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        found = value.__name__ if isinstance(value, type) else type(value).__name__
        raise ConfigurationError(f"{name}: expected {expected}, found {found}")


def _sends(transport: object) -> bool:
    return transport is None or all(hasattr(transport, name) for name in ("send", "close"))


def _functions(name: str, values: Iterable[_F]) -> tuple[_F, ...]:
    _require(name, values, isinstance(values, Iterable), "a list of functions")
    functions = tuple(values)
    for function in functions:
        _require(name, function, callable(function), "functions")
    return functions


def _as_source(webhooks: Iterable[Webhook] | WebhookSource) -> WebhookSource:
    if hasattr(webhooks, "select"):
        return cast("WebhookSource", webhooks)
    listed = isinstance(webhooks, Iterable) and not isinstance(webhooks, str | bytes)
    _require("webhooks", webhooks, listed, 'a list of Webhook, or a source such as FileSource("…")')
    return WebhookRegistry(webhooks)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _seconds(timeout: float | datetime.timedelta) -> float:
    seconds = timeout.total_seconds() if isinstance(timeout, datetime.timedelta) else timeout
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        found = type(seconds).__name__
        raise ConfigurationError(f"timeout: expected seconds or a timedelta, found {found}")
    if not 0 < seconds <= LONGEST_TIMEOUT:
        limit = f"more than 0 and at most {LONGEST_TIMEOUT:.0f}"
        raise ConfigurationError(f"timeout is {seconds:g}; write seconds, {limit}")
    return seconds


def _change(
    event: str,
    model: str,
    data: Any,
    prechange: Any,
    postchange: Any,
    username: str | None,
    request_id: str | None,
    timestamp: datetime.datetime,
) -> Change:
    if data.__class__ is not dict and callable(data):
        data = data()
    if username is None or request_id is None:
        context = current_context()
        username = context.username if username is None else username
        request_id = context.request_id if request_id is None else request_id
    return Change(
        event=event,
        model=model,
        data=data,
        prechange=prechange,
        postchange=postchange,
        username=username,
        request_id=request_id,
        timestamp=timestamp,
    )


def _matches(webhook: Webhook, change: Change) -> bool:
    conditions: Conditions | None = webhook.compiled_conditions
    return conditions is None or conditions.matches(change)


def _tell(listener: Listener, delivery: Delivery) -> None:
    try:
        listener(delivery)
        return
    except (Exception, asyncio.CancelledError, SystemExit) as error:
        kind = kind_and_place(error)
    # Outside the handler: a crash report on what is logged shows the variables of this frame.
    name = getattr(listener, "__qualname__", type(listener).__name__)
    logger.error("listener %s failed (%s)", name, kind)
