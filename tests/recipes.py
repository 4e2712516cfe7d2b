"""The examples of the how-to on the page, as modules of an application, and Django for them."""

from __future__ import annotations

import atexit
import concurrent.futures
import re
import sys
import tempfile
import types
from pathlib import Path
from typing import Any
from unittest import mock

from changehook.emitter import Emitter

HOWTO = Path(__file__).resolve().parents[1] / "docs" / "howto" / "use-the-page.md"
BLOCK = re.compile(r"^```python\n# (myapp/\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def recipe(name: str, emitter: Emitter) -> types.SimpleNamespace:
    """Run an example of the how-to, and return what it defines.

    Args:
        name: of its file, as its first line says.
        emitter: what it finds as ``myapp.hooks.emitter``.
    """
    blocks = dict(BLOCK.findall(HOWTO.read_text(encoding="utf-8")))
    hooks: Any = types.ModuleType("myapp.hooks")
    hooks.emitter = emitter
    modules = {"myapp": types.ModuleType("myapp"), "myapp.hooks": hooks}
    names: dict[str, Any] = {"__name__": name.removesuffix(".py").replace("/", ".")}
    with mock.patch.dict(sys.modules, modules):
        exec(compile(blocks[name], name, "exec"), names)
    return types.SimpleNamespace(**names)


def set_django_up() -> None:
    """Configure Django for this process, with users and sessions in a file; done once."""
    import django
    from django.conf import settings

    if settings.configured:
        return
    folder = tempfile.TemporaryDirectory(prefix="changehook-django-")
    atexit.register(folder.cleanup)
    settings.configure(
        SECRET_KEY="only for tests",
        ALLOWED_HOSTS=["127.0.0.1", "testserver"],
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
        ],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(Path(folder.name, "django.db")),
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        USE_TZ=True,
        LOGGING_CONFIG=None,
    )
    django.setup()
    # On a thread of its own: Django refuses one in which a browser of Playwright runs.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(_migrate).result()


def _migrate() -> None:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    connection.close()
