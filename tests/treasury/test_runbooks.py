"""The runbooks of the treasury, step by step as they stand, on a running instance."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support import forks
from tests.support.instance import Instance, make_instance
from worka.cli.client import Failed
from worka.cli.demo import Demo
from worka.governance.errors import Killed
from worka.kernel.context import Principal
from worka.kernel.ids import new_id
from worka.kernel.settings import Settings
from worka.treasury import errors, service
from worka.workers.wiring import Runtime

pytestmark = pytest.mark.timeout(240)
ROOT = Path(__file__).resolve().parents[2]
HERE = "leaky.worka.test:443"
RUN_INSERT = (
    "insert into worka.invocation (tenant_id, id, workspace_id, attachment_id, release_id, release_digest, pack, tool,"
    " side_effect, initiator_kind, initiator_id, decision_id, idempotency_key, args_digest, state, reason, trace_id)"
    " select tenant_id, %s, workspace_id, id, release_id, 'd', pack, 'publish', 'external_side_effect', 'person', 'p',"
    " 'dec_x', %s, 'a', 'running', 'call_under_way', 't' from worka.attachment where id = %s"
)


def typed(instance: Instance, who: dict[str, str], *words: str, line: str = "", code: int = 0) -> Any:
    """A command of the runbook; `line` is what is typed at its prompt."""
    done = forks.typed(["--output", "json", *words], {**instance.env, **who}, f"{line}\n")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def leased(instance: Instance, tenant_id: str, secret_id: str, attachment_id: str) -> str:
    """What a call that runs now gets, in a process beside the instance's own, as the broker is one."""

    async def ask() -> str:
        runtime = Runtime(Settings(home=instance.home), "test")
        await runtime.db.open()
        call = new_id("inv")
        try:
            async with runtime.db.transaction(tenant_id) as conn:
                await conn.execute(RUN_INSERT, (call, call, attachment_id))
            ctx = runtime.context(Principal("attachment", attachment_id, "pack", tenant_id), tenant_id=tenant_id)
            found = await service.lease(
                ctx, secret_id=secret_id, attachment_id=attachment_id, invocation_id=call, endpoint=HERE
            )
            return found.value
        finally:
            async with runtime.db.transaction(tenant_id) as conn:
                await conn.execute("update worka.invocation set state = 'succeeded' where id = %s", (call,))
            await runtime.db.close()

    return asyncio.run(ask())


def test_the_runbooks_name_the_commands_that_are_executed_here() -> None:
    leak = (ROOT / "docs/runbooks/leaked-token.md").read_text()
    for words in (
        "worka kill on secret", "worka treasury seal", "worka secret dependants", "worka secret leases", "worka secret rotate",
        "worka kill lift", "worka treasury unseal", "worka secret revoke", "worka secret destroy",
    ):  # fmt: skip
        assert words in leak, words
    lost = (ROOT / "docs/runbooks/lost-master-key.md").read_text()
    for words in ("worka doctor", "worka down", "worka up", "keys/retired", "worka treasury rotate-master-key"):
        assert words in lost, words


@pytest.mark.capability("TRE-8")
@pytest.mark.capability("TRE-12", part="attachments, connections, keys of publishers, calls and tasks under way")
def test_a_leaked_token_is_stopped_rotated_and_let_go_on(stage: Demo, instance: Instance) -> None:
    owner = {"WORKA_TOKEN": str(stage.owner.token), "WORKA_WORKSPACE": stage.ids["workspace"]}
    operator = {"WORKA_TOKEN": str(stage.operator.token)}
    attachment, name = stage.ids["attachment_notes"], f"leaky-{secrets.token_hex(3)}"
    made = typed(instance, owner, "secret", "create", name, line="leaked-value-1")
    (place,) = instance.rows("select tenant_id from worka.secret where id = %s", made["id"])
    typed(instance, owner, "secret", "grant", name, attachment, HERE)
    which = (instance, place["tenant_id"], made["id"], attachment)
    assert leased(*which) == "leaked-value-1"
    # 1: stopped, here and everywhere
    kill = typed(instance, owner, "kill", "on", "secret", made["id"], "--reason", "leaked", "--yes")
    with pytest.raises(Killed):
        leased(*which)
    typed(instance, operator, "treasury", "seal", "--reason", "leaked")
    try:
        typed(instance, owner, "kill", "lift", kill["id"], "--reason", "sealed instead", "--skip-trial")
        with pytest.raises(errors.TreasurySealed, match="leaked"):
            leased(*which)
        # 2: what stands on it, who had it
        seen = typed(instance, owner, "secret", "dependants", name)
        assert attachment in {item["id"] for item in seen["items"]}
        uses = typed(instance, owner, "secret", "leases", name)["items"]
        assert [use["secret_version"] for use in uses] == [1]
        # 4: rotated
        tried = typed(instance, owner, "secret", "rotate", name, "--grants", "keep", "--dry-run", line="fresh-value-22")
        assert tried["would"]["version"] == 2
        turned = typed(instance, owner, "secret", "rotate", name, "--grants", "keep", "--yes", line="fresh-value-22")
        assert (turned["version"], turned["state"], len(turned["grants"])) == (2, "active", 1)
    finally:
        # 6: let go on
        typed(instance, operator, "treasury", "unseal")
    # 7: the new one works
    assert leased(*which) == "fresh-value-22"
    uses = typed(instance, owner, "secret", "leases", name)["items"]
    assert [use["secret_version"] for use in uses] == [2, 1]
    old = instance.rows("select ciphertext from worka.secret_version where secret_id = %s and version = 1", made["id"])
    assert [bytes(row["ciphertext"]) for row in old] == [b""], "the leaked value is not kept"
    # or ended
    ended = typed(
        instance, owner, "secret", "revoke", name if name.startswith("sec_") else made["id"], "--reason", "x", "--yes"
    )
    assert ended["stopped"] == [attachment]
    assert attachment in {item["id"] for item in ended["stopped_more"]}
    assert typed(instance, owner, "secret", "destroy", name, "--yes")["state"] == "destroyed"


