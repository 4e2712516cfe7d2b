"""inspection_app(): the WSGI application, from request to answer."""

from __future__ import annotations

import datetime
import http
import logging
import urllib.parse
from collections.abc import Callable, Iterable, Mapping

from changehook.emitter import Emitter
from changehook.errors import (
    ChangehookError,
    ConfigurationError,
    DeliveryNotFoundError,
    QueueError,
    StoreError,
    kind_and_place,
)
from changehook.interfaces import InspectableQueue
from changehook.models import utcnow
from changehook.web import bulk, deliveries, delivery, overview, webhooks
from changehook.web.guard import Authorize, guarded, right_of, token_of
from changehook.web.page import Page
from changehook.web.rendering import asset
from changehook.web.wsgi import (
    Answer,
    Environ,
    RefusedRequestError,
    StartResponse,
    WebRequest,
    redirect,
)

__all__ = ["WSGIApp", "inspection_app"]

WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]
View = Callable[[Page], Answer]

VIEWS: Mapping[tuple[str, str], View] = {
    ("GET", "/"): overview.show,
    ("GET", "/deliveries"): deliveries.show,
    ("GET", "/bulk"): bulk.confirm,
    ("POST", "/bulk"): bulk.work,
    ("GET", "/delivery"): delivery.show,
    ("POST", "/delivery"): delivery.act,
    ("GET", "/text"): delivery.text,
    ("GET", "/webhooks"): webhooks.show_all,
    ("GET", "/webhook"): webhooks.show,
    ("POST", "/webhook"): webhooks.switch,
    ("POST", "/try"): webhooks.try_out,
}
STATIC = "/static/"

logger = logging.getLogger(__name__)


def inspection_app(
    emitter: Emitter,
    *,
    authorize: Authorize,
    clock: Callable[[], datetime.datetime] = utcnow,
) -> WSGIApp:
    """Return the operator's page of an emitter, to be mounted in any WSGI server or framework.

    It keeps nothing between requests, so that any number of processes may serve it.

    Args:
        emitter: whose queue and webhooks are shown; its queue can be looked into.
        authorize: called with the WSGI environ of each request; returns ``"view"`` for whoever may
            look, ``"operate"`` for whoever may also retry, discard, send, and switch webhooks on
            and off, and None for everybody else. What it raises lets nobody in.
        clock: returns the present moment, aware.

    Returns:
        a WSGI application (PEP 3333); it works under any path.

    Raises:
        ConfigurationError: ``authorize`` is missing or no function, ``emitter`` is none, or its
            queue cannot be looked into.
    """
    if not isinstance(emitter, Emitter):
        raise ConfigurationError(f"emitter: expected an Emitter, found {type(emitter).__name__}")
    if not isinstance(emitter.queue, InspectableQueue):
        found = type(emitter.queue).__name__
        raise ConfigurationError(
            f"emitter: its queue, a {found}, cannot be looked into; "
            "ThreadPoolQueue, RQQueue and CeleryQueue can, or make yours an InspectableQueue"
        )
    if not callable(authorize):
        raise ConfigurationError(
            'authorize: expected a function of the WSGI environ that returns "view", "operate" or '
            "None; without one everybody could read your deliveries and send them again"
        )

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer = _answer(emitter, authorize, clock, environ)
        return guarded(answer).sent(environ, start_response)

    return application


def _answer(
    emitter: Emitter,
    authorize: Authorize,
    clock: Callable[[], datetime.datetime],
    environ: Environ,
) -> Answer:
    """Return the answer to a request; never raises, as a crash report would show what is here."""
    right = right_of(authorize, environ)
    if right is None:
        return Answer(
            status=http.HTTPStatus.FORBIDDEN,
            content_type="text/plain; charset=utf-8",
            body=b"You may not see this page.\n",
        )
    try:
        request = WebRequest.of(environ)
        if not request.path:
            # The links of the page are relative, and need the slash.
            mount = str(environ.get("SCRIPT_NAME", "")).rpartition("/")[2].encode("latin-1")
            query = environ.get("QUERY_STRING")
            return redirect(f"{urllib.parse.quote(mount)}/" + (f"?{query}" if query else ""))
        if request.path.startswith(STATIC) and request.method == "GET":
            return asset(request.path.removeprefix(STATIC))
        token, cookie = token_of(request)
        page = Page(emitter=emitter, request=request, right=right, token=token, now=clock())
        return _viewed(page).plus(*cookie)
    except RefusedRequestError as error:
        return Answer(
            status=error.status,
            content_type="text/plain; charset=utf-8",
            body=f"{error.text}\n".encode(),
        )
    except Exception as error:
        place = kind_and_place(error)
    # Outside the handler: a crash report on what is logged shows the variables of this frame.
    logger.error("the operator's page failed (%s)", place)
    return Answer(
        status=http.HTTPStatus.INTERNAL_SERVER_ERROR,
        content_type="text/plain; charset=utf-8",
        body=b"This page failed; the log of the application says where.\n",
    )


def _viewed(page: Page) -> Answer:
    """Return what a view answers, and what is wrong as a page that says so."""
    try:
        return _view_of(page.request)(page)
    except RefusedRequestError as error:
        return _problem(page, error.status, error.text).plus(*error.headers)
    except DeliveryNotFoundError:
        text = "No such delivery is kept: it was discarded, or removed because of its age."
        return _problem(page, http.HTTPStatus.NOT_FOUND, text)
    except QueueError as error:
        looked = page.request.method == "GET" or isinstance(error, StoreError)
        status = http.HTTPStatus.SERVICE_UNAVAILABLE if looked else http.HTTPStatus.CONFLICT
        return _problem(page, status, f"{error}.")
    except ChangehookError as error:
        return _problem(page, http.HTTPStatus.BAD_REQUEST, f"{error}.")


def _view_of(request: WebRequest) -> View:
    view = VIEWS.get((request.method, request.path))
    if view is not None:
        return view
    methods = [method for method, path in VIEWS if path == request.path]
    if methods:
        raise RefusedRequestError(
            http.HTTPStatus.METHOD_NOT_ALLOWED,
            f"This page knows {', '.join(methods)}.",
            ("Allow", ", ".join(methods)),
        )
    raise RefusedRequestError(http.HTTPStatus.NOT_FOUND, "There is no such page.")


def _problem(page: Page, status: http.HTTPStatus, text: str) -> Answer:
    return page.render("problem.html", status=status, title=status.phrase, text=text)
