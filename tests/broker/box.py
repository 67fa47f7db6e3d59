"""A network of its own, as the launcher makes one, with unmodified clients inside; a process of its own, told by lines.

    python box.py <broker-net.sock> <session id> <token> <ca bundle> <resolv.conf>

It brings `lo` up, routes every address to it, binds 53, 80 and 443, hands the three sockets to the broker, and then
runs one JSON command a line: {"do": "fetch" | "raw" | "lookup" | "datagram", …} -> one JSON line.
"""

from __future__ import annotations

import base64
import ctypes
import fcntl
import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18


def enter(resolv_conf: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    if libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "mount private")
    if libc.mount(resolv_conf.encode(), b"/etc/resolv.conf", None, MS_BIND, None):
        raise OSError(ctypes.get_errno(), "mount resolv.conf")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, 0x8914, struct.pack("16sH14s", b"lo", 0x49, b""))
    subprocess.run(["ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo"], check=True)


def hand_over(net_socket: str, session_id: str, token: str) -> str:
    lookups = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    lookups.bind(("127.0.0.1", 53))
    listeners = []
    for port in (80, 443):
        listener = socket.socket()
        listener.bind(("0.0.0.0", port))
        listener.listen(64)
        listeners.append(listener)
    with socket.socket(socket.AF_UNIX) as broker:
        broker.connect(net_socket)
        message = json.dumps({"session_id": session_id, "token": token}).encode()
        socket.send_fds(broker, [message], [item.fileno() for item in (lookups, *listeners)])
        broker.settimeout(10)
        return broker.recv(1).decode()


def fetch(command: dict[str, Any], bundle: str) -> dict[str, Any]:
    parts = urlsplit(command["url"])
    host = str(parts.hostname)
    timeout = command.get("timeout", 20)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=bundle)
        connection = http.client.HTTPSConnection(host, parts.port, context=context, timeout=timeout)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    body = command.get("body")
    if command.get("body_size"):
        body = (b"x" * 65536 for _ in range(command["body_size"] // 65536))
    connection.request(
        command.get("method", "GET"),
        target,
        body,
        command.get("headers", {}),
        encode_chunked=bool(command.get("body_size")),
    )
    response = connection.getresponse()
    size, kept = 0, b""
    while data := response.read(65536):
        size += len(data)
        kept += data[: 65536 - len(kept)]
    connection.close()
    expected = response.getheader("Content-Length")
    if expected and size < int(expected) and command.get("method") != "HEAD":
        return {"error": "IncompleteRead", "message": f"{size} of {expected} bytes"}
    return {
        "status": response.status,
        "headers": {name.lower(): value for name, value in response.getheaders()},
        "text": kept.decode("latin-1"),
        "size": size,
    }


def raw(command: dict[str, Any], bundle: str) -> dict[str, Any]:
    """Sends bytes to host:port as they are; with `tls` inside TLS for the name `sni` (not checked when `blind`)."""
    sock: socket.socket = socket.create_connection((command["host"], command["port"]), timeout=10)
    if command.get("tls"):
        context = ssl.create_default_context(cafile=bundle)
        if command.get("blind"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock = context.wrap_socket(sock, server_hostname=command.get("sni"))
    sock.sendall(base64.b64decode(command["data"]))
    got = b""
    sock.settimeout(command.get("seconds", 5))
    try:
        while data := sock.recv(65536):
            got += data
    except (TimeoutError, ConnectionResetError):
        pass
    sock.close()
    return {"data": got.decode("latin-1")}


def websocket(command: dict[str, Any], bundle: str) -> dict[str, Any]:
    """Opens a WebSocket and says each message; what came back, and how it ended."""
    sock: socket.socket = socket.create_connection((command["host"], command["port"]), timeout=10)
    if command["port"] == 443:
        sock = ssl.create_default_context(cafile=bundle).wrap_socket(sock, server_hostname=command["host"])
    sock.settimeout(command.get("seconds", 5))
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET {command['path']} HTTP/1.1\r\nHost: {command['host']}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n".encode()
    )
    file = sock.makefile("rb")
    line = file.readline().decode()
    while file.readline().strip():
        pass
    if " 101 " not in line:
        return {"status": int(line.split()[1]), "text": file.read().decode("latin-1")}
    back: list[str] = []
    try:
        for message in command["messages"]:
            body = message.encode()
            size = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + struct.pack("!H", len(body))
            mask = os.urandom(4)
            sock.sendall(b"\x81" + size + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(body)))
            head = file.read(2)
            if len(head) < 2:
                return {"status": 101, "back": back, "ended": "closed"}
            count = struct.unpack("!H", file.read(2))[0] if head[1] == 126 else head[1]
            back.append(file.read(count).decode("latin-1"))
        if command.get("hold"):
            sock.settimeout(command["hold"])
            file.read(1)
    except (OSError, ValueError) as error:
        return {"status": 101, "back": back, "ended": type(error).__name__}
    finally:
        sock.close()
    return {"status": 101, "back": back, "ended": ""}


def run(command: dict[str, Any], bundle: str) -> dict[str, Any]:
    try:
        if command["do"] == "fetch":
            return fetch(command, bundle)
        if command["do"] == "raw":
            return raw(command, bundle)
        if command["do"] == "websocket":
            return websocket(command, bundle)
        if command["do"] == "lookup":
            found = socket.getaddrinfo(command["name"], 443, type=socket.SOCK_STREAM)
            return {"addresses": [item[4][0] for item in found]}
        if command["do"] == "run":
            told = {"SSL_CERT_FILE": bundle, "CURL_CA_BUNDLE": bundle, "NODE_EXTRA_CA_CERTS": bundle, **os.environ}
            done = subprocess.run(
                command["argv"], capture_output=True, text=True, env=told, timeout=command.get("timeout", 30)
            )
            return {"code": done.returncode, "out": done.stdout, "err": done.stderr[-2000:]}
        if command["do"] == "datagram":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(0.5)
                sock.connect((command["host"], command["port"]))
                sock.send(b"hello")
                sock.recv(10)
            return {}
        return {"error": "unknown", "message": command["do"]}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}


def main() -> None:
    net_socket, session_id, token, bundle, resolv_conf = sys.argv[1:6]
    enter(resolv_conf)
    print(json.dumps({"ack": hand_over(net_socket, session_id, token)}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line), bundle)), flush=True)


if __name__ == "__main__":
    main()
