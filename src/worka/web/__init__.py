"""The operator console: server-rendered pages over the same use cases as the API, with one small script of our own.

It owns the look, the sign-in cookie and nothing else: what a page shows comes from `web/data.py`, which calls the same
functions as the API's routes with the reader's Context. It never decides who may do what, and never reads the database.

Mount: `app.include_router(router)` and `app.mount("/static", static_app)`. `wants_page(request)` and
`problem_page(request, problem)` let the door answer a browser with a page where it answers a program with problem+json.
"""

from __future__ import annotations

from worka.web.pages import router
from worka.web.problems import problem_page
from worka.web.render import static_app, wants_page

__all__ = ["problem_page", "router", "static_app", "wants_page"]
