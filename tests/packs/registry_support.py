"""What tests of the registry share: a released pack, policy, publications that a worker carries out, the deployment's trust root,
and registries outside: Debian's, and one that lies."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.packs.conftest import Packs
from tests.packs.test_registration import lock, small, tree
from tests.packs.test_registry_rules import Key, root
from worka.broker.ca import Authority
from worka.packs.registry import oci, store
from worka.packs.registry.service import destinations, policies, publishing, vouching

Row = dict[str, Any]
HOST = "registry.worka.test"
PLACE = f"{HOST}:443/team/packs"


async def released(place: Packs, **changes: Any) -> Row:
    """The small pack, released by the real sandbox."""
    row = await place.register(small(**changes), lock(), tree())
    assert row["state"] == "released", row["error"]
    return row


async def policy(place: Packs, **settings: Any) -> Row:
    """Sets the tenant's layer of the registry's policy, as its owner."""
    return await policies.set_policy(
        place.ctx(), place.world.workspace_id, scope="tenant", settings=settings, note="test"
    )


async def ask(place: Packs, release: Row, destination: str = "local", who: str = "owner", **more: Any) -> Row:
    """Asks for a publication."""
    asked = {"visibility": None, "shared_with": [], **more}
    return await publishing.publish(
        place.ctx(who), place.world.workspace_id, release_id=release["id"], destination=destination, **asked
    )


async def published(place: Packs, release: Row, destination: str = "local", **more: Any) -> Row:
    """Asks for a publication, has it approved, and does the worker's part; as it is then."""
    row = await ask(place, release, destination, **more)
    assert row["state"] == "awaiting_approval"
    await place.approve(row["approval_id"])
    return await carried(place, row)


async def carried(place: Packs, row: Row) -> Row:
    """The worker's part of a publication."""
    await publishing.run_publication(place.platform(), row["id"])
    return await publishing.get(place.ctx(), row["id"])


# the operator's root: one chain for all tests of a database ---------------------------------------------------------
_OPERATOR: dict[str, Key] = {}


def operator_key() -> Key:
    """The one key that signs every trust root of these tests: the next root needs it, whichever test set the last one."""
    from tests.packs import test_registry_rules as made

    return _OPERATOR.setdefault("key", made.key())


async def trust(place: Packs, operator: Any, **publishers: tuple[list[Key], int]) -> Row:
    """Sets the next trust root, with these keys for these publishers; `operator` is a Context of one."""
    from tests.packs import test_registry_rules as made
    from worka.kernel.clock import now

    signer = operator_key()
    async with place.world.db.transaction(None) as conn:
        held = await store.trust_root(conn)
    version = held["version"] + 1 if held else 1
    document = root(
        signer, keys=[signer], version=version, publishers=publishers,
        days=(now() - made.NOW).days + 30,
    )  # fmt: skip
    return await vouching.set_root(operator, document)


async def public_key(place: Packs, publisher: str = "acme") -> Key:
    """The publisher's key in the treasury, as the operator gets to know it: without the private half."""
    made = await vouching.make_key(place.ctx(), place.world.workspace_id, publisher)
    return ("", made["public_key"], made["key_id"])


# registries outside -------------------------------------------------------------------------------------------------
@dataclass
class Outside:
    """A registry on 127.0.0.1, as an exception lets the broker reach it under HOST."""

    port: int
    facts: Row
    stop: Callable[[], None] = lambda: None
    start: Callable[[], None] = lambda: None


async def named(place: Packs, outside: Outside, **more: Any) -> Row:
    """The registry as a destination of the workspace that policy allows, reachable under a name."""
    await place.exception(HOST, outside.port, outside.facts)
    given = {"username": "", "password": "", **more}
    return await destinations.create(
        place.ctx(), place.world.workspace_id, name="outside", host=HOST, port=443, repository="team/packs", **given
    )


