"""Sets up a fresh network namespace over raw netlink: loopback up, and every IPv4 address local to it.

The same as `ip link set lo up; ip route add local 0.0.0.0/0 dev lo`, without spawning `ip` twice (2.8 ms).
Source of the layouts: rtnetlink(7), linux/rtnetlink.h, netdevice(7).
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct

_SIOCSIFFLAGS = 0x8914
_IFF_UP_LOOPBACK_RUNNING = 0x1 | 0x8 | 0x40
_RTM_NEWROUTE = 24
_NLMSG_ERROR = 2
_REQUEST_ACK_CREATE_EXCL = 0x1 | 0x4 | 0x400 | 0x200
_TABLE_LOCAL, _PROTOCOL_BOOT, _SCOPE_HOST, _TYPE_LOCAL = 255, 3, 254, 2
_RTA_OIF = 4


def loopback_up() -> None:
    """Brings `lo` up. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", _IFF_UP_LOOPBACK_RUNNING, b""))


def every_address_local(family: int = socket.AF_INET) -> None:
    """Routes every address of the family to `lo` as local, so that any can be listened on. Raises OSError."""
    scope = _SCOPE_HOST if family == socket.AF_INET else 0
    route = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _TABLE_LOCAL, _PROTOCOL_BOOT, scope, _TYPE_LOCAL, 0)
    attribute = struct.pack("=HHi", 8, _RTA_OIF, socket.if_nametoindex("lo"))
    body = route + attribute
    header = struct.pack("=IHHII", 16 + len(body), _RTM_NEWROUTE, _REQUEST_ACK_CREATE_EXCL, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:  # NETLINK_ROUTE
        link.bind((0, 0))
        link.send(header + body)
        answer = link.recv(4096)
    kind = struct.unpack_from("=H", answer, 4)[0]
    code = struct.unpack_from("=i", answer, 16)[0] if kind == _NLMSG_ERROR else -22
    if code != 0:
        raise OSError(-code, f"local route: {os.strerror(-code)}")


def door_sockets() -> list[socket.socket]:
    """The sandbox's three doors, in the order that the broker expects: 53/udp, 80/tcp, 443/tcp. Raises OSError.

    The resolver is on 127.0.0.1 alone: on 0.0.0.0 its answers to other addresses would carry the wrong source.
    """
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind(("127.0.0.1", 53))
    doors = [resolver]
    for port in (80, 443):
        door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        door.bind(("0.0.0.0", port))  # noqa: S104 - every address of this namespace, which nobody else is in
        door.listen(64)
        doors.append(door)
    return doors
