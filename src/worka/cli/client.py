"""HTTP client of the API, with the CLI's exit codes for problems."""

from __future__ import annotations

import json
import os
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

EXIT = {400: 2, 401: 4, 403: 5, 404: 3, 409: 7, 412: 7, 422: 2}
WAITING = 6


class Failed(Exception):
    """A call failed: `body` is the problem, `exit_code` what the CLI ends with."""

    def __init__(self, body: dict[str, Any], exit_code: int) -> None:
        super().__init__(str(body.get("detail", "")))
        self.body = body
        self.exit_code = exit_code


def no_server(url: str) -> dict[str, str]:
    """The problem of an address where nothing answers."""
    return {
        "code": "no_server",
        "title": "Worka does not answer",
        "detail": f"{url} takes no connection or gives no answer",
        "remedy": "Start it with `worka up`, or name it with --url or WORKA_URL.",
    }


def not_worka(url: str) -> dict[str, Any]:
    """The problem of an address where something else answers."""
    return {
        "code": "not_worka",
        "title": "What answers there is not Worka",
        "detail": f"{url} answers, but not as Worka does.",
        "remedy": "Name the instance with --url or WORKA_URL; `worka up` prints its address.",
    }


def config_path(name: str = "") -> Path:
    """Where `worka login` keeps the address, the workspace and the token (0600); one file for each named login."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "worka"
    return folder / (f"login-{name}.json" if name else "login.json")


def saved_login(name: str = "") -> dict[str, Any]:
    """The saved login, empty without one. Raises Failed for a name that was never saved."""
    try:
        value = json.loads(config_path(name).read_text())
    except (OSError, ValueError) as error:
        if name:
            known = sorted(path.stem.removeprefix("login-") for path in config_path().parent.glob("login-*.json"))
            raise Failed(
                {
                    "code": "no_such_login",
                    "title": "No login of this name is saved",
                    "detail": f"{name}; saved: {', '.join(known) or 'none'}",
                    "remedy": f"Save it with `worka --login {name} login`.",
                },
                4,
            ) from error
        return {}
    return value if isinstance(value, dict) else {}


def save_login(url: str, token: str, workspace: str | None, name: str = "") -> Path:
    """Keeps a credential for this user alone."""
    path = config_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump({"url": url, "token": token, "workspace": workspace}, file)
    beside.replace(path)
    return path


class Client:
    """One principal at one instance."""

    def __init__(self, url: str, token: str | None = None, workspace: str | None = None, timeout: float = 180) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self.workspace = workspace
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # Reading every authority of this machine takes 20 to 40 ms; an address without TLS needs none, and gets none.
        plain = self.url.startswith("http://")
        verify: ssl.SSLContext | bool = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True
        try:
            self.http = httpx.Client(
                base_url=self.url, headers=headers, timeout=timeout, trust_env=False, verify=verify
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise Failed(
                {
                    "code": "bad_url",
                    "title": "This is no address of a Worka",
                    "detail": f"{url[:200]!r}: {error}",
                    "remedy": "Name it with --url or WORKA_URL, such as http://127.0.0.1:8080.",
                },
                2,
            ) from error

    def call(self, method: str, path: str, body: Any = None, *, key: str | None = None, **query: Any) -> Any:
        """Calls a route and returns its JSON. Raises Failed with the problem."""
        answer = self.send(method, path, body, key=key, **query)
        try:
            return answer.json() if answer.content else {}
        except ValueError as error:
            raise Failed(not_worka(self.url), 1) from error

    def send(self, method: str, path: str, body: Any = None, *, key: str | None = None, **query: Any) -> httpx.Response:
        """Like `call`, giving the whole answer (status 202 tells a wait from a result)."""
        if any(part in ("", ".", "..") for part in path.split("/")[1:]) or "?" in path or "#" in path:
            # An id pasted from elsewhere must not choose another route.
            raise Failed({"code": "bad_id", "title": "This is no id", "detail": path, "remedy": "Check the id."}, 2)
        headers = {}
        if method not in ("GET", "HEAD"):
            # Every unsafe call carries a key, so that a repeat after a lost answer is the same request.
            headers["Idempotency-Key"] = key or uuid.uuid4().hex
        params = {name: value for name, value in query.items() if value is not None}
        try:
            answer = self.http.request(method, path, json=body, params=params, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failed(no_server(self.url), 1) from error
        if answer.status_code >= 400:
            try:
                problem = answer.json()
            except ValueError:
                problem = None
            if not isinstance(problem, dict):
                problem = {**not_worka(self.url), "status": answer.status_code}
            raise Failed(problem, EXIT.get(answer.status_code, 1))
        return answer

    def get(self, path: str, **query: Any) -> Any:
        """GET."""
        return self.call("GET", path, **query)

    def post(self, path: str, body: Any = None, *, key: str | None = None, **query: Any) -> Any:
        """POST."""
        return self.call("POST", path, body if body is not None else {}, key=key, **query)

    def change(self, method: str, path: str, body: Any = None, *, dry_run: bool) -> Any:
        """Calls a route that changes something; with `dry_run` the server does it and undoes it, and this is its answer."""
        return self.call(method, path, body, dry_run="true" if dry_run else None)

    def pages(self, path: str, most: int = 200, **query: Any) -> list[dict[str, Any]]:
        """Every item of a list, following the cursors up to `most` items."""
        items: list[dict[str, Any]] = []
        cursor = None
        while len(items) < most:
            page = self.get(path, cursor=cursor, limit=min(200, most), **query)
            items += page["items"]
            cursor = page.get("next")
            if not cursor:
                break
        return items[:most]

    def ws(self, rest: str = "") -> str:
        """The path of the chosen workspace. Raises Failed when none is chosen."""
        if not self.workspace:
            mine = self.get("/v1/workspaces")["items"]
            if len(mine) != 1:
                names = ", ".join(f"{item['id']} ({item['name']})" for item in mine[:5]) or "none"
                first = "An owner can invite you (`worka invitation accept` then); the operator makes a tenant with its first"
                raise Failed(
                    {
                        "code": "workspace_required",
                        "title": "Name the workspace",
                        "detail": f"You are a member of {len(mine)}: {names}.",
                        "remedy": "Pass --workspace, or set WORKA_WORKSPACE."
                        if mine
                        else f"{first} workspace: `worka tenant create NAME --owner E-MAIL`.",
                    },
                    2,
                )
            self.workspace = str(mine[0]["id"])
        return f"/v1/workspaces/{self.workspace}{rest}"

    def events(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Server-sent events of a stream, as they come. Raises Failed with the problem where it is refused."""
        try:
            with self.http.stream("GET", path, params=query, timeout=None) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise Failed(answer.json(), EXIT.get(answer.status_code, 1))
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        yield json.loads(line[5:])
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failed(no_server(self.url), 1) from error
