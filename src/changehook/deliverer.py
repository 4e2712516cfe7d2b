"""Deliverer.attempt(): render → sign → send → judge."""

from __future__ import annotations

import codecs
import datetime
import importlib.metadata
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from changehook.deliveries import Attempt, Decision, Delivery, DeliveryStatus
from changehook.errors import AttemptError, ProtocolError, hides_locals, kind_and_place
from changehook.exchange import (
    KEPT_BODY,
    SAFE_HEADERS,
    Request,
    Response,
    hidden_values,
    redact_headers,
    redact_url,
    scrub,
)
from changehook.interfaces import Transport, WebhookSource
from changehook.payload import build_request
from changehook.retries import RetryPolicy
from changehook.signing import Secret, sign
from changehook.webhooks import Webhook

__all__ = ["Deliverer"]


logger = logging.getLogger(__name__)

_UTF8 = codecs.getincrementaldecoder("utf-8")


def user_agent() -> str:
    """Return the ``User-Agent`` of this release; without metadata, without a version."""
    try:
        return f"changehook/{importlib.metadata.version('changehook')}"
    except importlib.metadata.PackageNotFoundError:
        return "changehook"


@attrs.frozen(kw_only=True)
class _Outcome:
    """What one attempt met: a request if one was built, and a response or an error.

    ``keys`` are the texts of the secrets that signed the request.
    """

    request: Request | None = None
    keys: Sequence[str] = attrs.field(default=(), repr=False)
    response: Response | None = None
    error: AttemptError | None = None

    def succeeded(self) -> bool:
        return self.response is not None and 200 <= self.response.status < 300

    def hidden(self, *, whole: bool = False) -> list[str]:
        """Return what the record may not show."""
        return hidden_values(self.request, *self.keys, whole=whole) if self.request else []

    def said(self, text: str) -> str:
        """Return an error or a note, in words of this library or of a host's transport."""
        return scrub(text, self.hidden(whole=True))