def certified(folder: Path) -> tuple[Row, Path, Path]:
    """(facts for an exception, certificate, key) of HOST by a CA of its own."""
    ca, key, cert, request = (folder / name for name in ("ca.pem", "key.pem", "cert.pem", "request.pem"))
    ca_key, extensions = folder / "ca-key.pem", folder / "extensions"
    extensions.write_text(f"subjectAltName=DNS:{HOST}\n")
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for words in (
        ["req", "-x509", *ec, "-keyout", ca_key, "-out", ca, "-days", "2", "-subj", "/CN=Registry CA"],
        ["req", *ec, "-keyout", key, "-out", request, "-subj", f"/CN={HOST}"],
        ["x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-out", cert, "-days", "2",
         "-extfile", extensions],
    ):  # fmt: skip
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
    return {"address": "127.0.0.1", "ca_pem": str(ca)}, cert, key


@contextlib.contextmanager
def debian_registry(folder: Path, htpasswd: str = "", further: str = "", storage: str = "") -> Iterator[Outside]:
    """Debian's docker-registry over TLS, unmodified, with its data in this folder. `further`: lines of its configuration;
    `storage`: of its middleware of the storage."""
    facts, cert, key = certified(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "data").mkdir()
    auth = ""
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd)
        auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n{auth}"
        f"{further}{f'middleware: {{storage: [{storage}]}}' if storage else ''}\n"
        f"http: {{addr: 127.0.0.1:{port}, tls: {{certificate: {cert}, key: {key}}}}}\n"
    )
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        with (folder / "log").open("ab") as log:
            running.append(
                subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
            )
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                assert time.monotonic() < end, (folder / "log").read_text()[-2000:]
                assert running[-1].poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.05)

    def stop() -> None:
        running[-1].terminate()
        running[-1].wait(10)

    start()
    try:
        yield Outside(port, facts, stop, start)
    finally:
        stop()


@dataclass
class Liar:
    """A registry that holds an artifact and answers as it is told: `lies` changes what a path is answered with."""

    outside: Outside
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    lie: Callable[[BaseHTTPRequestHandler, str], bool] = lambda _handler, _path: False

    def holds(self, artifact: oci.Artifact) -> None:
        """It has this artifact."""
        self.blobs |= {artifact.digest: artifact.manifest, **artifact.blobs}


@contextlib.contextmanager
def liar(folder: Path) -> Iterator[Liar]:
    """One on a real socket, over TLS."""
    found = Liar(Outside(0, {}))

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        found.asked.append(
            (handler.command, handler.path, {name.title(): value for name, value in handler.headers.items()})
        )
        if found.lie(handler, handler.path):
            return
        digest = re.search(r"sha256:[0-9a-f]{64}", handler.path)
        name = digest.group(0) if digest else handler.path.rpartition("/")[2]
        if handler.command in ("GET", "HEAD"):
            data = found.blobs.get(name)
            say(handler, 404 if data is None else 200, data or b"")
        elif handler.command == "POST":
            say(handler, 202, Location=f"https://{HOST}/v2/team/packs/blobs/uploads/u1?_state=x")
        else:
            found.blobs[name] = body
            say(handler, 201)

    with served(folder, HOST, answer) as found.outside:
        yield found


@contextlib.contextmanager
def served(folder: Path, host: str, answer: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[Outside]:
    """A host on a real socket, over TLS, with a certificate of its own CA: `answer` gets each request and its body."""
    authority = Authority("registry", ["http/1.1"])
    ca = folder / f"{host}.pem"
    ca.write_bytes(authority.pem)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def any(self) -> None:
            answer(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))

        do_GET = do_HEAD = do_POST = do_PUT = any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    context = authority.server_context(host)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield Outside(int(server.server_address[1]), {"address": "127.0.0.1", "ca_pem": str(ca)})
    finally:
        server.shutdown()
        server.server_close()


def say(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Answers with this."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
