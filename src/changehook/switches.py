"""Which webhooks get no deliveries, because a receiver is gone or by someone's hand."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Sequence

from changehook.errors import printable
from changehook.inspection import DisabledWebhook
from changehook.interfaces import OnDisabled, Store
from changehook.listeners import tell

__all__ = ["Switches"]

logger = logging.getLogger(__name__)


class Switches:
    """Turns webhooks off and on, for every process that shares the store.

    Args:
        store: keeps them; None: they are kept in this process only.
        clock: returns the present moment, aware.
        listeners: called when a webhook is disabled.
    """

    def __init__(
        self,
        store: Store | None,
        clock: Callable[[], datetime.datetime],
        listeners: Sequence[OnDisabled],
    ) -> None:
        self._store = store
        self._clock = clock
        self._listeners = listeners
        self._local: dict[str, DisabledWebhook] = {}

    def disable(self, webhook: str, reason: str) -> bool:
        """Have a webhook get no deliveries; return whether that is new.

        Raises:
            StoreError: it could not be kept.
        """
        disabled = DisabledWebhook(webhook=webhook, reason=reason, at=self._clock())
        if self._store is None:
            fresh = self._local.setdefault(webhook, disabled) is disabled
        else:
            fresh = self._store.disable(disabled)
        if fresh:
            logger.warning("webhook %s is disabled: %s", printable(webhook), printable(reason))
            tell(self._listeners, disabled)
        return fresh

    def enable(self, webhook: str) -> bool:
        """Have a webhook get deliveries again; return whether it did not.

        Raises:
            StoreError: it could not be kept.
        """
        if self._store is None:
            return self._local.pop(webhook, None) is not None
        return self._store.enable(webhook)

    def disabled(self) -> dict[str, DisabledWebhook]:
        """Return the webhooks that get no deliveries, by name.

        Raises:
            StoreError: the store cannot be read.
        """
        return dict(self._local) if self._store is None else self._store.disabled()

    def why(self, webhook: str) -> str | None:
        """Return why a webhook gets no deliveries; None when it does, or nobody can say."""
        try:
            found = self.disabled().get(webhook)
        except Exception as error:
            logger.error("cannot see whether a webhook is disabled (%s)", type(error).__name__)
            return None
        return None if found is None else found.reason

    def gone(self, webhook: str) -> None:
        """Disable a webhook whose receiver answered 410; never raises."""
        try:
            self.disable(webhook, "the receiver answered 410, it is gone for good")
        except Exception as error:
            kind = type(error).__name__
            logger.error(
                "webhook %s: its receiver is gone, but it stays enabled (%s)", webhook, kind
            )