@attrs.frozen(kw_only=True)
class Deliverer:
    """Performs attempts.

    Args:
        source: where the definition is looked up.
        transport: sends requests.
        retry: the policy of webhooks without one of their own.
        timeout: seconds for one attempt, for webhooks without one of their own.
        clock: returns the present moment, aware.
        random: returns a float in [0, 1), for jitter.
        disabled: returns why a webhook gets no deliveries; None for one that gets them.
        timer: a monotonic clock in seconds, for durations.
    """

    source: WebhookSource
    transport: Transport
    retry: RetryPolicy
    timeout: float
    clock: Callable[[], datetime.datetime]
    random: Callable[[], float]
    disabled: Callable[[str], str | None] = lambda _: None
    timer: Callable[[], float] = time.monotonic
    agent: str = attrs.field(factory=user_agent, init=False)

    @hides_locals
    def attempt(self, delivery: Delivery) -> Delivery:
        """Return a claimed delivery after one attempt; what the attempt met is recorded on it."""
        webhook, failure = self._definition(delivery.webhook)
        if failure is not None:
            return self._unknown(delivery, failure)
        if webhook is None:
            return delivery.skipped("the webhook is gone")
        if not webhook.enabled:
            return delivery.skipped("the webhook is disabled")
        disabled = self.disabled(webhook.name)
        if disabled is not None:
            return delivery.skipped(f"the webhook is disabled: {disabled}")
        made = delivery.attempt_number - 1
        if made and (webhook.retry or self.retry).exhausted(made):
            # Its workers died, or the schedule was cut short meanwhile.
            return delivery.given_up(f"gave up after attempt {made}: {delivery.reason}")
        started_at, started = self.clock(), self.timer()
        outcome = self._perform(webhook, delivery, started_at)
        duration = self.timer() - started
        # If the clock jumped ahead meanwhile, the retry would wait until it is so late.
        ended_at = min(self.clock(), started_at + datetime.timedelta(seconds=duration))
        return delivery.after(
            _record(delivery, started_at, duration, outcome),
            self._judge(webhook, delivery, outcome, ended_at),
            body=None if outcome.request is None else _body(delivery, outcome.request),
        )

    def _definition(self, name: str) -> tuple[Webhook | None, str | None]:
        """Return the definition, and the class of what was raised instead."""
        try:
            return self.source.get(name), None
        except Exception as error:
            return None, type(error).__name__

    def _unknown(self, delivery: Delivery, kind: str) -> Delivery:
        """Return a delivery whose definition cannot be looked up just now; it is tried again."""
        logger.error("delivery %s: the source of webhooks fails (%s)", delivery.id, kind)
        now = self.clock()
        outcome = _Outcome(error=ProtocolError(f"the source of webhooks failed ({kind})"))
        decision = self.retry.decide(
            attempt_number=delivery.attempt_number, now=now, random=self.random, error=outcome.error
        )
        return delivery.after(_record(delivery, now, 0.0, outcome), decision)

    def request(self, webhook: Webhook, delivery: Delivery, now: datetime.datetime) -> Request:
        """Return the signed request of an attempt at ``now``.

        Raises:
            AttemptError: a template cannot be rendered, or a secret cannot be had.
        """
        return self._signed(webhook, delivery, now)[0]

    def _signed(
        self, webhook: Webhook, delivery: Delivery, now: datetime.datetime
    ) -> tuple[Request, list[Secret]]:
        """Return the signed request, and the secrets as they were at that moment."""
        timestamp = int(now.timestamp())
        request = build_request(
            webhook,
            delivery.payload,
            body=delivery.body,
            timeout=self.timeout,
            owned={
                "User-Agent": self.agent,
                "Accept-Encoding": "identity",
                "webhook-id": delivery.id,
                "webhook-timestamp": str(timestamp),
            },
        )
        if not webhook.secret:
            return request, []
        secrets = [Secret(secret.reveal()) for secret in webhook.secret]
        signatures = sign(
            request.body,
            delivery_id=delivery.id,
            timestamp=timestamp,
            secrets=secrets,
            schemes=webhook.signatures,
        )
        return attrs.evolve(request, headers={**request.headers, **signatures}), secrets

    def _perform(self, webhook: Webhook, delivery: Delivery, now: datetime.datetime) -> _Outcome:
        request: Request | None = None
        secrets: list[Secret] = []
        try:
            request, secrets = self._signed(webhook, delivery, now)
            response = self.transport.send(request)
            return _Outcome(request=request, response=response, keys=self._keys(secrets))
        except AttemptError as error:
            return _Outcome(request=request, error=error, keys=self._keys(secrets))
        except Exception as error:
            kind, place = type(error).__name__, kind_and_place(error)
        # Outside the handler: a crash report on what is logged shows the variables of this frame.
        logger.error("delivery %s: the attempt met an unexpected %s", delivery.id, place)
        return _Outcome(request=request, error=ProtocolError(f"unexpected {kind}"))

    def _keys(self, secrets: Iterable[Secret]) -> list[str]:
        """Return the texts that no record may show, beside what stands in the request."""
        keys = [secret.reveal() for secret in secrets]
        keys += [key.removeprefix("whsec_") for key in keys]
        return [*keys, *getattr(self.transport, "secrets", ())]

    def _judge(
        self, webhook: Webhook, delivery: Delivery, outcome: _Outcome, now: datetime.datetime
    ) -> Decision:
        if outcome.succeeded():
            return Decision(status=DeliveryStatus.DELIVERED)
        response = outcome.response
        decision = (webhook.retry or self.retry).decide(
            attempt_number=delivery.attempt_number,
            now=now,
            random=self.random,
            status=None if response is None else response.status,
            error=outcome.error,
            retry_after=None if response is None else response.headers.get("retry-after"),
            scheduled_at=delivery.scheduled_at,
        )
        return attrs.evolve(decision, reason=outcome.said(decision.reason))


def _record(
    delivery: Delivery, started_at: datetime.datetime, duration: float, outcome: _Outcome
) -> Attempt:
    error_class, error = _error(outcome)
    return Attempt(
        number=len(delivery.attempts) + 1,
        started_at=started_at,
        duration=duration,
        error_class=error_class,
        error=error,
        **_sent(outcome.request),
        **_received(outcome),
    )


def _sent(request: Request | None) -> dict[str, Any]:
    if request is None:
        return {}
    url, headers = redact_url(request.url), redact_headers(request.headers)
    return {"method": request.method, "url": url, "headers": headers}


def _received(outcome: _Outcome) -> dict[str, Any]:
    response = outcome.response
    if response is None:
        return {"address": None if outcome.error is None else outcome.error.address}
    hidden = outcome.hidden()
    headers = redact_headers(response.headers)
    # Without what is cut off inside a character: it may be the end of what is hidden.
    body, note = _UTF8("replace").decode(response.body[:KEPT_BODY]), response.note
    return {
        "status": response.status,
        "response_headers": {
            name if name in SAFE_HEADERS else scrub(name, hidden): scrub(headers[name], hidden)
            for name in headers
        },
        "response_body": scrub(body, hidden, cut=True),
        "note": None if note is None else outcome.said(note),
        "address": response.address,
    }


def _body(delivery: Delivery, request: Request) -> str:
    """Return the body to keep; the default body is the payload itself, which is kept once."""
    text = request.body.decode()
    return delivery.payload if text == delivery.payload else text


def _error(outcome: _Outcome) -> tuple[str | None, str | None]:
    if outcome.error is not None:
        return outcome.error.error_class, outcome.said(str(outcome.error))
    if outcome.response is None or outcome.succeeded():
        return None, None
    return "status", f"the receiver answered {outcome.response.status}"
