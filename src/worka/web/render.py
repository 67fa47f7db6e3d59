"""Pages as responses: the template environment and the headers of a page."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from worka.authorization.rules import said_to
from worka.kernel import ids, letters, reasons
from worka.kernel.clock import now
from worka.kernel.context import Context
from worka.kernel.errors import Problem
from worka.web import markdown, words

HERE = Path(__file__).parent
STATIC = HERE / "static"
# Only our own files, no inline script or style; a page may be framed by nobody and post only to us.
POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; img-src 'self'"
)
# nosniff, X-Frame-Options and the opener policy are the API door's, on every answer.
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # Not no-referrer: under it a browser sends `Origin: null` with our own forms, and the origin check refuses them.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
THEMES = ("light", "dark")
# What a program asks for is answered to a program, even when a browser asks.
_NOT_PAGES = re.compile(r"^/(v1|static|livez|readyz|metrics|openapi\.json|docs)(/|$)")


@cache
def version() -> str:
    """A digest of all static files: it stands in their addresses, so that a module's relative import of another, and the
    style's font, carry it too."""
    found = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            found.update(f"{path.relative_to(STATIC)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:12]


class Files(StaticFiles):
    """Static files. An address that carries the version never changes: a browser may keep it for ever."""

    def get_path(self, scope: Scope) -> str:
        path = super().get_path(scope)
        first, _, rest = path.partition("/")
        scope["worka.fixed"] = first == f"v-{version()}"
        return rest if first.startswith("v-") else path

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        fixed = scope.get("worka.fixed")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if fixed else "no-cache"
        return response


static_app = Files(directory=STATIC)


def asset(name: str) -> str:
    """The address of a static file, with the version of them all."""
    return f"/static/v-{version()}/{name}"


# All of them are named in the page, so that none waits until another was read.
MODULES = tuple(path.name for path in sorted((STATIC / "js").glob("*.js")))


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _exact(value: Any) -> str:
    """A value as JSON: on one line when it is short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) < 90 else _pretty(value)


def _seen(value: Any) -> Any:
    """What anybody wrote, with marks of direction and the like written out: a name must not turn round the sentence that it
    stands in. Joiners stay, they only shape letters; what was rendered already is left alone."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return letters.visible(value, keep="\r\u200c\u200d")
    return value


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        finalize=_seen,
        # A field that a use case does not answer is an empty place on the page, not a broken page.
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        relative=words.relative,
        absolute=words.absolute,
        clock=words.clock_time,
        moment=words.moment,
        duration=words.duration,
        spoken=words.spoken,
        short=words.short,
        pretty=_pretty,
        markdown=markdown.render,
        lines=words.lines,
        brief=words.brief,
        ticked=words.ticked,
        rule_words=words.rule,
        is_id=lambda value: isinstance(value, str) and ids.check(value),
        is_digest=words.is_digest,
        exact=_exact,
    )
    environment.globals.update(
        asset=asset,
        modules=MODULES,
        status=words.status,
        href=words.href,
        kind_of_id=lambda value: words.KIND_OF_ID.get(ids.prefix_of(str(value)), "id"),
        difference=words.difference,
        kind_of_principal=words.kind_of_principal,
        meaning=lambda code: reasons.get(str(code)),
        now=now,
    )
    return environment


environment = _environment()


def theme_of(request: Request) -> str:
    """The reader's own choice of light or dark; empty to follow the system. Read here, so the first paint is right."""
    chosen = request.cookies.get("worka_theme", "")
    return chosen if chosen in THEMES else ""


def for_reader(ctx: Context, problem: Problem) -> dict[str, Any]:
    """A problem for the page of whoever met it: what was refused to them is said to them."""
    said_to(problem, ctx.principal.id)
    return problem.body(ctx.trace_id)


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Renders a template as a page with the headers every page has."""
    body = environment.get_template(template).render(
        request=request,
        path=request.url.path,
        theme=theme_of(request),
        trace_id=request.scope.get("state", {}).get("trace_id", ""),
        **values,
    )
    return HTMLResponse(body, status, headers=HEADERS)


def redirect(target: str) -> RedirectResponse:
    """After a change: see the page of what was changed."""
    return RedirectResponse(target, 303, headers={"Cache-Control": "no-store", "Referrer-Policy": "same-origin"})


def local(target: str | None) -> str:
    """A path of this console, or `/`: never an address somewhere else (an open redirect)."""
    target = target or "/"
    safe = re.fullmatch(r"/(?![/\\])[A-Za-z0-9_\-./?=&%+:~]*", target) and not target.startswith("/sign-")
    return target if safe else "/"


def wants_page(request: Request) -> bool:
    """Whether this request is a person looking at the console, so that a problem is answered as a page."""
    return not _NOT_PAGES.match(request.url.path) and "text/html" in request.headers.get("accept", "")
