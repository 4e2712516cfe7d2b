"""Emitter.emit_change(): select → match → freeze → put."""

from __future__ import annotations

import datetime
import functools
import logging
import random
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import attrs

from changehook.capture import captured
from changehook.deliverer import Deliverer
from changehook.deliveries import Delivery, DeliveryStatus
from changehook.errors import ConfigurationError, QueueError, hides_locals
from changehook.exchange import Preview, redact_url
from changehook.explanations import WebhookExplanation, explain
from changehook.fallback import Fallback, put_on
from changehook.forks import after_fork_in_child
from changehook.inspection import DisabledWebhook
from changehook.interfaces import (
    ContextProvider,
    Listener,
    OnDisabled,
    Queue,
    Resolver,
    Store,
    Terms,
    Transport,
    WebhookSource,
)
from changehook.listeners import tell
from changehook.models import Change, new_delivery_id, utcnow
from changehook.network import NetworkPolicy
from changehook.payload import freeze
from changehook.retries import GONE, RetryPolicy
from changehook.settings import as_source, functions, given, require, seconds, sends, store_of
from changehook.switches import Switches
from changehook.tallies import Tallies
from changehook.transport import HTTPTransport
from changehook.webhooks import Webhook

__all__ = ["Emitter", "WebhookExplanation"]

