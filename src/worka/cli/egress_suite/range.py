"""The range: one process in a network namespace of its own with an Internet, and a whole Worka of this build in it.

    python -m worka.cli.egress_suite.range '{"home": …, "command": ["worka"], "environment": {…}}'

It says {"ready": …}, then answers a JSON command a line on stdin until that ends: those of internet.py, and {"do": "api", "who",
"method", "path", "body"}, a call of the Worka inside by one of its people. Its own end takes everything with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worka.cli.client import Client, Failed
from worka.cli.egress_suite import internet
from worka.cli.egress_suite.internet import Internet

PORT = 18080
"""Of the Worka inside; its traffic is ours, and no canary's."""
START_SECONDS = 90.0
_PR_SET_PDEATHSIG = 1


class NotStarted(Exception):
    """The Worka inside did not start; says what its log says last."""


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def worka(home: Path, command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """`worka up` on this home; its address. Raises NotStarted."""
    told = {**environment, "WORKA_HOME": str(home), "WORKA_HTTP__PORT": str(PORT)}
    with (home / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "up"], env=told, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            preexec_fn=_die_with_parent,
        )  # fmt: skip
    try:
        until = time.monotonic() + START_SECONDS
        said = home / "run" / "instance.json"
        while not said.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise NotStarted(" / ".join((home / "up.log").read_text(errors="replace").splitlines()[-6:]))
            time.sleep(0.05)
        yield str(json.loads(said.read_text())["url"])
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def people(url: str, home: Path) -> dict[str, Client]:
    """The operator, an owner and an approver of a new workspace, each with a credential of its own."""
    stranger = Client(url)
    setup = (home / "run" / "setup-token").read_text().strip()
    password = secrets.token_urlsafe(18)
    made = stranger.post(
        "/v1/setup",
        {"token": setup, "email": "operator@range.worka.test", "password": password, "display_name": "Operator"},
    )
    operator = Client(url, made["session_token"])
    tenant = operator.post(
        "/v1/tenants",
        {"slug": "range", "name": "Range", "workspace_name": "Range", "owner_email": "owner@range.worka.test"},
    )
    workspace = tenant["workspace_id"]

    def joined(token: str, name: str) -> Client:
        body = {"token": token, "password": secrets.token_urlsafe(18), "display_name": name}
        return Client(url, stranger.post("/v1/invitations/accept", body)["session_token"], workspace)

    owner = joined(tenant["invitation_token"], "Owner")
    invited = owner.post(owner.ws("/invitations"), {"email": "approver@range.worka.test", "role": "admin"})
    return {"operator": operator, "owner": owner, "approver": joined(invited["invitation_token"], "Approver")}


def answered(net: Internet, who: dict[str, Client], asked: dict[str, Any]) -> Any:
    """The value of one command. Raises what EXPECTED names, and Failed."""
    if asked["do"] != "api":
        return net.command(asked)
    client = who[asked["who"]]
    path = asked["path"].replace("{ws}", client.ws() if client.workspace else "")
    return client.call(asked["method"], path, asked.get("body"), **asked.get("query", {}))


def main() -> None:
    """The process."""
    told = json.loads(sys.argv[1])
    home = Path(told["home"])
    internet.enter(home / "resolv.conf")
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(worka(home, told["command"], told["environment"]))
            who = people(url, home)
        except (NotStarted, Failed, OSError) as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
            return
        net = Internet(home / "internet.pem")
        net.serve()
        net.count_packets()
        print(json.dumps({"ready": url, "ca": net.authority.pem.decode()}), flush=True)
        for line in sys.stdin:
            try:
                said: dict[str, Any] = {"value": answered(net, who, json.loads(line))}
            except Failed as failed:
                said = {"failed": failed.body}
            except internet.EXPECTED as error:
                said = internet.failure(error)
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
