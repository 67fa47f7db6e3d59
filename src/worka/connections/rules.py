"""Pure decisions about connections."""

from __future__ import annotations

import ipaddress
import re

from worka.connections.errors import EndpointInvalid

_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


def host_name(text: str) -> str:
    """The host in lower case. Raises EndpointInvalid for addresses in any spelling, wildcards, and what is no DNS name."""
    host = text.strip().lower()
    labels = host.split(".")
    if len(host) > 253 or len(labels) < 2 or not all(_LABEL.match(label) for label in labels):
        raise EndpointInvalid(f"{text[:80]!r} is not a host name.", field="/host")
    # A last label of digits (or 0x…) is an IPv4 address in one of its spellings, never a name.
    if labels[-1].isdigit() or re.fullmatch(r"0x[0-9a-f]*", labels[-1]) or _is_address(host):
        raise EndpointInvalid(f"{text[:80]!r} is an address; connections are bound to names.", field="/host")
    return host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
