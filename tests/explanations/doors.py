"""The three doors to one explanation, each as somebody uses it, and what they have to agree on."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from functools import cache, cached_property
from html.parser import HTMLParser
from typing import Any

import httpx
import typer.main

from tests.support.forks import typed
from worka.cli.commands import app
from worka.identity import service as identity
from worka.identity import store as people
from worka.kernel.context import Context

Row = dict[str, Any]
OWN = {
    "apr": "/v1/approvals/{}/why",
    "att": "/v1/attachments/{}/why",
    "conn": "/v1/connections/{}/why",
    "dlv": "/v1/deliveries/{}/why",
    "inv": "/v1/invocations/{}/why",
    "rel": "/v1/releases/{}/why",
    "sec": "/v1/secrets/{}/why",
    "task": "/v1/tasks/{}/why",
}


@cache
def commands() -> Any:
    """The command line, as a tree."""
    return typer.main.get_command(app)


async def credential(nobody: Context, person_id: str) -> str:
    """A session token of a person, as signing in gives it."""
    async with nobody.transaction() as conn:
        person = await people.person(conn, person_id)
        assert person is not None
        return str((await identity.open_session(nobody, person, "test"))["session_token"])


class Page(HTMLParser):
    """A console page: the explanation it carries, and what a person reads on it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._inside = False
        self.carried = ""
        self._read: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "template" and ("data-explanation", None) in [(name, value or None) for name, value in attrs]:
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "template":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.carried += data
        else:
            self._read.append(data)

    @property
    def read(self) -> str:
        """The words, one space between them."""
        return " ".join("".join(self._read).split())


@dataclass
class Doors:
    """The address of a `serve` process, and the environment in which a command line finds it."""

    url: str
    environment: dict[str, str] = field(repr=False)

    def ready(self) -> bool:
        """Whether the door answers."""
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def api(self, token: str, subject: str, route: str = "/v1/why/{}") -> bytes:
        """The body of the API's answer."""
        answer = httpx.get(
            self.url + route.format(subject), headers={"Authorization": f"Bearer {token}"}, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        return answer.content

    def cli(self, token: str, subject: str, form: str = "json") -> str:
        """What `worka why` prints."""
        done = typed(
            ["--url", self.url, "--token", token, "--output", form, "why", subject],
            {**self.environment, "COLUMNS": "1000"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def console(self, token: str, workspace_id: str, subject: str) -> Page:
        """The page to which the console's address of this subject leads."""
        with httpx.Client(base_url=self.url, cookies={"worka_session": token}, trust_env=False) as http:
            answer = http.get(
                f"/w/{workspace_id}/why/{subject}", headers={"Accept": "text/html"}, follow_redirects=True
            )
        assert answer.status_code == 200, answer.text[:2000]
        return Page(answer.text)

    def agree(self, token: str, workspace_id: str, subject: str) -> Row:
        """The explanation, after all three doors gave it byte for byte. Ages are told in words, so a moment is looked
        for in which the answer holds still: the API gives the same before and after the other two."""
        for _ in range(8):
            first = self.api(token, subject)
            typed = self.cli(token, subject)
            page = self.console(token, workspace_id, subject)
            own = self.api(token, subject, OWN.get(subject.partition("_")[0], "/v1/why/{}"))
            if self.api(token, subject) != first:
                time.sleep(0.1)
                continue
            told: Row = json.loads(first)
            assert own == first, "the thing's own route gives another explanation than the general one"
            assert page.carried == first.decode(), "the console carries another explanation than the API gives"
            # The command line indents the same members in the same order.
            assert typed.rstrip("\n") == json.dumps(told, indent=2, ensure_ascii=False)
            self.shown(page, told)
            return told
        raise AssertionError(f"the explanation of {subject} never held still")

    def shown(self, page: Page, told: Row) -> None:
        """What the page says in words is what it carries."""
        words = [told["headline"], told["reason"]]
        if not told["subject"].startswith("apr_"):
            # The page of an approval shows who may decide on its own card, and has the buttons themselves.
            words += [wait["name"] for wait in told["waiting_on"]]
            words += [wait["because"] for wait in told["waiting_on"]]
            words += [who for wait in told["waiting_on"] for who in wait["who"]]
            words += [text for step in told["next"] for text in (step["label"], step["command"])]
            words += ["No deadline" for wait in told["waiting_on"] if wait["deadline"] is None]
        words += [change["what"] for change in told["changed_just_before"]]
        missing = [text for text in words if " ".join(text.split()) not in page.read]
        assert not missing, f"not on the page: {missing}\n{page.read[:3000]}"

    @cached_property
    def routes(self) -> list[tuple[str, re.Pattern[str]]]:
        """(method, pattern of the path) of every route of the API."""
        paths = httpx.get(f"{self.url}/openapi.json", trust_env=False).json()["paths"]
        return [
            (method.upper(), re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + r"(\?.*)?\Z"))
            for path, methods in paths.items()
            for method in methods
        ]

    def can_be_done(self, command: str) -> bool:
        """Whether a command that an explanation offers exists: a verb of the command line, or a route of the API."""
        words = [word for word in command.split() if not re.fullmatch(r"[A-Z_]+=\S+", word)]
        if words[0] != "worka":
            return any(method == words[0] and path.match(words[1]) for method, path in self.routes)
        found: Any = commands()
        for word in words[1:]:
            if not hasattr(found, "commands"):
                return True
            found = found.commands.get(word)
            if found is None:
                return False
        return not hasattr(found, "commands")
