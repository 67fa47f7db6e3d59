"""Values that were put in, rotated, refused, leased and read are in nothing that an instance writes, a dump of its database included."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.journeys.search import everything, search
from tests.support.instance import Instance
from tests.treasury.test_runbooks import HERE, leased
from worka.cli.demo import Demo
from worka.kernel.postgres import binaries

pytestmark = pytest.mark.timeout(300)


def dump(instance: Instance) -> bytes:
    """The whole database as text, as its administrator would take it."""
    known = json.loads((instance.home / "admin" / "database.json").read_text())
    done = subprocess.run(
        [str(binaries() / "pg_dump"), "-h", known["host"], "-p", str(known["port"]), "-U", "postgres", "worka"],
        env={"PGPASSWORD": known["admin"], "PATH": "/usr/bin:/bin"}, capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.capability("TRE-2", "TRE-3")
def test_no_value_is_in_anything_that_was_written(stage: Demo, instance: Instance) -> None:
    canary = {name: f"cnr-{secrets.token_urlsafe(24)}+/=" for name in ("first", "second", "refused", "unknown")}
    owner, attachment = stage.owner, stage.ids["attachment_notes"]
    name = f"canary-{secrets.token_hex(3)}"
    made = owner.post(owner.ws("/secrets"), {"name": name, "kind": "other", "value": canary["first"]})
    owner.post(f"/v1/secrets/{made['id']}/grants", {"grantee_id": attachment, "endpoint": HERE})
    (place,) = instance.rows("select tenant_id from worka.secret where id = %s", made["id"])
    which = (instance, place["tenant_id"], made["id"], attachment)
    assert leased(*which) == canary["first"], "the control: it is there"
    owner.post(f"/v1/secrets/{made['id']}/rotate", {"value": canary["second"], "grants": "keep", "overlap_minutes": 5})
    assert leased(*which) == canary["second"]
    # Refused with the value in the request: by a name that is taken, and by a field that there is not.
    headers = {"Authorization": f"Bearer {owner.token}"}
    for body in (
        {"name": name, "kind": "other", "value": canary["refused"]},
        {"name": f"{name}2", "kind": "other", "value": canary["refused"], "vaule": canary["unknown"]},
        {"name": f"{name}3", "kind": canary["unknown"], "value": canary["refused"]},
    ):
        answer = httpx.post(f"{instance.url}{owner.ws('/secrets')}", json=body, headers=headers)
        assert answer.status_code in (409, 422), answer.text
        assert canary["refused"] not in answer.text
    owner.post(f"/v1/secrets/{made['id']}/revoke", {"why": "over"})
    written = dump(instance)
    assert b"treasury.secret.rotated" in written, "the control: the dump is whole"

    def all_of_it() -> Iterator[tuple[str, Any]]:
        yield "dump", written
        yield from everything(instance)

    contents = list(all_of_it())
    for which_one in ("first", "second", "refused"):
        assert search(canary[which_one], iter(contents)) == [], which_one


@pytest.mark.capability("OPS-5", part="what the kernel keeps of processes that hold keys")
def test_the_doctor_says_what_the_kernel_keeps_of_processes_that_hold_keys(instance: Instance) -> None:
    told = instance.worka("--output", "json", "--url", instance.url, "doctor").stdout
    (check,) = [item for item in json.loads(told)["items"] if item["name"] == "memory"]
    assert check["state"] in ("ok", "warning")
    assert "no core dumps" in check["detail"]
    pids = instance.pids()
    for role in ("serve", "worker", "broker"):
        status = Path(f"/proc/{pids[role]}/status").read_text()
        locked = int(next(line for line in status.splitlines() if line.startswith("VmLck")).split()[1])
        assert (locked > 0) == ("locked" in check["detail"]), role
