"""Every page and form of the console, also of the routers that it includes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi.routing import APIRoute

from worka.web import router


def routes(of: Any = router) -> Iterator[APIRoute]:
    """All of them."""
    for route in of.routes:
        if isinstance(route, APIRoute):
            yield route
        elif (inner := getattr(route, "original_router", None)) is not None:
            yield from routes(inner)
