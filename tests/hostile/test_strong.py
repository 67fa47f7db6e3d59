"""A pack on a kernel of its own has the same one road out, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.conftest import TRACKER, Site, settle
from worka.kernel.db import Database
from worka.workspaces.limits import service as limits

pytestmark = pytest.mark.timeout(300)
FETCH = {"do": "fetch", "url": f"https://{TRACKER}/issues"}
ROADS = (
    "socket.create_connection(('93.184.216.35', 443), 2)",
    "socket.create_connection(('10.1.2.3', 80), 2)",
    "socket.create_connection(('169.254.169.254', 80), 2)",
    "socket.create_connection(('93.184.216.34', 8443), 2)",
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('93.184.216.35', 4433))",
    "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "socket.socket(socket.AF_VSOCK)",
)


@pytest.mark.capability("RUN-6", "RUN-1")
async def test_on_a_kernel_of_its_own_the_only_road_is_the_brokers(site: Site, db: Database, repository: Path) -> None:
    mine = await settle(db, site.home, repository)
    wish = {
        "layer": "workspace",
        "scope": "workspace",
        "name": "pack_exposure",
        "value": 0,
        "reason": "strangers' code",
    }
    await limits.set_limit(mine.ctx, mine.packs.world.workspace_id, wish)
    site.internet.hits()
    assert (await mine.wire(FETCH))[0]["status"] == 200, "the control: the declared road is open"
    (row,) = await mine.packs.world.rows("invocation", "id = %s", mine.last)
    assert (row["isolation"]["tier"], row["isolation"]["network"]) == ("strong", "broker")
    heads = [head for hit in site.internet.hits() for head in hit["requests"]]
    assert any(f"Bearer {mine.connection_secret}" in head for head in heads), (
        "with the credential, placed outside of it"
    )
    code = "import os, socket\nvalue = []\n" + "".join(
        f"try:\n    one = {road}\n    one.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n') if hasattr(one, 'sendall') else None\n"
        "except (OSError, AttributeError) as e: value.append(str(e))\n"
        for road in ROADS
    )
    await mine.answer("run", {"code": code + "value = [value, os.environ.get('SITE_CANARY'), os.listdir('/proc')]"})
    assert site.internet.canaries() == []
    assert (await mine.wire(FETCH))[0]["status"] == 200, "and afterwards too"
