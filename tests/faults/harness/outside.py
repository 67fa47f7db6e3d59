"""The registry that packs are published to: Debian's docker-registry, unmodified, behind a door with TLS of ours. The door
passes everything on, until it is told to lie, to keep silent or to hang up. What the registry holds is read from its disk."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
import subprocess
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from worka.broker.ca import Authority

HOST = "registry.worka.test"
MODES = ("another digest", "silent", "hangs up", "takes and forgets")
KEPT = ("content-type", "docker-content-digest", "location", "range", "docker-upload-uuid")


class Outside:
    """One registry for all tenants, each with a repository of its own. `mode`: one of MODES, or empty for honest."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mode = folder, ""
        self.met: Counter[str] = Counter()
        self.under_way = threading.Event()
        self._behind: subprocess.Popen[bytes] | None = None
        authority = Authority("registry", ["http/1.1"])
        self.ca_pem = authority.pem.decode()
        self.inner = _free_port()
        (folder / "data").mkdir()
        (folder / "config.yml").write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
            f"http: {{addr: 127.0.0.1:{self.inner}, relativeurls: true}}\n"
        )
        self.server = _Door(("127.0.0.1", 0), _Handler)
        self.server.outside = self
        context = authority.server_context(HOST)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.start()

    def start(self) -> None:
        """Starts the registry and waits until it listens."""
        with (self.folder / "log").open("ab") as log:
            self._behind = subprocess.Popen(
                ["docker-registry", "serve", str(self.folder / "config.yml")], stdout=log, stderr=log, cwd="/"
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.inner), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self._behind.poll() is not None:
                    raise AssertionError(
                        f"the registry did not start: {(self.folder / 'log').read_text()[-500:]}"
                    ) from None
                time.sleep(0.05)

    def kill(self) -> int:
        """SIGKILL, whatever it is writing; its process id."""
        assert self._behind is not None
        self._behind.kill()
        self._behind.wait()
        return self._behind.pid

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.kill()

    # what it holds --------------------------------------------------------------------------------------------------
    def revisions(self, repository: str) -> set[str]:
        """The digests of the artifacts that a repository has."""
        there = self.folder / f"data/docker/registry/v2/repositories/{repository}/_manifests/revisions/sha256"
        return {f"sha256:{link.parent.name}" for link in there.glob("*/link") if link.stat().st_size}

    def lacks(self, repository: str, digest: str) -> str:
        """What of an artifact is not there, byte by byte; empty when it is whole."""
        if digest not in self.revisions(repository):
            return "its manifest is not in the repository"
        manifest = self._blob(digest)
        if manifest is None:
            return "its manifest is damaged"
        document = json.loads(manifest)
        parts = [document["config"]["digest"], *(layer["digest"] for layer in document["layers"])]
        lost = [part for part in parts if self._blob(part) is None]
        return f"{len(lost)} of its {len(parts)} parts are not there, or damaged" if lost else ""

    def tagged(self, repository: str, digest: str) -> bool:
        """Whether signatures lie beside an artifact."""
        tag = digest.replace(":", "-") + ".sig"
        link = self.folder / f"data/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link"
        return link.exists() and link.stat().st_size > 0

    def _blob(self, digest: str) -> bytes | None:
        name = digest.removeprefix("sha256:")
        try:
            data = (self.folder / f"data/docker/registry/v2/blobs/sha256/{name[:2]}/{name}/data").read_bytes()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == name else None


class _Door(ThreadingHTTPServer):
    daemon_threads = True
    outside: Outside

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever is cut off is cut off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Door

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self) -> None:
        outside = self.server.outside
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command in ("POST", "PUT"):
            outside.under_way.set()
        mode = outside.mode
        if mode == "silent":
            outside.met[mode] += 1
            while outside.mode == "silent":
                time.sleep(0.05)
            self.close_connection = True
            return
        if mode == "hangs up":
            outside.met[mode] += 1
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"{")
            self.close_connection = True
            return
        if mode == "takes and forgets" and self.command == "PUT":
            outside.met[mode] += 1
            self._say(201, {}, b"")
            return
        status, headers, content = self._passed_on(body)
        if mode == "another digest" and self.command == "GET" and status == 200:
            outside.met[mode] += 1
            content = content[:-1] + bytes([content[-1] ^ 1]) if content else b"x"
        self._say(status, headers, content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = answer

    def _passed_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        outside = self.server.outside
        conn = http.client.HTTPConnection("127.0.0.1", outside.inner, timeout=20)
        kept = {name: value for name in ("Content-Type", "Accept") if (value := self.headers.get(name))}
        try:
            conn.request(self.command, self.path, body, kept | {"Content-Length": str(len(body))})
            found = conn.getresponse()
            content = found.read()
        except (OSError, http.client.HTTPException) as error:
            outside.met["away"] += 1
            self.close_connection = True
            raise ConnectionAbortedError("the registry is away") from error
        finally:
            conn.close()
        return found.status, {k: v for k, v in found.getheaders() if k.lower() in KEPT}, content

    def _say(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):
                self.wfile.write(content)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
