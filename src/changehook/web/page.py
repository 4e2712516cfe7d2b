"""What a view has at hand: the emitter, the request, and what its sender may do."""

from __future__ import annotations

import datetime
import http
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import attrs

from changehook.emitter import Emitter
from changehook.errors import kind_and_place, printable
from changehook.interfaces import InspectableQueue
from changehook.web.guard import FIELD, Right, check_form
from changehook.web.rendering import render
from changehook.web.searches import link
from changehook.web.wsgi import Answer, RefusedRequestError, WebRequest
from changehook.webhooks import Webhook

__all__ = ["SOURCE_FAILS", "Page", "SourceFailedError"]

SOURCE_FAILS = "The source of webhooks fails; the log of the application says where."

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class SourceFailedError(RefusedRequestError):
    """What the host keeps its webhooks in does not answer."""


@attrs.frozen(kw_only=True)
class Page:
    """One request for a page, whose sender is known.

    Args:
        emitter: whose queue and webhooks are shown.
        request: what was asked.
        right: what its sender may do.
        token: what the forms of the page carry.
        now: aware.
    """

    emitter: Emitter
    request: WebRequest
    right: Right
    token: str = attrs.field(repr=False)
    now: datetime.datetime

    @property
    def queue(self) -> InspectableQueue:
        """The queue of the emitter."""
        return cast("InspectableQueue", self.emitter.queue)

    def webhooks(self) -> Sequence[Webhook] | None:
        """Return every webhook; None when the source of the host fails."""
        return self._looked_up(self.emitter.webhooks.all)

    def webhook(self, name: str) -> Webhook | None:
        """Return the webhook of a name; None when there is none.

        Raises:
            SourceFailedError: nobody can say, and so not what is to be hidden.
        """
        found = self._looked_up(lambda: [self.emitter.webhooks.get(name)])
        if found is None:
            raise SourceFailedError(http.HTTPStatus.SERVICE_UNAVAILABLE, SOURCE_FAILS)
        return found[0]

    def _looked_up(self, look: Callable[[], _T]) -> _T | None:
        try:
            return look()
        except Exception as error:
            place = kind_and_place(error)
        # Outside the handler: a crash report on what is logged shows the variables of this frame.
        logger.error("the source of webhooks fails (%s)", place)
        return None

    @property
    def operates(self) -> bool:
        """Whether the sender may change something."""
        return self.right == "operate"

    def form(self) -> dict[str, str]:
        """Return the form that was sent from a page of this mount.

        Raises:
            RefusedRequestError: it was not, or there is none.
        """
        form = self.request.form()
        check_form(self.request, form)
        return form

    def require_operate(self) -> None:
        """Raise RefusedRequestError unless the sender may change something."""
        if not self.operates:
            raise RefusedRequestError(
                http.HTTPStatus.FORBIDDEN,
                "You may look, and not change anything here. Nothing was changed.",
            )

    def note(self, what: str) -> None:
        """Log what was done, and by whom, as the server tells it."""
        who = str(self.request.environ.get("REMOTE_USER") or "an operator")
        logger.info("%s by %s", printable(what), printable(who))

    def render(
        self, template: str, *, status: http.HTTPStatus = http.HTTPStatus.OK, **values: Any
    ) -> Answer:
        """Return a page made from a template."""
        common = {
            "page": self,
            "path": self.request.path,
            "here": link(
                self.request.path.lstrip("/") or "./", **{**self.request.query, "done": ""}
            ),
            "operates": self.operates,
            "now": self.now,
            "csrf_field": FIELD,
            "csrf_token": self.token,
        }
        return render(template, {**common, **values}, status)
