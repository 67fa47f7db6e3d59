"""Which addresses may be dialled, and which host spellings are a host name at all. Pure: no resolver, no socket.

An allow-list by exclusion is easy to get wrong for IPv6, so there only 2000::/3 passes, minus what IANA set aside.
Sources: IANA special-purpose address registries (IPv4 and IPv6), WHATWG URL "ends in a number" for disguised IPv4.
"""

from __future__ import annotations

import ipaddress
import re

_V4: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "this_network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier_nat"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "metadata"),
    ("169.254.169.254/32", "metadata"),
    ("169.254.0.0/16", "link_local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "six_to_four"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmark"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
)
_V6: tuple[tuple[str, str], ...] = (
    ("::1/128", "loopback"),
    ("::/128", "unspecified"),
    ("::ffff:0:0/96", "mapped"),
    ("::/96", "compatible"),
    ("64:ff9b::/96", "nat64"),
    ("64:ff9b:1::/48", "nat64"),
    ("fd00:ec2::254/128", "metadata"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link_local"),
    ("fec0::/10", "site_local"),
    ("ff00::/8", "multicast"),
    ("2001:db8::/32", "documentation"),
    ("2001::/32", "teredo"),
    ("2001::/23", "reserved"),
    ("2002::/16", "six_to_four"),
    ("3fff::/20", "documentation"),
)
_NET4 = tuple((ipaddress.IPv4Network(net), kind) for net, kind in _V4)
_NET6 = tuple((ipaddress.IPv6Network(net), kind) for net, kind in _V6)
_GLOBAL6 = ipaddress.IPv6Network("2000::/3")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_ANY_CASE = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
NAME = rf"^(?!(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?$){_ANY_CASE}(?:\.{_ANY_CASE})*\.?$"
"""What `normalise_host` takes, as one pattern, for documents; 253 characters at most. A test holds the two together."""
_NUMERIC = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")

# Handed out inside a sandbox in place of a declared name's address: public-looking, for clients refuse private answers.
POOL = ipaddress.IPv4Network("192.88.98.0/24")


class HostProblem(ValueError):
    """A host spelling that is refused. `reason` is `raw_address` or `malformed_host`; `detail` says what was seen."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def refused_kind(address: str | ipaddress.IPv4Address | ipaddress.IPv6Address) -> str | None:
    """Why this address may not be dialled (`loopback`, `private`, `metadata`, …), or None if it is a public one.

    Anything that is not a plain address (a scope id, an odd spelling) is `unreadable`.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unreadable"
    if isinstance(parsed, ipaddress.IPv4Address):
        return next((kind for net, kind in _NET4 if parsed in net), None)
    if parsed.scope_id is not None:
        return "link_local"
    for net6, kind in _NET6:
        if parsed in net6:
            return kind
    return None if parsed in _GLOBAL6 else "reserved"


def normalise_host(raw: str) -> str:
    """The canonical lower-case host name of `raw`, one trailing dot dropped.

    Raises HostProblem: `raw_address` for every spelling of an address (dotted, decimal, octal, hex, short, bracketed),
    `malformed_host` for everything that two parsers could read differently (user info, backslash, control characters,
    letters outside ASCII, empty labels). Internationalised names must already be in their `xn--` form, as on the wire.
    """
    if not raw:
        raise HostProblem("malformed_host", "the host is empty")
    if raw.startswith("[") or ":" in raw:
        raise HostProblem("raw_address", "an address, not a name")
    if not raw.isascii():
        raise HostProblem("malformed_host", "the host holds characters outside ASCII; use its xn-- form")
    host = raw.lower()
    host = host[:-1] if host.endswith(".") else host
    labels = host.split(".")
    if _NUMERIC.match(labels[-1]):
        raise HostProblem("raw_address", "an address, not a name")
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise HostProblem("malformed_host", "not a host name")
    return host


_NEVER = {
    "metadata": "the metadata service of a cloud, which gives this machine's own credentials to whoever asks",
    "link_local": "a link-local address, where clouds keep their metadata service",
    "mapped": "an IPv4 address in the form of IPv6: write it as IPv4",
    "compatible": "an IPv4 address in the form of IPv6: write it as IPv4",
    "nat64": "an IPv4 address in the form of IPv6: write it as IPv4",
    "six_to_four": "an IPv4 address in the form of IPv6: write it as IPv4",
    "teredo": "an IPv4 address in the form of IPv6: write it as IPv4",
}
EXCEPTED = "the network exception of this name leads to "
EXCEPTED_REMEDY = "Remove the network exception of this name: none leads there, and it cannot be recorded anew."


def never_excepted(address: str) -> str | None:
    """Why no network exception of a workspace leads to this address, whoever records it, or None: these are the machine's.
    Asked when one is recorded and whenever one is dialled: a record may be older than what is refused today."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "no plain IPv4 or IPv6 address"
    if parsed.is_multicast or parsed.is_unspecified or getattr(parsed, "scope_id", None):
        return "no address of one machine"
    return _NEVER.get(refused_kind(parsed) or "")
