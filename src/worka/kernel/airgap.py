"""The air gap: where it is on, nothing outside is dialled but the operator's list, whoever asks: packs, the platform, builds.

Pure: no settings, no socket. An item of the list is `name:port`, `address:port` or `network/bits:port`; `*` for any port. A name is
the one that is asked for; an address is the one that is dialled (of a network exception). What is not on the list is not even
looked up: the question would leave too.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

REASON = "air_gapped"
REMEDY = "If this destination is meant, the deployment's operator adds it to network.allowed (WORKA_NETWORK__ALLOWED)."
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\Z")
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\Z")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Allowed:
    """One item: a name or a network, and a port (None: any)."""

    name: str | None
    network: Network | None
    port: int | None

    def __str__(self) -> str:
        place = self.name or str(self.network)
        return f"{f'[{place}]' if ':' in place else place}:{self.port or '*'}"


@dataclass(frozen=True, slots=True)
class AirGap:
    """Off by default; on, `allowed` is all there is."""

    on: bool = False
    allowed: tuple[Allowed, ...] = ()

    def name(self, host: str, port: int) -> bool:
        """Whether this name may be asked for and dialled at this port."""
        wanted = host.lower().rstrip(".")
        return not self.on or any(item.name == wanted and item.port in (None, port) for item in self.allowed)

    def asks(self, host: str) -> bool:
        """Whether this name may be asked of a resolver: it is listed, at whatever port."""
        wanted = host.lower().rstrip(".")
        return not self.on or any(item.name == wanted for item in self.allowed)

    def address(self, address: str, port: int) -> bool:
        """Whether this address may be dialled at this port, whatever it is called."""
        try:
            wanted = ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            return not self.on
        return not self.on or any(
            item.network is not None
            and item.network.version == wanted.version
            and wanted in item.network
            and item.port in (None, port)
            for item in self.allowed
        )

    def place(self, host: str, port: int) -> bool:
        """Whether what stands in an address of ours (a name or an address, as it is written) may be dialled."""
        return self.name(host, port) or self.address(host, port)


OPEN = AirGap()


def parse(items: Iterable[str]) -> tuple[Allowed, ...]:
    """The list as it is written. Raises ValueError, naming the item."""
    return tuple(_item(item) for item in items)


def _item(text: str) -> Allowed:
    host, colon, port = text.strip().rpartition(":")
    if not colon or not (port == "*" or (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535)):
        raise ValueError(f"{text!r}: a name, address or network, a colon and a port (or * for any)")
    number = None if port == "*" else int(port)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return Allowed(None, ipaddress.ip_network(bare), number)
    except ValueError:
        pass
    name = bare.lower().rstrip(".")
    if bare != host or len(name) > 253 or not _NAME.match(name) or _NUMERIC.match(name):
        raise ValueError(f"{text!r}: neither a name nor an address nor a network")
    return Allowed(name, None, number)
