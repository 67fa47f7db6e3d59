"""An Internet in a network namespace: every IPv4 and IPv6 address is local, live, and a canary that counts.

Each address answers on PORTS (TCP) and UDP_PORTS, and each connection is written down with the address that was dialled. A
resolver on 127.0.0.1:53 answers from a table. What crosses the namespace's interface is counted too, so that what never
reached a listener is seen all the same (`packets`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnslib import AAAA, QTYPE, RCODE, RR, A, DNSRecord

from worka.broker.ca import Authority
from worka.packs.sandbox import netlink

PORTS = (22, 25, 53, 80, 443, 2375, 5432, 8080, 8443)
UDP_PORTS = (53, 80, 123, 443, 4433)
TRACKER, TRACKER_ADDRESS = "tracker.worka.test", "93.184.216.34"
_NEWNS, _NEWUSER, _NEWNET = 0x20000, 0x10000000, 0x40000000
_MS_PRIVATE_ALL, _MS_BIND = 1 << 18 | 1 << 14, 4096
_ETH_IP, _ETH_IP6, _TCP, _UDP, _SYN, _ACK = 0x0800, 0x86DD, 6, 17, 0x02, 0x10


class Internet:
    """What the addresses answer, and what was seen."""

    def __init__(self, ca: Path) -> None:
        self.authority = Authority("internet", ["http/1.1"])
        ca.write_bytes(self.authority.bundle)
        self.lock = threading.Lock()
        self.hits: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.counted: Counter[str] = Counter()
        self.mute = False
        # name -> answers in turn, the last one for ever
        self.table: dict[str, list[list[str]]] = {TRACKER: [[TRACKER_ADDRESS]]}

    def serve(self) -> None:
        """Listens everywhere; returns."""
        for port in PORTS:
            server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
            _thread(self._accept, server, port)
        for port in UDP_PORTS:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("::", port))
            _thread(self._datagrams, sock, port)
        resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        resolver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        resolver.bind(("127.0.0.1", 53))
        _thread(self._resolve, resolver)

    def count_packets(self) -> None:
        """From now on each beginning of a connection and each datagram on the wire is counted by where it goes."""
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        wire.bind(("lo", 0))
        _thread(self._count, wire)

    def _count(self, wire: socket.socket) -> None:
        while True:
            data, (_, protocol, kind, _, _) = wire.recvfrom(128)
            # A loopback shows each packet twice: as it goes out (4), and as it comes in.
            if kind != socket.PACKET_OUTGOING and (place := destination(protocol, data)):
                with self.lock:
                    self.counted[place] += 1

    def _accept(self, server: socket.socket, port: int) -> None:
        while True:
            conn, _ = server.accept()
            _thread(self._serve, conn, port)

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
                head, data = _request(conn, data)
                hit["requests"].append(head.decode("latin-1"))
                conn.sendall(answer(head.split(b" ")[1].decode("latin-1")))

    def _datagrams(self, sock: socket.socket, port: int) -> None:
        while True:
            data, _ = sock.recvfrom(65536)
            with self.lock:
                self.hits.append({"proto": "udp", "to": "?", "port": port, "requests": [data[:100].hex()]})

    def _resolve(self, sock: socket.socket) -> None:
        while True:
            packet, asker = sock.recvfrom(4096)
            if self.mute:
                continue
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

    def command(self, asked: Mapping[str, Any]) -> Any:
        """One command: hits, asked, packets (each since the last time), table {names}, mute {mute} (the resolver), dial or send {host,
        port}. Raises
        OSError, ValueError."""
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
            case "packets":
                time.sleep(0.03)
                with self.lock:
                    counted, self.counted = self.counted, Counter()
                return dict(counted)
            case "table":
                with self.lock:
                    self.table |= asked["names"]
                return None
            case "mute":
                self.mute = bool(asked["mute"])
                return None
            case "dial":
                # The control: what could be reached from here by whoever does as they are told.
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


def _thread(work: Any, *args: Any) -> None:
    threading.Thread(target=work, args=args, daemon=True).start()


def _request(conn: socket.socket, data: bytes) -> tuple[bytes, bytes]:
    """(head, what came after its body). Raises ConnectionError at the end."""
    while b"\r\n\r\n" not in data:
        data += more_of(conn)
    head, _, data = data.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        while b"0\r\n\r\n" not in data:
            data += more_of(conn)
        return head, data.partition(b"0\r\n\r\n")[2]
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            while len(data) < int(value):
                data += more_of(conn)
            data = data[int(value) :]
    return head, data


def more_of(conn: socket.socket) -> bytes:
    """What comes next. Raises ConnectionError at the end: a reader that goes on asking would spin for ever."""
    more = conn.recv(65536)
    if not more:
        raise ConnectionError("the other side ended")
    return more


def answer(target: str) -> bytes:
    """What every address answers, by path."""
    path = target.split("?")[0]
    if path.startswith("/to/"):
        return f"HTTP/1.1 302 Found\r\nLocation: {path[4:]}\r\nContent-Length: 0\r\n\r\n".encode()
    if path == "/switch":
        return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello"
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def destination(protocol: int, packet: bytes) -> str | None:
    """`tcp 192.0.2.1:443` for the beginning of a connection, `udp …` for a datagram, `icmp`-like `ip 1 192.0.2.1` for the
    rest; None for what belongs to a connection that has begun, and for packets that are no IP."""
    if protocol == _ETH_IP and len(packet) >= 24:
        start, kind, address = (packet[0] & 15) * 4, packet[9], socket.inet_ntop(socket.AF_INET, packet[16:20])
    elif protocol == _ETH_IP6 and len(packet) >= 44:
        start, kind, address = 40, packet[6], f"[{socket.inet_ntop(socket.AF_INET6, packet[24:40])}]"
    else:
        return None
    if kind not in (_TCP, _UDP):
        return f"ip {kind} {address}"
    port = int.from_bytes(packet[start + 2 : start + 4], "big")
    if kind == _UDP:
        # What a resolver answers is not counted: its question was.
        return None if packet[start : start + 2] == b"\0\x35" else f"udp {address}:{port}"
    flags = packet[start + 13] if len(packet) > start + 13 else 0
    return f"tcp {address}:{port}" if flags & _SYN and not flags & _ACK else None


def enter(resolv_conf: Path) -> None:
    """Makes this process the only one of a network and mount namespace in which every address is local, and whose resolver
    is 127.0.0.1. What it starts is in there too, without rights over it unless it is root. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(_NEWNS | _NEWNET | (_NEWUSER if uid else 0)):
        raise OSError(ctypes.get_errno(), "a network namespace is refused")
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    if libc.mount(None, b"/", None, ctypes.c_ulong(_MS_PRIVATE_ALL), None):
        raise OSError(ctypes.get_errno(), "a mount namespace is refused")
    resolv_conf.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
    if libc.mount(str(resolv_conf).encode(), b"/etc/resolv.conf", None, ctypes.c_ulong(_MS_BIND), None):
        raise OSError(ctypes.get_errno(), "/etc/resolv.conf cannot be replaced")
    netlink.loopback_up()
    netlink.every_address_local()
    netlink.every_address_local(socket.AF_INET6)


def failure(error: Exception) -> dict[str, str]:
    """An error as an answer to a command."""
    return {"error": f"{type(error).__name__}: {error}"}


EXPECTED = (OSError, ssl.SSLError, ValueError, KeyError)
