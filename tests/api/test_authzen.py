"""The AuthZEN Authorization API 1.0 over our façade: what its specification demands, row by row of
docs/reference/authzen.md, and that it tells nobody anything that is not theirs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.governance.packs import attached
from tests.identity.test_http import token_of
from tests.plugins import catalogue
from tests.workspaces.world import World, make
from worka.api.app import create
from worka.governance import service
from worka.kernel.settings import Settings
from worka.workers.wiring import Runtime

NESTED = base64.urlsafe_b64encode(b"[" * 1450).decode()
"""Deeper than a reader of JSON goes, and no longer than a token may be."""
SEARCHES = ("subject", "resource", "action")
EFFECTS = {"publish": "external_side_effect", "read": "read_only", "save": "write"}


def asked(
    world: World, who: str = "member", action: str = "task.create", thing: str = "*", kind: str = ""
) -> dict[str, Any]:
    kind = kind or {"task.create": "workflow", "tool.invoke": "tool", "workspace.view": "workspace"}[action]
    return {
        "subject": {"type": "team_member" if who == "robot" else "person", "id": world.ids[who]},
        "action": {"name": action},
        "resource": {"type": kind, "id": thing},
    }


async def evaluation(door: httpx.AsyncClient, body: Any, **headers: str) -> httpx.Response:
    return await door.post("/access/v1/evaluation", json=body, headers=headers)


async def search(door: httpx.AsyncClient, what: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await door.post(f"/access/v1/search/{what}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def search_of(world: World, what: str) -> dict[str, Any]:
    """A whole request for a search."""
    body = asked(world, "member", "workspace.view", world.workspace_id)
    if what == "action":
        del body["action"]
    elif what == "subject":
        del body["subject"]["id"]
    else:
        del body["resource"]["id"]
    return body


# evaluation ---------------------------------------------------------------------------------------------------------
@pytest.mark.capability("AUT-1", part="over AuthZEN")
async def test_an_evaluation_is_a_boolean_and_the_answer_that_the_attempt_gets(
    door: httpx.AsyncClient, world: World
) -> None:
    await attached(world, "acme.notes", EFFECTS)
    found = {}
    for who in ("owner", "member", "viewer"):
        for tool in EFFECTS:
            answer = await evaluation(door, asked(world, who, "tool.invoke", f"acme.notes.{tool}"))
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
            assert set(answer.json()) == {"decision", "context"}
            found[who, tool] = (answer.json()["decision"], answer.json()["context"]["verdict"])
    assert found["member", "read"] == (True, "allow")
    assert found["viewer", "read"] == (False, "deny")
    assert found["member", "publish"] == (False, "ask"), "what needs an approval first may not go forward"


@pytest.mark.capability("AUT-10", "AUT-11", part="an AuthZEN answer is a decision record that replays")
async def test_an_answer_names_the_decision_that_holds_it_and_its_rules(door: httpx.AsyncClient, world: World) -> None:
    answer = (await evaluation(door, asked(world, "viewer"))).json()["context"]
    assert answer["code"] == "denied_by_access"
    assert answer["rules"] == ["access/no-permit"]
    assert answer["remedy"]
    record = (await door.get(f"/v1/decisions/{answer['decision_id']}")).json()
    assert (record["verdict"], record["principal_id"], record["asked_by"]) == (
        "deny", world.ids["viewer"], world.ids["owner"],
    )  # fmt: skip
    replay = (await door.get(f"/v1/decisions/{answer['decision_id']}/replay")).json()
    assert replay["same"] is True
    assert await world.events("access.denied") == [], "a question is no attempt"


async def test_properties_of_action_resource_and_context_are_facts_and_unknown_ones_are_ignored(
    door: httpx.AsyncClient, world: World
) -> None:
    invite = asked(world, "admin", "member.invite", world.workspace_id, "workspace")
    assert (await evaluation(door, invite)).json()["decision"] is True
    for place in ("action", "resource", "context"):
        body = json.loads(json.dumps(invite))
        target = body.setdefault("context", {}) if place == "context" else body[place].setdefault("properties", {})
        target |= {"role": "owner", "department": "sales", "levels": [{"deep": None}]}
        answer = (await evaluation(door, body)).json()
        assert answer["decision"] is False, place
        assert answer["context"]["ignored"] == ["department", "levels"]
    body = {**invite, "subject": {**invite["subject"], "properties": {"roles": ["owner"], "role": "owner"}}}
    assert (await evaluation(door, body)).json()["decision"] is True, "who somebody is, Worka knows itself"
    wrong = {**invite, "context": {"port": "a harbour"}}
    assert (await evaluation(door, wrong)).status_code == 400


async def test_what_is_known_of_a_thing_is_not_overridden_by_what_is_said_of_it(
    door: httpx.AsyncClient, world: World
) -> None:
    await attached(world, "acme.notes", EFFECTS)
    body = asked(world, "member", "tool.invoke", "acme.notes.publish")
    body["resource"]["properties"] = {"side_effect": "read_only"}
    answer = (await evaluation(door, body)).json()
    assert (answer["decision"], answer["context"]["ignored"]) == (False, ["side_effect"])


async def test_a_subject_acts_on_behalf_of_a_person(door: httpx.AsyncClient, world: World) -> None:
    await attached(world, "acme.notes", {"publish_notes": "read_only"})
    for behind, allowed in (("member", True), ("viewer", False)):
        body = asked(world, "robot", "tool.invoke", "acme.notes.publish_notes")
        body["subject"]["properties"] = {"on_behalf_of": world.ids[behind]}
        assert (await evaluation(door, body)).json()["decision"] is allowed


MISSING = ("subject", "action", "resource", "subject.type", "subject.id", "action.name", "resource.type", "resource.id")


@pytest.mark.parametrize("missing", MISSING)
async def test_a_question_that_is_not_whole_is_a_bad_request(
    door: httpx.AsyncClient, world: World, missing: str
) -> None:
    whole = asked(world)
    assert (await evaluation(door, whole)).status_code == 200, "the control"
    part, _, key = missing.partition(".")
    without = json.loads(json.dumps(whole))
    if key:
        del without[part][key]
    else:
        del without[part]
    mistyped = json.loads(json.dumps(whole))
    if key:
        mistyped[part][key] = 7
    else:
        mistyped[part] = "text"
    for body in (without, mistyped):
        for path in ("/access/v1/evaluation", "/access/v1/evaluations"):
            answer = await door.post(path, json=body)
            assert answer.status_code == 400, (path, body)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"]


async def test_a_body_that_is_no_json_object_of_that_kind_is_a_bad_request(
    door: httpx.AsyncClient, world: World
) -> None:
    text = json.dumps(asked(world))
    tries = {
        "no type": (text, ""), "text": (text, "text/plain"), "form": ("a=1", "application/x-www-form-urlencoded"),
        "not JSON": ("{", "application/json"), "nothing": ("", "application/json"), "array": (f"[{text}]", "application/json"),
        "text in JSON": ('"x"', "application/json"), "null": ("null", "application/json"),
    }  # fmt: skip
    for path in (
        "/access/v1/evaluation",
        "/access/v1/evaluations",
        *(f"/access/v1/search/{what}" for what in SEARCHES),
    ):
        for why, (content, kind) in tries.items():
            answer = await door.post(path, content=content, headers={"Content-Type": kind} if kind else {})
            assert answer.status_code == 400, (path, why, answer.text)
    right = await door.post("/access/v1/evaluation", content=text, headers={"Content-Type": "application/json"})
    assert right.status_code == 200, "the control"


async def test_members_that_we_do_not_know_are_ignored_and_their_order_means_nothing(
    door: httpx.AsyncClient, world: World
) -> None:
    whole = asked(world)
    more = {
        "zzz": {"a": [1]}, "context": {"time": "1985-10-26T01:22-07:00"},
        "resource": {"more": 1, "id": "*", "type": "workflow"}, "action": {"more": None, **whole["action"]},
        "subject": {**dict(reversed(whole["subject"].items())), "properties": {"department": "sales"}, "more": True},
    }  # fmt: skip
    assert (
        (await evaluation(door, more)).json()["decision"] is (await evaluation(door, whole)).json()["decision"] is True
    )


async def test_the_askers_own_name_for_a_request_is_on_the_answer(door: httpx.AsyncClient, world: World) -> None:
    name = "bfe9eb29-ab87-4ca3-be83-a1d5d8305716 of mine"
    paths = {"/access/v1/evaluation": asked(world), "/access/v1/evaluations": {"evaluations": [asked(world)]}}
    paths |= {f"/access/v1/search/{what}": search_of(world, what) for what in SEARCHES}
    for path, body in paths.items():
        answer = await door.post(path, json=body, headers={"X-Request-ID": name})
        assert (answer.status_code, answer.headers["x-request-id"]) == (200, name), path
    bad = await evaluation(door, {}, **{"X-Request-ID": name})
    assert (bad.status_code, bad.headers["x-request-id"]) == (400, name)
    ours = await evaluation(door, asked(world))
    assert re.fullmatch(r"[0-9a-f]{32}", ours.headers["x-request-id"]), "without one there is ours"


# several at once ----------------------------------------------------------------------------------------------------
async def test_several_questions_are_answered_in_their_order_with_the_defaults_of_the_top(
    door: httpx.AsyncClient, world: World
) -> None:
    body = {
        **{k: v for k, v in asked(world, "viewer").items() if k != "resource"},
        "context": {"role": "owner"},
        "evaluations": [
            {"resource": {"type": "workflow", "id": "*"}},
            {"resource": {"type": "workspace", "id": world.workspace_id}, "action": {"name": "workspace.view"}},
            asked(world, "admin", "member.invite", world.workspace_id, "workspace"),
            {**asked(world, "admin", "member.invite", world.workspace_id, "workspace"), "context": {}},
        ],
    }
    answer = (await door.post("/access/v1/evaluations", json=body)).json()
    assert set(answer) == {"evaluations"}
    assert [one["decision"] for one in answer["evaluations"]] == [False, True, False, True]


async def test_an_empty_evaluation_takes_everything_from_the_top(door: httpx.AsyncClient, world: World) -> None:
    answer = (await door.post("/access/v1/evaluations", json={**asked(world), "evaluations": [{}, {}]})).json()
    assert [one["decision"] for one in answer["evaluations"]] == [True, True]


async def test_without_evaluations_it_is_one_question(door: httpx.AsyncClient, world: World) -> None:
    for body in (asked(world), {**asked(world), "evaluations": []}):
        answer = (await door.post("/access/v1/evaluations", json=body)).json()
        assert answer["decision"] is True
        assert "evaluations" not in answer
    assert (await door.post("/access/v1/evaluations", json={"evaluations": []})).status_code == 400


async def test_a_question_among_others_that_is_not_whole_is_closed_and_says_why(
    door: httpx.AsyncClient, world: World
) -> None:
    for broken in (
        {"resource": None},
        {"resource": {"type": "workflow"}},
        {"subject": "x"},
        {"context": {"port": "x"}},
    ):
        items = [asked(world), {**asked(world), **broken}, asked(world)]
        answer = await door.post("/access/v1/evaluations", json={"evaluations": items})
        assert answer.status_code == 200, broken
        said = answer.json()["evaluations"]
        assert [one["decision"] for one in said] == [True, False, True]
        assert said[1]["context"]["error"]["status"] == 400
    top = {k: v for k, v in asked(world).items() if k != "subject"}
    said = (await door.post("/access/v1/evaluations", json={**top, "evaluations": [{}]})).json()["evaluations"]
    assert said[0]["decision"] is False
    assert "subject" in said[0]["context"]["error"]["message"]


@pytest.mark.parametrize(
    ("semantic", "answers"),
    [
        ("execute_all", [True, False, True, False]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
        (None, [True, False, True, False]),
    ],
)
async def test_the_three_semantics_of_a_batch(
    door: httpx.AsyncClient, world: World, semantic: str | None, answers: list[bool]
) -> None:
    items = [asked(world, who) for who in ("member", "viewer", "owner", "viewer")]
    options = {"another_option": 1, **({"evaluations_semantic": semantic} if semantic else {})}
    body = {"evaluations": items, "options": options}
    answer = (await door.post("/access/v1/evaluations", json=body)).json()
    assert [one["decision"] for one in answer["evaluations"]] == answers
    if semantic == "permit_on_first_permit":
        body["evaluations"] = items[1:]
        answer = (await door.post("/access/v1/evaluations", json=body)).json()
        assert [one["decision"] for one in answer["evaluations"]] == [False, True]
    body["options"] = {"evaluations_semantic": "all_of_them"}
    assert (await door.post("/access/v1/evaluations", json=body)).status_code == 400


async def test_a_batch_has_a_most_and_says_so(door: httpx.AsyncClient, world: World) -> None:
    body = {**asked(world), "evaluations": [{}] * 201}
    assert (await door.post("/access/v1/evaluations", json=body)).status_code == 400


# searching ----------------------------------------------------------------------------------------------------------
@pytest.mark.capability("AUT-12", part="over AuthZEN")
async def test_a_search_finds_all_of_its_type_and_each_result_evaluates_to_true(
    door: httpx.AsyncClient, world: World
) -> None:
    await attached(world, "acme.notes", EFFECTS)
    subjects = asked(world, "member", "tool.invoke", "acme.notes.read")
    found = await search(door, "subject", {**subjects, "subject": {"type": "person"}})
    assert {row["id"] for row in found["results"]} == {world.ids[who] for who in ("owner", "admin", "member")}
    assert {row["type"] for row in found["results"]} == {"person"}
    for row in found["results"]:
        assert (await evaluation(door, {**subjects, "subject": row})).json()["decision"] is True
    things = await search(door, "resource", {**subjects, "resource": {"type": "tool"}})
    assert [row["id"] for row in things["results"]] == ["acme.notes.read", "acme.notes.save"]
    for row in things["results"]:
        assert (await evaluation(door, {**subjects, "resource": row})).json()["decision"] is True
    doings = await search(door, "action", {"subject": subjects["subject"], "resource": subjects["resource"]})
    assert doings["results"] == [{"name": "tool.invoke"}]
    for whole in (found, things, doings):
        assert whole["page"] == {"next_token": "", "count": len(whole["results"])}


async def test_the_id_of_what_is_searched_for_is_ignored_and_its_type_is_not(
    door: httpx.AsyncClient, world: World
) -> None:
    for what in ("subject", "resource"):
        body = search_of(world, what)
        without = await search(door, what, body)
        assert without["results"]
        for some_id in (world.ids["viewer"], "nobody", ""):
            body[what]["id"] = some_id
            assert (await search(door, what, body))["results"] == without["results"]
        del body[what]["type"]
        assert (await door.post(f"/access/v1/search/{what}", json=body)).status_code == 400


@pytest.mark.parametrize("what", SEARCHES)
async def test_a_search_without_one_of_its_parts_is_a_bad_request(
    door: httpx.AsyncClient, world: World, what: str
) -> None:
    whole = search_of(world, what)
    await search(door, what, whole)
    for part in set(whole):
        without = {k: v for k, v in whole.items() if k != part}
        assert (await door.post(f"/access/v1/search/{what}", json=without)).status_code == 400, part
        for key in whole[part]:
            cut = {**whole, part: {k: v for k, v in whole[part].items() if k != key}}
            assert (await door.post(f"/access/v1/search/{what}", json=cut)).status_code == 400, (part, key)
    other = {**whole, "action": {"name": "x"}} if what == "action" else whole
    assert (await search(door, what, other))["results"], "an action search has no action; one is ignored"


async def test_nothing_that_is_known_is_found_as_nothing_and_no_error(door: httpx.AsyncClient, world: World) -> None:
    nobody = {"type": "person", "id": "per_" + "7" + "z" * 25}
    for what in SEARCHES:
        whole = search_of(world, what)
        bent = [{**whole, "resource": {**whole["resource"], "type": "spaceship"}}]
        if what != "resource":
            bent.append({**whole, "resource": {"type": "workspace", "id": "ws_" + "7" + "z" * 25}})
        if what != "action":
            bent.append({**whole, "action": {"name": "ship.launch"}})
        bent.append({**whole, "subject": {"type": "alien"} if what == "subject" else nobody})
        for body in bent:
            found = await search(door, what, body)
            assert found == {"page": {"next_token": "", "count": 0}, "results": []}, body


@pytest.mark.capability("AUT-12", part="over AuthZEN, page by page to the end")
@pytest.mark.parametrize("what", SEARCHES)
async def test_pages_go_on_by_an_opaque_token_until_an_empty_one(
    door: httpx.AsyncClient, world: World, what: str
) -> None:
    for number in range(7):
        await world.person(f"p{number}")
        await world.join(f"p{number}", "member")
    await attached(world, "acme.notes", {f"t{number}": "read_only" for number in range(7)})
    body = search_of(world, what)
    if what == "resource":
        body |= {"action": {"name": "tool.invoke"}, "resource": {"type": "tool"}}
    whole = await search(door, what, body)
    assert whole["page"]["next_token"] == ""
    assert len(whole["results"]) > 4
    seen: list[Any] = []
    page: dict[str, Any] = {"limit": 2}
    for _ in range(100):
        found = await search(door, what, {**body, "page": page})
        seen += found["results"]
        assert found["page"]["count"] == len(found["results"]) <= 2
        if not found["page"]["next_token"]:
            break
        assert len(found["results"]) == 2
        # The limit may be said again, as it was, or left out.
        page = {"token": found["page"]["next_token"], **({"limit": 2} if len(seen) % 4 else {})}
    assert seen == whole["results"]


@pytest.mark.parametrize("what", SEARCHES)
async def test_a_token_belongs_to_its_request_its_limit_and_its_asker(
    door: httpx.AsyncClient, world: World, what: str
) -> None:
    body = search_of(world, what)
    if what == "resource":
        await attached(world, "acme.notes", EFFECTS)
        body |= {"action": {"name": "tool.invoke"}, "resource": {"type": "tool"}}
    first = await search(door, what, {**body, "page": {"limit": 1}})
    token = first["page"]["next_token"]
    assert token
    path = f"/access/v1/search/{what}"
    again = await door.post(path, json={**body, "page": {"token": token}})
    assert again.status_code == 200, "the control"
    bent: list[dict[str, Any]] = [
        {**body, "page": {"token": token, "limit": 2}},
        {**body, "context": {"port": 1}, "page": {"token": token}},
        {**body, "page": {"token": token[:-1] + ("0" if token[-1] != "0" else "1")}},
        {**body, "page": {"token": "a" + token[1:] if token[0] != "a" else "b" + token[1:]}},
        {**body, "page": {"token": "x"}},
        {**body, "page": {"token": f"{NESTED}.{'0' * 32}"}},
        {**body, "page": {"token": f"{base64.urlsafe_b64encode(b'[1, 2, 3]').decode()}.{'0' * 32}"}},
        {**body, "page": {"token": "\N{SNOWMAN}.\N{SNOWMAN}"}},
    ]
    if what != "subject":
        bent.append({**body, "subject": {"type": "person", "id": world.ids["owner"]}, "page": {"token": token}})
    for wrong in bent:
        answer = await door.post(path, json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_page_token"), wrong
    theirs = await door.post(path, json={**body, "page": {"token": token}}, headers=await token_of(world, "admin"))
    assert (theirs.status_code, theirs.json()["code"]) == (400, "bad_page_token")


async def test_a_limit_of_nothing_gives_nothing_and_says_that_there_is_more(
    door: httpx.AsyncClient, world: World
) -> None:
    found = await search(door, "subject", {**search_of(world, "subject"), "page": {"limit": 0}})
    assert (found["results"], found["page"]["count"]) == ([], 0)
    assert found["page"]["next_token"]
    for wrong in (-1, 1.5, "1", True):
        body = {**search_of(world, "subject"), "page": {"limit": wrong}}
        assert (await door.post("/access/v1/search/subject", json=body)).status_code == 400, wrong


# who may ask --------------------------------------------------------------------------------------------------------
async def test_without_a_credential_nothing_is_answered(door: httpx.AsyncClient, world: World) -> None:
    paths = {"/access/v1/evaluation": asked(world), "/access/v1/evaluations": {"evaluations": [asked(world)]}}
    paths |= {f"/access/v1/search/{what}": search_of(world, what) for what in SEARCHES}
    for path, body in paths.items():
        for bad in ("", "Bearer wkt_nothing"):
            door.headers["Authorization"] = bad
            if not bad:
                del door.headers["Authorization"]
            answer = await door.post(path, json=body)
            assert answer.status_code == 401, path
            assert answer.headers["WWW-Authenticate"].startswith("Bearer realm=")


@pytest.mark.capability("AUT-12", part="over AuthZEN, about others only for readers of evidence")
async def test_a_member_asks_about_itself_and_not_about_others(door: httpx.AsyncClient, world: World) -> None:
    mine = await token_of(world, "member")
    own = await evaluation(door, asked(world, "member"), **mine)
    assert (own.status_code, own.json()["decision"]) == (200, True)
    nobody = {**asked(world), "subject": {"type": "person", "id": "per_" + "7" + "z" * 25}}
    for body in (asked(world, "owner"), nobody):
        answer = await evaluation(door, body, **mine)
        assert (answer.status_code, answer.json().get("code")) == (403, "denied"), "whether there is such a one or not"
    batch = {"evaluations": [asked(world, "member"), asked(world, "owner"), nobody]}
    said = (await door.post("/access/v1/evaluations", json=batch, headers=mine)).json()["evaluations"]
    assert [one["decision"] for one in said] == [True, False, False]
    assert said[1]["context"]["error"]["status"] == said[2]["context"]["error"]["status"] == 403
    none = await door.post("/access/v1/evaluations", json={"evaluations": batch["evaluations"][1:]}, headers=mine)
    assert none.status_code == 403
    found = await door.post("/access/v1/search/subject", json=search_of(world, "subject"), headers=mine)
    assert found.status_code == 403
    assert (
        await door.post("/access/v1/search/action", json=search_of(world, "action"), headers=mine)
    ).status_code == 200


@pytest.mark.capability(
    "DEP-10", part="AuthZEN: what is of another tenant, of another workspace or unknown is one answer"
)
async def test_what_is_elsewhere_or_unknown_is_one_and_the_same_false(door: httpx.AsyncClient, world: World) -> None:
    other = await make(world.db, world.settings.home)
    theirs = await attached(other, "bolt.secret", EFFECTS)
    ours = await attached(world, "acme.notes", EFFECTS)
    control = asked(world, "owner", "pack.detach", ours, "attachment")
    assert (await evaluation(door, control)).json()["decision"] is True
    unknown = "att_" + "7" + "z" * 25
    bodies = [
        asked(world, "owner", "pack.detach", theirs, "attachment"),
        asked(world, "owner", "pack.detach", unknown, "attachment"),
        asked(other, "owner", "pack.detach", ours, "attachment"),
        {**control, "subject": {"type": "person", "id": "per_" + "7" + "z" * 25}},
        {**control, "subject": {"type": "team_member", "id": world.ids["owner"]}},
        asked(world, "owner", "tool.invoke", "bolt.secret.read"),
        asked(world, "owner", "workspace.view", other.workspace_id),
        {**control, "action": {"name": "ship.launch"}},
        {**control, "action": {"name": "task.view"}},
        {**control, "resource": {**control["resource"], "properties": {"workspace_id": other.workspace_id}}},
    ]
    answers = [(await evaluation(door, body)).json() for body in bodies]
    assert answers == [answers[0]] * len(bodies)
    assert answers[0]["decision"] is False
    assert answers[0]["context"]["code"] == "not_found"
    assert await world.rows("decision", "resource_id = any(%s)", [theirs, unknown]) == []


async def test_a_policy_is_seen_by_the_very_next_question(door: httpx.AsyncClient, world: World) -> None:
    forbid = '@reason("Closed.") forbid(principal, action == Worka::Action::"task.create", resource);'
    assert (await evaluation(door, asked(world))).json()["decision"] is True
    await service.save_policy(world.ctx("owner"), world.workspace_id, "access", forbid, "")
    answer = (await evaluation(door, asked(world))).json()
    assert (answer["decision"], answer["context"]["reason"]) == (False, "Closed.")
    assert (await search(door, "subject", {**asked(world), "subject": {"type": "person"}}))["results"] == []


# metadata -----------------------------------------------------------------------------------------------------------
@pytest.fixture
async def public(world: World, cluster: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The door of an instance that is known by an https address."""
    settings = Settings(
        home=world.settings.home,
        database={"url": cluster.urls.app},  # type: ignore[arg-type]
        http={"public_url": "https://worka.example.org"},  # type: ignore[arg-type]
    )
    runtime = Runtime(settings, "serve")
    await runtime.db.open()
    transport = httpx.ASGITransport(app=create(runtime), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="https://worka.example.org") as client:
        yield client
    await runtime.db.close()


