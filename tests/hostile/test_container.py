"""A pack that a container engine's runtime starts has the same one road out, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.conftest import opened, settle
from tests.hostile.test_strong import FETCH, ROADS
from tests.packs.test_container import CONTAINER, THERE
from tests.support.database import Cluster
from worka.kernel.db import Database

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not THERE, reason="needs root and runc: apt-get install -y runc"),
]


@pytest.mark.capability("RUN-8", part="a container engine's runtime beside bubblewrap and gVisor")
async def test_in_a_container_the_only_road_is_the_brokers(cluster: Cluster, db: Database, repository: Path) -> None:
    with opened(cluster, **CONTAINER) as site:
        mine = await settle(db, site.home, repository)
        site.internet.hits()
        assert (await mine.wire(FETCH))[0]["status"] == 200, "the control: the declared road is open"
        (row,) = await mine.packs.world.rows("invocation", "id = %s", mine.last)
        assert (row["isolation"]["driver"], row["isolation"]["network"]) == ("runc", "broker")
        heads = [head for hit in site.internet.hits() for head in hit["requests"]]
        assert any(f"Bearer {mine.connection_secret}" in head for head in heads)
        code = "import os, socket\nvalue = []\n" + "".join(
            f"try:\n    one = {road}\n    one.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n') if hasattr(one, 'sendall') else None\n"
            "except (OSError, AttributeError) as e: value.append(str(e))\n"
            for road in ROADS
        )
        await mine.answer("run", {"code": code + "value = [value, os.environ.get('SITE_CANARY')]"})
        assert site.internet.canaries() == []
        assert (await mine.wire(FETCH))[0]["status"] == 200, "and afterwards too"
