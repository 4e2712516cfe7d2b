"""The operator's page: what a queue keeps, why a delivery did not arrive, and trying again."""

from changehook.web.application import inspection_app
from changehook.web.guard import Authorize, Right

__all__ = ["Authorize", "Right", "inspection_app"]