WELL_KNOWN = "/.well-known/authzen-configuration"


async def test_the_metadata_are_where_the_specification_says_without_a_credential(public: httpx.AsyncClient) -> None:
    answer = await public.get(WELL_KNOWN)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"].startswith("max-age=")
    found = answer.json()
    assert found == {
        "policy_decision_point": "https://worka.example.org",
        "access_evaluation_endpoint": "https://worka.example.org/access/v1/evaluation",
        "access_evaluations_endpoint": "https://worka.example.org/access/v1/evaluations",
        "search_subject_endpoint": "https://worka.example.org/access/v1/search/subject",
        "search_resource_endpoint": "https://worka.example.org/access/v1/search/resource",
        "search_action_endpoint": "https://worka.example.org/access/v1/search/action",
    }
    assert all(value not in (None, "", [], {}) for value in found.values()), "what has no value is left out"
    assert (await public.post(WELL_KNOWN, json={})).status_code == 405


async def test_the_endpoints_that_the_metadata_name_answer(public: httpx.AsyncClient, world: World) -> None:
    found = (await public.get(WELL_KNOWN)).json()
    mine = await token_of(world, "owner")
    bodies = {"access_evaluation": asked(world), "access_evaluations": {"evaluations": [asked(world)]}}
    bodies |= {f"search_{what}": search_of(world, what) for what in SEARCHES}
    for name, body in bodies.items():
        answer = await public.post(found[f"{name}_endpoint"], json=body, headers=mine)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), name


async def test_without_a_public_address_the_metadata_name_the_one_that_was_asked(door: httpx.AsyncClient) -> None:
    found = (await door.get(WELL_KNOWN)).json()
    assert found["policy_decision_point"] == "http://127.0.0.1"


def test_an_instance_listens_on_this_machine_alone_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).http.host == "127.0.0.1", "TLS ends at the proxy in front of it"


# the table ----------------------------------------------------------------------------------------------------------
def test_every_demand_of_the_specification_is_a_row_that_names_a_test_which_exists() -> None:
    page = (catalogue.CHECKOUT / "docs" / "reference" / "authzen.md").read_text()
    rows = [line for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 40
    own = (catalogue.CHECKOUT / "tests" / "api" / "test_authzen.py").read_text()
    binding = 0
    for row in rows:
        last = row.rstrip(" |").rpartition("|")[2].strip()
        if last == "the asking side":
            continue
        names = re.findall(r"`(test_\w+)`", last)
        assert names, row
        for name in names:
            assert re.search(rf"^(async )?def {name}\(", own, re.MULTILINE), f"{name} is not a test of this file"
        binding += 1
    assert binding >= 35
