"""The whole Internet in a network namespace, with the real broker in it: every address is local, live, and a canary.

    python internet.py '{"home": …, "ca": …, "environment": {…}}'

IPv4 and IPv6, every address answers on the ports of PORTS (TCP) and UDP_PORTS, and each connection is written down with
the address that was dialled; `tracker.worka.test` is one of them. A resolver on 127.0.0.1:53 answers from a table, for
the broker's ordinary getaddrinfo. The broker (`worka.workers.broker`) is a child, so whatever it dials is dialled here.
The database is reached through its socket, for which a network namespace is no border.

It says {"ready": true}, then answers a JSON command a line: {"do": "hits" | "dial" | "table" | "asked" | "send", …}.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from dnslib import AAAA, QTYPE, RCODE, RR, A, DNSRecord

from worka.broker.ca import Authority

PORTS = (22, 25, 53, 80, 443, 2375, 5432, 8080, 8443)
UDP_PORTS = (53, 80, 123, 443, 4433)
TRACKER = "93.184.216.34"
NEWNS, NEWUSER, NEWNET = 0x20000, 0x10000000, 0x40000000


class Internet:
    """What the addresses answer, and what was seen."""

    def __init__(self, ca: Path) -> None:
        self.authority = Authority("internet")
        ca.write_bytes(self.authority.bundle)
        self.lock = threading.Lock()
        self.hits: list[dict[str, Any]] = []
        self.asked: list[str] = []
        # name -> answers in turn, the last one for ever
        self.table: dict[str, list[list[str]]] = {"tracker.worka.test": [[TRACKER]]}

    def serve(self) -> None:
        for port in PORTS:
            server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
            threading.Thread(target=self._accept, args=(server, port), daemon=True).start()
        for port in UDP_PORTS:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("::", port))
            threading.Thread(target=self._datagrams, args=(sock, port), daemon=True).start()
        resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        resolver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        resolver.bind(("127.0.0.1", 53))
        threading.Thread(target=self._resolve, args=(resolver,), daemon=True).start()

    def _accept(self, server: socket.socket, port: int) -> None:
        while True:
            conn, _ = server.accept()
            threading.Thread(target=self._serve, args=(conn, port), daemon=True).start()

    def _serve(self, conn: socket.socket, port: int) -> None:
        address = conn.getsockname()[0].removeprefix("::ffff:")
        hit: dict[str, Any] = {"proto": "tcp", "to": address, "port": port, "requests": []}
        with self.lock:
            self.hits.append(hit)
        conn.settimeout(10)
        with contextlib.suppress(OSError, ValueError, IndexError):
            if port == 443:
                conn = self.authority.server_context(address).wrap_socket(conn, server_side=True)
                hit["sni"] = getattr(conn, "worka_sni", None)
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    data += more_of(conn)
                head, _, data = data.partition(b"\r\n\r\n")
                hit["requests"].append(head.decode("latin-1"))
                if b"chunked" in head.lower():
                    while b"0\r\n\r\n" not in data:
                        data += more_of(conn)
                    data = data.partition(b"0\r\n\r\n")[2]
                for line in head.split(b"\r\n")[1:]:
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        while len(data) < int(value):
                            data += more_of(conn)
                        data = data[int(value) :]
                conn.sendall(answer(head.split(b" ")[1].decode("latin-1")))

    def _datagrams(self, sock: socket.socket, port: int) -> None:
        while True:
            data, _ = sock.recvfrom(65536)
            with self.lock:
                self.hits.append({"proto": "udp", "to": "?", "port": port, "requests": [data[:100].hex()]})

    def _resolve(self, sock: socket.socket) -> None:
        while True:
            packet, asker = sock.recvfrom(4096)
            query = DNSRecord.parse(packet)
            name = str(query.q.qname).rstrip(".").lower()
            reply = query.reply()
            with self.lock:
                turns = self.table.get(name)
                if query.q.qtype == QTYPE.A or turns is None:
                    self.asked.append(name)
                found = turns[0] if turns else []
                # A lookup asks for A and AAAA; both are one turn.
                if turns and len(turns) > 1 and query.q.qtype == QTYPE.AAAA:
                    turns.pop(0)
            if turns is None:
                reply.header.rcode = RCODE.NXDOMAIN
            for address in found:
                six = ":" in address
                if query.q.qtype == (QTYPE.AAAA if six else QTYPE.A):
                    data = AAAA(address) if six else A(address)
                    reply.add_answer(RR(query.q.qname, query.q.qtype, rdata=data, ttl=0))
            sock.sendto(reply.pack(), asker)

    def command(self, asked: dict[str, Any]) -> Any:
        """One command of the test."""
        match asked["do"]:
            case "hits":
                time.sleep(0.03)  # what was just accepted is written down
                with self.lock:
                    found, self.hits = self.hits, []
                return found
            case "asked":
                with self.lock:
                    names, self.asked = self.asked, []
                return names
            case "table":
                with self.lock:
                    self.table |= asked["names"]
                return None
            case "dial":
                # The control: what the broker would reach from here if it did as it was told.
                before = len(self.hits)
                with socket.create_connection((asked["host"], asked["port"]), 3):
                    return self._more_than(before)
            case "send":
                before = len(self.hits)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.sendto(b"datagram", (asked["host"], asked["port"]))
                return self._more_than(before)
        raise ValueError(asked["do"])

    def _more_than(self, before: int) -> bool:
        until = time.monotonic() + 2
        while len(self.hits) <= before and time.monotonic() < until:
            time.sleep(0.005)
        return len(self.hits) > before


def more_of(conn: socket.socket) -> bytes:
    """What comes next. Raises ConnectionError at the end: a reader that goes on asking would spin for ever."""
    more = conn.recv(65536)
    if not more:
        raise ConnectionError("the other side ended")
    return more


def answer(target: str) -> bytes:
    """The tracker's answers by path."""
    path = target.split("?")[0]
    if path.startswith("/to/"):
        where = target[4:]
        return f"HTTP/1.1 302 Found\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()
    if path == "/switch":
        return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello"
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def enter(resolv_conf: Path) -> None:
    """A network of its own in which every address is this machine, and a resolver of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(NEWNS | NEWNET | (NEWUSER if uid else 0)):
        raise OSError(ctypes.get_errno(), "unshare")
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    if libc.mount(None, b"/", None, ctypes.c_ulong(1 << 18 | 1 << 14), None):
        raise OSError(ctypes.get_errno(), "mount private")
    resolv_conf.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
    if libc.mount(str(resolv_conf).encode(), b"/etc/resolv.conf", None, ctypes.c_ulong(4096), None):
        raise OSError(ctypes.get_errno(), "mount resolv.conf")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, 0x8914, struct.pack("16sH14s", b"lo", 0x49, b""))
    for route in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        subprocess.run(["ip", route[0], "route", "add", "local", route[1], "dev", "lo"], check=True)


def main() -> None:
    told = json.loads(sys.argv[1])
    home = Path(told["home"])
    with tempfile.TemporaryDirectory(prefix="worka-net-", dir="/tmp") as scratch:
        enter(Path(scratch) / "resolv.conf")
        internet = Internet(Path(told["ca"]))
        internet.serve()
        with (home / "log" / "broker.log").open("ab") as log:
            broker = subprocess.Popen(
                [sys.executable, "-m", "worka.workers.broker"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env={**told["environment"], "SSL_CERT_FILE": told["ca"]},
            )  # fmt: skip
        print(json.dumps({"ready": True, "broker": broker.pid}), flush=True)
        try:
            for line in sys.stdin:
                try:
                    said: dict[str, Any] = {"value": internet.command(json.loads(line))}
                except (OSError, ssl.SSLError, ValueError) as error:
                    said = {"error": f"{type(error).__name__}: {error}"}
                print(json.dumps(said), flush=True)
        finally:
            broker.terminate()
            try:
                broker.wait(10)
            except subprocess.TimeoutExpired:
                broker.kill()


if __name__ == "__main__":
    main()
