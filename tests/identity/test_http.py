"""The doors of identity, workspaces, governance and approvals over HTTP, each principal with its own credential."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.governance.test_layers import another_workspace
from tests.workspaces.world import TOOL, World, make
from worka.api.app import create
from worka.approvals import service as approvals
from worka.governance import decisions
from worka.governance.errors import DecisionNotFound
from worka.identity import passwords, rules, service, store
from worka.kernel.context import Resource
from worka.kernel.ids import new_id
from worka.kernel.settings import Settings
from worka.workers.wiring import Runtime

PASSWORD = "correct horse battery"


@pytest.fixture
async def door(world: World, cluster: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The real application on the world's database and keys."""
    settings = Settings(home=world.settings.home, database={"url": cluster.urls.app})  # type: ignore[arg-type]
    runtime = Runtime(settings, "serve")
    await runtime.db.open()
    transport = httpx.ASGITransport(app=create(runtime), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client
    await runtime.db.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def token_of(world: World, who: str) -> dict[str, str]:
    """A session of somebody, as a header."""
    async with world.nobody().transaction():
        pass
    ctx = world.nobody()
    async with ctx.transaction() as conn:
        person = await store.person(conn, world.ids[who])
        assert person is not None
        session = await service.open_session(ctx, person, "test")
    return bearer(session["session_token"])


@pytest.mark.capability("DOR-1", part="people, tenants, tokens and rights over HTTP")
@pytest.mark.capability("IDN-1", "IDN-2", part="each principal with its own credential over HTTP")
async def test_from_an_operators_sign_in_to_a_team_members_token(door: httpx.AsyncClient, world: World) -> None:
    await world.person("boss", operator=True, password_hash=await passwords.hash_password(PASSWORD))
    async with world.db.transaction(None) as conn:
        boss = await store.person(conn, world.ids["boss"])
    assert boss is not None
    wrong = await door.post("/v1/sessions", json={"email": boss["email"], "password": "no, not this"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "bad_sign_in")
    signed = await door.post("/v1/sessions", json={"email": boss["email"], "password": PASSWORD})
    assert signed.status_code == 201, signed.text
    operator = bearer(signed.json()["session_token"])

    slug = new_id("ten")[4:]
    made = await door.post(
        "/v1/tenants",
        headers=operator,
        json={"slug": slug, "name": "Acme", "workspace_name": "Main", "owner_email": f"{slug}@example.org"},
    )
    assert made.status_code == 201, made.text
    workspace = f"/v1/workspaces/{made.json()['workspace_id']}"
    assert (await door.get(workspace, headers=operator)).status_code == 404, "the operator has no part in it"

    accepted = await door.post(
        "/v1/invitations/accept",
        json={"token": made.json()["invitation_token"], "password": PASSWORD, "display_name": "Olga"},
    )
    assert accepted.status_code == 201, accepted.text
    owner = bearer(accepted.json()["session_token"])
    me = (await door.get("/v1/me", headers=owner)).json()
    assert (me["kind"], me["name"], [entry["role"] for entry in me["workspaces"]]) == ("person", "Olga", ["owner"])
    access = (await door.get(f"{workspace}/access", headers=owner)).json()
    assert access["role"] == "owner"
    assert all(access["permissions"].values())

    member = await door.post(
        f"{workspace}/team-members",
        headers=owner,
        json={"name": "scribe", "responsibility": "writes notes", "tools": ["acme.notes.compose"]},
    )
    assert member.status_code == 201, member.text
    issued = await door.post(
        f"{workspace}/tokens", headers=owner, json={"name": "scribe", "principal_id": member.json()["id"]}
    )
    robot = bearer(issued.json()["token"])
    me = (await door.get("/v1/me", headers=robot)).json()
    assert (me["kind"], me["tools"]) == ("team_member", ["acme.notes.compose"])
    refused = await door.post(
        f"{workspace}/invitations", headers=robot, json={"email": "x@example.org", "role": "viewer"}
    )
    assert (refused.status_code, refused.json().get("code")) == (403, "denied")
    told = await door.get(f"/v1/decisions/{refused.json()['decision_id']}", headers=robot)
    assert (told.status_code, told.json()["reader"]) == (200, "concerned")
    evidence = await door.get(f"/v1/decisions/{refused.json()['decision_id']}", headers=owner)
    assert (evidence.json()["reader"], evidence.json()["replay"]["same"]) == ("evidence", True)

    assert (await door.delete(f"/v1/tokens/{issued.json()['token_id']}", headers=owner)).status_code == 204
    assert (await door.get("/v1/me", headers=robot)).status_code == 401
    link = (await door.post("/v1/sign-in-links", headers=owner)).json()
    assert link["url"].endswith(f"/sign-in?link={link['token']}")
    assert (await door.get("/v1/me", headers=bearer(link["token"]))).status_code == 401, "a link is no credential"
    assert (await door.delete("/v1/sessions/current", headers=owner)).status_code == 204
    assert (await door.get("/v1/me", headers=owner)).status_code == 401


@pytest.mark.capability("IDN-9", "IDN-14", part="over HTTP")
async def test_a_viewer_reads_and_every_change_is_refused(door: httpx.AsyncClient, world: World) -> None:
    viewer, owner = await token_of(world, "viewer"), await token_of(world, "owner")
    base = f"/v1/workspaces/{world.workspace_id}"
    for path in ("", "/access", "/members", "/team-members", "/policies", "/approvals"):
        assert (await door.get(base + path, headers=viewer)).status_code == 200, path
    changes: dict[str, dict[str, Any]] = {
        "/invitations": {"email": "x@example.org", "role": "viewer"},
        "/team-members": {"name": "x", "responsibility": "x"},
        "/tokens": {"name": "x"},
        "/policies": {"kind": "governance", "text": ""},
    }
    for path, body in changes.items():
        assert (await door.post(base + path, headers=viewer, json=body)).status_code == 403, path
        assert (await door.post(base + path, headers=owner, json=body)).status_code == 201, path
    stranger = await token_of(world, "stranger")
    assert (await door.get(base, headers=stranger)).status_code == 404


@pytest.mark.capability("DEP-10", part="a workspace of others does not exist at the door")
async def test_a_workspace_of_others_is_not_found_whoever_asks(door: httpx.AsyncClient, world: World) -> None:
    """The same answer as for one that does not exist, to a stranger and to an owner of another tenant."""
    other = await make(world.db, world.settings.home)
    theirs = [await token_of(world, "stranger"), await token_of(other, "owner")]
    unknown = f"/v1/workspaces/{new_id('ws')}"
    for path in ("", "/access", "/members", "/approvals", "/tasks"):
        base = f"/v1/workspaces/{world.workspace_id}{path}"
        for headers in theirs:
            answers = [await door.get(url, headers=headers) for url in (base, unknown + path)]
            assert [answer.status_code for answer in answers] == [404, 404], path
            first, second = ({**answer.json(), "request_id": ""} for answer in answers)
            assert first == second, "the difference would tell that it exists"
        assert (await door.get(base, headers=await token_of(world, "owner"))).status_code == 200, "the control"


@pytest.mark.capability("DEP-10", part="a tenant of others does not exist at the door")
async def test_a_tenant_of_others_is_not_found_whoever_asks(door: httpx.AsyncClient, world: World) -> None:
    other = await make(world.db, world.settings.home)
    owner = await token_of(world, "owner")
    for tenant in (other.tenant_id, new_id("ten"), "x"):
        refused = await door.get("/v1/me", headers={**owner, "Worka-Tenant": tenant})
        assert (refused.status_code, refused.json().get("code")) == (404, "tenant_not_found"), tenant
    assert (await door.get("/v1/me", headers={**owner, "Worka-Tenant": world.tenant_id})).status_code == 200


@pytest.mark.capability("IDN-2", part="a token reaches only the workspace it is bound to, also by an id")
async def test_a_token_holds_nothing_in_another_workspace_of_its_person(door: httpx.AsyncClient, world: World) -> None:
    elsewhere = await another_workspace(world)
    session = await token_of(world, "owner")
    asked = {"boundary": "connection.create", "subject_type": "connection", "subject_id": "conn_x", "title": "Connect",
             "effect": "reads", "digest": "d" * 64, "card": {}, "arguments": b"{}", "rules": ["approve:1"],
             "decision_id": "dec_x", "policy_version": "p", "blocks": []}  # fmt: skip
    approval = await approvals.request(
        replace(world.ctx("admin"), workspace_id=elsewhere), action="connection.create", **asked
    )
    made = await door.post(f"/v1/workspaces/{world.workspace_id}/tokens", headers=session, json={"name": "cli"})
    token, path = bearer(made.json()["token"]), f"/v1/approvals/{approval['id']}"
    refused = await door.get(path, headers=token)
    assert (refused.status_code, refused.json().get("code")) == (403, "denied")
    assert "bound to another workspace" in refused.json()["detail"]
    decided = await door.post(f"{path}/decisions", headers=token, json={"decision": "approve", "digest": "d" * 64})
    assert decided.status_code == 403
    assert [row["id"] for row in (await door.get("/v1/workspaces", headers=token)).json()["items"]] == [
        world.workspace_id
    ]
    assert (await door.get(path, headers=session)).status_code == 200, "the control: the same person's session"
    own = await door.post(f"/v1/workspaces/{elsewhere}/tokens", headers=session, json={"name": "there"})
    assert (await door.get(path, headers=bearer(own.json()["token"]))).status_code == 200, (
        "and a token of that workspace"
    )


@pytest.mark.capability("IDN-2", part="a token of one workspace does nothing to the whole tenant")
async def test_a_token_of_one_workspace_changes_and_tries_nothing_of_the_whole_tenant(
    door: httpx.AsyncClient, world: World
) -> None:
    base, session = f"/v1/workspaces/{world.workspace_id}", await token_of(world, "owner")
    token = bearer((await door.post(f"{base}/tokens", headers=session, json={"name": "cli"})).json()["token"])
    stop = {"kind": "destination", "subject": "evil.example", "reason": "it leaks", "everywhere": True}
    limit = {"layer": "tenant", "scope": "tenant", "name": "requests_per_minute", "value": 5000, "reason": "enough"}
    acts: list[tuple[str, dict[str, Any], int]] = [
        ("policies", {"kind": "governance", "text": ""}, 201),
        ("policy-dry-runs", {"kind": "governance", "text": ""}, 200),
        ("kills", stop, 201),
        ("limits", limit, 200),
    ]

    async def came(headers: dict[str, str], path: str, body: dict[str, Any]) -> httpx.Response:
        return await door.post(f"{base}/{path}", headers=headers, json=body)

    for path, body, status in acts:
        alone = await came(token, path, body)
        assert alone.status_code == status, f"the tenant's only workspace is all of it: {alone.text}"
    await another_workspace(world)
    for path, body, status in acts:
        refused = await came(token, path, body)
        assert (refused.status_code, refused.json().get("code")) == (403, "denied"), (path, refused.text)
        assert "bound to one workspace" in refused.json()["detail"]
        body |= {"subject": "worse.example"} if path == "kills" else {}
        free = await came(session, path, body)
        assert free.status_code == status, f"the control, the same person's session: {free.text}"
    here = await came(token, "kills", {**stop, "subject": "here.example", "everywhere": False})
    assert here.status_code == 201, "in its own workspace it goes on"
    # An operator's part in the deployment is no role of a workspace, and no workspace's token takes it away.
    await world.person("boss", operator=True)
    await world.join("boss", "member")
    boss = await token_of(world, "boss")
    own = bearer((await door.post(f"{base}/tokens", headers=boss, json={"name": "ops"})).json()["token"])
    assert (await door.get("/v1/deployment/limits", headers=own)).status_code == 200
    assert (await came(own, "policies", acts[0][1])).status_code == 403


@pytest.mark.capability("IDN-2", part="a token of one workspace reads no decision of another")
async def test_a_token_reads_no_decision_of_another_workspace(door: httpx.AsyncClient, world: World) -> None:
    elsewhere = await another_workspace(world)
    session = await token_of(world, "owner")
    tokens = [
        bearer(
            (await door.post(f"/v1/workspaces/{place}/tokens", headers=session, json={"name": "cli"})).json()["token"]
        )
        for place in (world.workspace_id, elsewhere)
    ]
    for who in ("member", "owner"):  # somebody's, and the reader's own
        ctx = replace(world.ctx(who), workspace_id=elsewhere)
        tool = Resource("tool", TOOL, elsewhere, {"side_effect": "external_side_effect"})
        decision = await ctx.decide("tool.invoke", tool)
        path = f"/v1/decisions/{decision.id}"
        found = [await door.get(path, headers=headers) for headers in (*tokens, session)]
        assert [answer.status_code for answer in found] == [404, 200, 200], who
        assert [answer.json()["reader"] for answer in found[1:]] == ["evidence"] * 2, "the controls"
        with pytest.raises(DecisionNotFound):
            await decisions.replayed(replace(world.ctx("owner"), bound_to=world.workspace_id), decision.id)
        assert (await decisions.replayed(replace(world.ctx("owner"), bound_to=elsewhere), decision.id))["same"]


@pytest.mark.capability("APR-4", "APR-5", part="over HTTP")
async def test_the_requesters_own_try_is_refused_with_the_reason_and_the_approver_decides(
    door: httpx.AsyncClient, world: World
) -> None:
    ctx = world.ctx("admin")
    approval = await approvals.request(
        ctx, boundary="connection.create", action="connection.create", subject_type="connection", subject_id="conn_x",
        title="Connect the tracker", effect="reads issues", digest="d" * 64, card={"host": "tracker"},
        arguments=b'{"host": "tracker"}', rules=["approve:1"], decision_id="dec_x", policy_version="p", blocks=[],
    )  # fmt: skip
    path = f"/v1/approvals/{approval['id']}"
    admin, approver = await token_of(world, "admin"), await token_of(world, "approver")
    body = {"decision": "approve", "digest": approval["digest"]}
    own = await door.post(f"{path}/decisions", headers=admin, json=body)
    assert (own.status_code, own.json()["code"]) == (403, "not_eligible")
    assert "You asked for it" in own.json()["detail"]
    assert own.json()["who_could"] == ["owner", "approver"]
    stale = await door.post(f"{path}/decisions", headers=approver, json={**body, "digest": "e" * 64})
    assert (stale.status_code, stale.json()["code"]) == (409, "digest_changed")
    assert (await door.post(f"{path}/decisions", headers=approver, json={"decision": "approve"})).status_code == 422
    done = await door.post(f"{path}/decisions", headers=approver, json=body)
    assert (done.status_code, done.json()["state"]) == (200, "approved"), done.text
    why = await door.get(f"{path}/why", headers=admin)
    assert (why.status_code, why.json()["state"]) == (200, "approved")
    stranger = await token_of(world, "stranger")
    assert (await door.get(path, headers=stranger)).status_code in (404, 422)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8080", None])
async def test_a_session_cookie_changes_nothing_for_a_page_of_another_origin(
    door: httpx.AsyncClient, world: World, origin: str | None
) -> None:
    """Through the API too: a browser sends the cookie by itself. The control: from our own origin, and by a header."""
    session = (await token_of(world, "owner"))["Authorization"].partition(" ")[2]
    path, body = f"/v1/workspaces/{world.workspace_id}/invitations", {"email": "x@example.org", "role": "viewer"}
    cookie = {"Cookie": f"worka_session={session}"}
    refused = await door.post(path, headers=cookie | ({"Origin": origin} if origin else {}), json=body)
    assert (refused.status_code, refused.json().get("code")) == (401, "cross_site_refused")
    assert await world.events("workspace.member.invited") == []
    assert (await door.get(path.removesuffix("/invitations"), headers=cookie)).status_code == 200, "reading is harmless"
    ours = await door.post(path, headers=cookie | {"Origin": "http://localhost"}, json=body)
    assert ours.status_code == 201, ours.text
    other = {**body, "email": "y@example.org"}
    named = await door.post(path, headers=bearer(session) | {"Origin": "https://evil.example"}, json=other)
    assert named.status_code == 201, "who sends the credential by itself is not a browser that was tricked"


async def test_a_policy_fault_names_statement_and_line(door: httpx.AsyncClient, world: World) -> None:
    owner = await token_of(world, "owner")
    answer = await door.post(
        f"/v1/workspaces/{world.workspace_id}/policies",
        headers=owner,
        json={"kind": "governance", "text": "\n\npermit(principal, action, resource);"},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_policy")
    assert answer.json()["errors"] == [{"statement": 1, "line": 3, "message": answer.json()["errors"][0]["message"]}]


async def test_too_many_sign_ins_say_when_to_retry(door: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PAIR", rules.Limit("pair", 1, 60))
    body = {"email": "nobody@example.org", "password": "whatever it is"}
    assert (await door.post("/v1/sessions", json=body)).status_code == 401
    limited = await door.post("/v1/sessions", json=body)
    assert limited.status_code == 429
    assert 0 < int(limited.headers["retry-after"]) <= 60