_Told = Change | Delivery
logger = logging.getLogger(__name__)


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
        fallback: a store, or a queue over one, that keeps the deliveries that ``queue`` would not
            take, until it takes them. Meanwhile those of new changes join them, so that they reach
            the queue in order.
        listeners: called on the worker with each delivery after an attempt.
        on_disabled: called on the worker when a receiver answered 410, which disables its webhook.
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
        fallback: Store | Queue | None = None,
        listeners: Iterable[Listener] = (),
        on_disabled: Iterable[OnDisabled] = (),
        context_providers: Iterable[ContextProvider] = (),
        resolver: Resolver | None = None,
        transport: Transport | None = None,
        clock: Callable[[], datetime.datetime] = utcnow,
        random: Callable[[], float] = random.random,
        new_id: Callable[[datetime.datetime], str] = new_delivery_id,
    ) -> None:
        require("queue", queue, isinstance(queue, Queue), "a Queue such as ThreadPoolQueue()")
        require("fallback", fallback, fallback is not queue, "another Queue than queue")
        require("network", network, isinstance(network, NetworkPolicy | None), "a NetworkPolicy")
        require("retry", retry, isinstance(retry, RetryPolicy | None), "a RetryPolicy")
        require("transport", transport, sends(transport), "an object with send and close")
        for name, value in (("clock", clock), ("random", random), ("new_id", new_id)):
            require(name, value, callable(value), "a function")
        self.webhooks = as_source(webhooks)
        self.queue = queue
        self.fallback = fallback
        kept = store_of(fallback)
        put = functools.partial(put_on, queue)
        self._fallback = None if kept is None else Fallback(kept, put)
        self._put = put if self._fallback is None else self._fallback.put
        self._switches = Switches(queue.store, clock, functions("on_disabled", on_disabled))
        self._tallies = Tallies()
        self._listeners = functions("listeners", listeners)
        self._providers = functions("context_providers", context_providers)
        self._clock = clock
        self._new_id = new_id
        self._select = self.webhooks.select
        self._retry = RetryPolicy() if retry is None else retry
        settings = given(network=network, proxy=proxy, resolver=resolver)
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
            timeout=seconds(timeout),
            clock=clock,
            random=random,
            disabled=self._switches.why,
        )
        queue.attach(self.deliver, self._terms, self._tallies.fetch)
        self._forked()
        after_fork_in_child(self._forked)

    def _forked(self) -> None:
        self._started = False

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
        if not self._started:
            self.start()
        webhooks = self._select(event, model)
        if not webhooks:
            return []
        now = self._clock()
        change = captured(
            event, model, data, prechange, postchange, username, request_id, timestamp or now
        )
        payload = ""
        deliveries = []
        for webhook in webhooks:
            if self._wants(webhook, change):
                payload = payload or freeze(change, self._providers)
                deliveries.append(self._delivery(webhook, change, payload, now))
        if deliveries:
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
        change = captured(event, model, data, prechange, postchange, username, request_id, moment)
        listening = {webhook.name for webhook in self._select(event, model)}
        disabled = self._switches.disabled()
        return [
            explain(hook, change, hook.name in listening, disabled.get(hook.name))
            for hook in self.webhooks.all()
        ]

    @hides_locals
    def preview(self, webhook: Webhook | str, change: _Told) -> Preview:
        """Return the request that a webhook would send for a change, whatever its conditions say.

        Args:
            webhook: the definition, or the name of one.
            change: what happened; or a delivery, for the request of its next attempt.

        Raises:
            ConfigurationError: no webhook has that name, or ``change`` is neither.
            EncodingError: the change has no JSON form.
            AttemptError: a template cannot be rendered, or a secret cannot be had.
        """
        found, now = self._named(webhook), self._clock()
        if not isinstance(change, Delivery):
            change = self._delivery_of(found, change, now)
        return Preview(request=self._deliverer.request(found, change, now))

    def send(self, webhook: Webhook | str, change: _Told) -> Delivery:
        """Queue a delivery of a change to one webhook, whatever its conditions say; return it.

        Args:
            webhook: the definition, or the name of one.
            change: what is said to have happened; or a delivery, for what happened there.

        Raises:
            ConfigurationError: no webhook has that name, or ``change`` is neither.
            EncodingError: the change has no JSON form.
            QueueError: neither the queue nor the fallback would take the delivery.
        """
        delivery = self._delivery_of(self._named(webhook), change, self._clock())
        if not self._started:
            self.start()
        self._put([delivery])
        return delivery

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
        if len(after.attempts) > len(delivery.attempts) and after.attempts[-1].status == GONE:
            self._switches.gone(after.webhook)
        tell(self._listeners, after)
        return after

    def start(self) -> None:
        """Begin to work on what the queue has kept, also from before this process.

        The first change in a process does this; call it where deliveries are made but no changes.
        """
        self._started = True
        for part in (self.queue, self._fallback):
            try:
                if part is not None:
                    part.start()
            except Exception as error:
                problem = str(error) if isinstance(error, QueueError) else type(error).__name__
                logger.error("the queue cannot start: %s", problem)

    def disable(self, webhook: str, reason: str = "by hand") -> bool:
        """Have a webhook get no deliveries, in every process that shares the queue's store, until
        it is enabled. Its deliveries are made as before, and skipped instead of sent.

        Args:
            webhook: its name.
            reason: shown wherever somebody asks why.

        Returns:
            whether it was not disabled before.

        Raises:
            QueueError: it could not be kept.
        """
        return self._switches.disable(webhook, reason)

    def enable(self, webhook: str) -> bool:
        """Have a webhook get deliveries again; what was skipped can be retried.

        Returns:
            whether it was disabled.

        Raises:
            QueueError: it could not be kept.
        """
        return self._switches.enable(webhook)

    def disabled(self) -> dict[str, DisabledWebhook]:
        """Return the webhooks that get no deliveries, by name."""
        return self._switches.disabled()

    def close(self, timeout: float = 10.0) -> int:
        """Close the queue, then the connections. What a fallback keeps, it keeps.

        Args:
            timeout: seconds for the queue to finish what is due.

        Returns:
            how many deliveries are left undone.
        """
        give_up = time.monotonic() + timeout
        try:
            left = 0 if self._fallback is None else self._fallback.close(timeout)
        finally:
            try:
                undone = self.queue.close(max(0.0, give_up - time.monotonic()))
            finally:
                self._transport.close()
        return left + undone

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _named(self, webhook: Webhook | str) -> Webhook:
        found = self.webhooks.get(webhook) if isinstance(webhook, str) else webhook
        if found is None:
            raise ConfigurationError(f'no webhook has the name "{webhook}"')
        return found

    def _delivery_of(self, webhook: Webhook, change: _Told, now: datetime.datetime) -> Delivery:
        if isinstance(change, Delivery):
            return self._delivery(webhook, change, change.payload, now)
        require("change", change, isinstance(change, Change), "a Change")
        dated = attrs.evolve(change, timestamp=change.timestamp or now)
        return self._delivery(webhook, dated, freeze(dated, self._providers), now)

    def _delivery(
        self, webhook: Webhook, change: _Told, payload: str, now: datetime.datetime
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

    def _wants(self, webhook: Webhook, change: Change) -> bool:
        conditions = webhook.compiled_conditions
        verdict = True if conditions is None else conditions.verdict(change)
        if verdict:
            self._tallies.count_matched(webhook)
            return True
        self._tallies.count_missed(webhook, change, verdict)
        return False

    def _terms(self, name: str) -> Terms:
        """Return whose workers a webhook uses and for how long; never raises."""
        try:
            webhook = self.webhooks.get(name)
        except Exception:
            webhook = None
        if webhook is None:
            return Terms(receiver=name, timeout=self._deliverer.timeout)
        literal = webhook.url_template.literal
        return Terms(
            receiver=name if literal is None else redact_url(literal.url).rstrip("/*"),
            timeout=webhook.timeout or self._deliverer.timeout,
        )