@pytest.mark.capability("TRE-2")
def test_a_lost_master_key_is_put_back_from_its_copy() -> None:
    made = make_instance("test-lost-key-")
    try:
        made.start()
        anyone = made.client()
        setup = (made.home / "run" / "setup-token").read_text().strip()
        person = {"password": secrets.token_urlsafe(18), "display_name": "Op"}
        token = anyone.post("/v1/setup", {"token": setup, "email": "op@lost.test", **person})["session_token"]
        tenant = made.client(token).post(
            "/v1/tenants", {"slug": "lost", "name": "L", "workspace_name": "L", "owner_email": "o@lost.test"}
        )
        accepted = anyone.post("/v1/invitations/accept", {"token": tenant["invitation_token"], **person})
        owner = made.client(accepted["session_token"], tenant["workspace_id"])
        body = {"name": "kept", "kind": "other", "value": "a-kept-value"}
        secret_id = owner.post(owner.ws("/secrets"), body)["id"]
        keys, copy = made.home / "keys", made.home.with_name(made.home.name + "-copy")
        shutil.copytree(keys, copy)
        first = json.loads(made.worka("--output", "json", "--url", made.url, "doctor").stdout)["items"]
        (right,) = [item["detail"] for item in first if item["name"] == "keys"]
        # It is lost, and a start makes another.
        made.stop()
        (keys / "master.key").unlink()
        made.start()
        # 1: which key is needed
        told = {
            item["name"]: item
            for item in json.loads(made.worka("--output", "json", "--url", made.url, "doctor").stdout)["items"]
        }
        assert told["keys"]["state"] == "failed"
        assert right in told["keys"]["detail"]
        again = made.client(anyone_signs_in(made, person["password"]), tenant["workspace_id"])
        with pytest.raises(Failed) as refused:
            again.post(again.ws("/secrets"), {**body, "name": "another"})
        assert refused.value.body["code"] == "master_key_mismatch"
        assert right in refused.value.body["detail"]
        # 2: stopped, and the new key moved aside
        made.stop()
        made_meanwhile = made.home.with_name(made.home.name + "-meanwhile.key")
        shutil.move(keys / "master.key", made_meanwhile)
        # 3: the copy is put back
        owns = keys.stat()
        shutil.copy(copy / "master.key", keys / "master.key")
        os.chown(keys / "master.key", owns.st_uid, owns.st_gid)
        (keys / "master.key").chmod(0o600)
        # 4, 5: it is the right one, and opens
        made.start()
        told = {
            item["name"]: item
            for item in json.loads(made.worka("--output", "json", "--url", made.url, "doctor").stdout)["items"]
        }
        assert (told["keys"]["state"], told["keys"]["detail"]) == ("ok", right)
        back = made.client(accepted["session_token"], tenant["workspace_id"])
        step = back.post(back.ws("/data-key/rotate"))
        assert (step["done"], step["left"]) == (1, 0), "the value opened, and was sealed anew"
        assert back.get(f"/v1/secrets/{secret_id}")["state"] == "active"
        # 6: one key for all
        (keys / "retired").mkdir(mode=0o700)
        os.chown(keys / "retired", owns.st_uid, owns.st_gid)
        shutil.copy(made_meanwhile, keys / "retired" / "mk_meanwhile.key")
        os.chown(keys / "retired" / "mk_meanwhile.key", owns.st_uid, owns.st_gid)
        (keys / "retired" / "mk_meanwhile.key").chmod(0o600)
        turned = json.loads(made.worka("--output", "json", "treasury", "rotate-master-key", WORKA_TOKEN=token).stdout)
        assert (turned["finished"], turned["left"], turned["lost"]) == (True, 0, 0)
        assert back.post(back.ws("/data-key/rotate"))["done"] == 1, "and the door goes on with it"
    finally:
        made.stop()
        for path in made.home.parent.glob(made.home.name + "*"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def anyone_signs_in(made: Instance, password: str) -> str:
    """A session of the owner, under the key that is there now."""
    found = made.client().post("/v1/sessions", {"email": "o@lost.test", "password": password})
    return str(found["session_token"])
