"""`worka egress` on a running instance: read, followed, tried, replayed, governed, and from a refusal to a release."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.forks import typed
from tests.support.instance import Instance, staged
from tests.support.leading import recorded
from worka.broker.ca import Authority
from worka.cli.demo import CANARY, Demo
from worka.cli.demo_surroundings import TRACKER

pytestmark = [pytest.mark.timeout(300), pytest.mark.capability("DOR-2", part="what goes outside")]


@pytest.fixture(scope="module")
def stage(instance: Instance, repository: Path) -> Iterator[Demo]:
    """A workspace of this file's own: one of its packs moves to a later release, and its policy changes."""
    with staged(instance, repository) as demo:
        yield demo


@pytest.fixture
def me(stage: Demo) -> dict[str, str]:
    """The owner, by environment."""
    return {"WORKA_TOKEN": str(stage.owner.token), "WORKA_WORKSPACE": stage.ids["workspace"]}


def worka(instance: Instance, who: dict[str, str], *words: str, form: str = "json", code: int = 0) -> Any:
    """What a command answers: JSON, or its text."""
    done = typed(["--output", form, *words], {**instance.env, **who})
    assert done.returncode == code, done.stdout + done.stderr
    if form == "text":
        return done.stdout
    return json.loads(done.stdout) if done.stdout.strip() else None


def reads(stage: Demo) -> None:
    """A call that reads the tracker's issues, with the workspace's credential."""
    path = stage.owner.ws("/tools/mcp.fetch.fetch/call")
    stage.owner.call("POST", path, {"arguments": {"url": f"https://{TRACKER}/api/issues"}})


def strays(stage: Demo) -> None:
    """A call that asks for a host that the pack does not declare."""
    path = stage.owner.ws("/tools/worka.notes.check_link/call")
    stage.owner.call("POST", path, {"arguments": {"url": f"https://{CANARY}/loot"}})


@pytest.mark.capability("BRK-5", part="read")
def test_the_ledger_is_read_counted_exported_and_followed(instance: Instance, stage: Demo, me: dict[str, str]) -> None:
    reads(stage)
    strays(stage)
    rows = worka(instance, me, "egress", "list", "--pack", "mcp.fetch", "--outcome", "answered")["items"]
    assert {row["host"] for row in rows} == {TRACKER}
    assert rows[0]["secret_name"]
    assert rows[0]["originating_person"] == stage.ids["owner"]
    refused = worka(instance, me, "egress", "list", "--outcome", "refused", "--since", "10m")["items"]
    assert CANARY in {row["host"] for row in refused}
    shown = worka(instance, me, "egress", "show", refused[0]["id"])
    assert shown["reason"] == refused[0]["reason"]
    assert f"✗ dns {CANARY}" in worka(instance, me, "egress", "list", "--outcome", "refused", form="text")
    by = {row["name"]: row for row in worka(instance, me, "egress", "count", "pack")["items"]}
    assert by["mcp.fetch"]["requests"] >= 1
    text = worka(instance, me, "egress", "export", "-", "--host", TRACKER, form="text")
    assert {row["host"] for row in csv.DictReader(io.StringIO(text))} == {TRACKER}

    later = threading.Timer(2.0, strays, (stage,))
    later.start()
    try:
        followed = worka(instance, me, "egress", "tail", "--host", CANARY, "--most", "1")
    finally:
        later.join()
    assert (followed["host"], followed["outcome"]) == (CANARY, "refused")


@pytest.mark.capability("BRK-10", part="at the command line")
@pytest.mark.capability("BEY-3", part="destinations and secrets")
def test_what_may_be_reached_is_listed_tried_and_its_blast_radius_told(
    instance: Instance, stage: Demo, me: dict[str, str]
) -> None:
    listed = worka(instance, me, "egress", "destinations", "--pack", "mcp.fetch")["items"]
    assert [(row["host"], row["connections"][0]["state"]) for row in listed] == [(TRACKER, "active")]
    told = worka(instance, me, "egress", "destination", TRACKER, form="text")
    assert "mcp.fetch and worka.notes may reach" in told
    assert "by outbound_domains[0]" in told
    for verb in ("destination", "blast"):
        # Not an answer about another port than the one that was meant.
        worka(instance, me, "egress", verb, f"{TRACKER}:44x", code=2)
        assert worka(instance, me, "egress", verb, f"{TRACKER}:443"), "the control"
    reach = worka(instance, me, "egress", "blast", TRACKER)
    assert {row["pack"] for row in reach["attachments"]} == {"mcp.fetch", "worka.notes"}
    secret = worka(instance, me, "secret", "blast", reach["secrets"][0]["id"])
    assert {f"{row['host']}:{row['port']}" for row in secret["reaches"]} == {f"{TRACKER}:443"}
    passes = worka(instance, me, "egress", "try", stage.ids["attachment_fetch"], TRACKER, "--path", "/api/issues")
    assert passes["verdict"] == "allowed"
    refused = worka(
        instance,
        me,
        "egress",
        "try",
        stage.ids["attachment_fetch"],
        TRACKER,
        "--method",
        "POST",
        "--path",
        "/api/issues",
        code=5,
    )
    assert refused["reason"] == "method_not_allowed"
    fetch = ("egress", "try", stage.ids["attachment_fetch"], TRACKER, "--path", "/api/issues")
    assert worka(instance, me, *fetch, "--websocket", code=5)["reason"] == "upgrade_refused"


@pytest.mark.capability("BRK-13", part="policy on destinations")
@pytest.mark.capability("BRK-14", part="replay of rules")
def test_policy_is_tried_replayed_set_and_taken_back(instance: Instance, stage: Demo, me: dict[str, str]) -> None:
    reads(stage)
    item = json.dumps({"host": TRACKER, "methods": ["GET"], "packs": ["mcp.fetch"]})
    tried = worka(instance, me, "egress", "policy", "refuse", item, "--dry-run")
    assert tried["would"]["state"] == "in_force"
    assert any(row["host"] == TRACKER and row["to"] == "denied" for row in tried["replay"]["items"])
    assert worka(instance, me, "egress", "policy", "show")["layers"] == [], "nothing was kept"
    made = worka(instance, me, "egress", "policy", "refuse", item, "--yes", "--note", "for a test")
    assert (made["version"], made["loosens"]) == (1, False)
    try:
        refused = worka(
            instance, me, "egress", "try", stage.ids["attachment_fetch"], TRACKER, "--path", "/api/issues", code=5
        )
        assert refused["rule"] == "egress_policy/workspace.1/refuse[0]"
        reads(stage)
        rows = worka(instance, me, "egress", "list", "--reason", "policy_refuses")["items"]
        assert {(row["host"], row["pack"]) for row in rows} == {(TRACKER, "mcp.fetch")}
        replayed = worka(instance, me, "egress", "replay", "--policy", "{}")
        assert replayed["counts"]["denied to allowed"] >= 1
    finally:
        worka(instance, me, "egress", "policy", "unrefuse", item, "--yes")
    assert worka(instance, me, "egress", "policy", "show")["layers"][0]["settings"] == {"refuse": []}


@pytest.mark.capability("BRK-13", part="upstream trust, at the command line")
def test_upstream_trust_is_looked_at_set_shown_and_taken_back(
    instance: Instance, stage: Demo, me: dict[str, str], tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority("theirs").pem)
    words = ("egress", "trust", "set", "inside.example.com", "--ca", str(ca), "--reason", "a CA of our own")
    dry = worka(instance, me, *words, "--dry-run")
    assert (dry["name"], dry["replaced"]) == ("inside.example.com", None)
    assert worka(instance, me, "egress", "trust", "list")["items"] == [], "nothing was kept"
    first = worka(instance, me, *words)
    made = worka(instance, me, *words)
    assert made["replaced"] == first["id"]
    (row,) = worka(instance, me, "egress", "trust", "list")["items"]
    assert (row["id"], row["authorities"][0]["over"]) == (made["id"], False)
    assert len(worka(instance, me, "egress", "trust", "list", "--all")["items"]) == 2
    told = worka(instance, me, "egress", "trust", "show", made["id"], form="text")
    assert "CN=Worka session theirs (until " in told
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    worka(instance, me, "egress", "trust", "set", "inside.example.com", "--ca", str(key), "--reason", "r", code=2)
    assert worka(instance, me, "egress", "trust", "remove", made["id"], "--dry-run") == {
        "id": made["id"],
        "removed": False,
    }
    assert worka(instance, me, "egress", "trust", "list")["items"] == [row], "nothing was taken back"
    assert worka(instance, me, "egress", "trust", "remove", made["id"], "--yes")["removed"]
    assert worka(instance, me, "egress", "trust", "list")["items"] == []
    worka(instance, me, "egress", "trust", "show", "ust_00000000000000000000000000", code=3)


@pytest.mark.capability("BRK-14", part="at the command line")
def test_a_refusal_is_proposed_looked_at_and_becomes_a_release_with_a_move(
    instance: Instance, stage: Demo, me: dict[str, str]
) -> None:
    strays(stage)
    (row, *_) = worka(instance, me, "egress", "list", "--outcome", "refused", "--host", CANARY)["items"]
    assert f"worka egress propose {row['id']}" in worka(instance, me, "why", row["id"], form="text")
    tried = worka(instance, me, "egress", "propose", row["id"], "--path", "/loot", "--dry-run")
    assert tried["would"]["difference"]["add"] == [
        {"host": CANARY, "port": 443, "methods": ["GET"], "paths": ["/loot"]}
    ]
    assert worka(instance, me, "egress", "proposals")["items"] == [], "nothing was kept"
    made = worka(instance, me, "egress", "propose", row["id"], "--path", "/loot", "--why", "links lead there")
    replayed = worka(instance, me, "egress", "replay", "--proposal", made["id"])
    assert any(found["host"] == CANARY and found["to"] == "allowed" for found in replayed["items"])
    assert "waits for somebody" in worka(instance, me, "why", made["id"], form="text")
    accepted = worka(instance, me, "egress", "accept", made["id"], "--why", "it may")
    assert accepted["reason"] == "made_into_release"
    deadline = time.monotonic() + 90
    while (found := worka(instance, me, "egress", "proposal", made["id"]))["move_state"] != "awaiting_approval":
        assert time.monotonic() < deadline, found
        time.sleep(1)
    assert found["version"].endswith("-outside.1")
    # It widens: somebody else has to agree, and until then the pack goes where it went.
    strays(stage)
    assert worka(instance, me, "egress", "list", "--outcome", "answered", "--host", CANARY)["items"] == []
    stage.approve(found["approval_id"], "links only")
    deadline = time.monotonic() + 90
    while (found := worka(instance, me, "egress", "proposal", made["id"]))["move_state"] != "moved":
        assert time.monotonic() < deadline, found
        time.sleep(1)
    assert found["became"].endswith("is attached")
    strays(stage)
    rows = worka(instance, me, "egress", "list", "--outcome", "answered", "--host", CANARY)["items"]
    assert [row["pack"] for row in rows] == ["worka.notes"]
    report = worka(instance, me, "egress", "unused", stage.ids["attachment_notes"])
    assert report["whole"] is False


@pytest.mark.capability("BRK-15", part="the air gap, what it would refuse")
def test_the_operator_types_what_an_air_gap_would_refuse_and_an_owner_reads_why_they_may_not(
    instance: Instance, stage: Demo, me: dict[str, str]
) -> None:
    reads(stage)
    operator = {"WORKA_TOKEN": str(stage.operator.token)}
    needed = worka(instance, operator, "network", "needed", "--since", "10m")
    assert (needed["air_gapped"], needed["allowed"]) == (False, [])
    behind = next(item for item in needed["items"] if item["host"] == TRACKER)
    place = behind["item"]
    assert (behind["permitted"], place) == (False, behind["address"]), "by its address: it is behind an exception"
    by_name = worka(instance, operator, "network", "needed", "--allow", f"{TRACKER}:443")
    assert {item["item"]: item["permitted"] for item in by_name["items"]}[place] is False, "its name alone does not do"
    listed = ("network", "needed", "--allow", place, "--allow", "10.0.0.0/8:*")
    tried = worka(instance, operator, *listed)
    assert {item["item"]: item["permitted"] for item in tried["items"]}[place] is True
    text = " ".join(worka(instance, operator, "network", "needed", form="text").split())
    assert "This deployment is not air-gapped. The list: nothing" in text
    assert re.search(rf"WORKA_NETWORK__ALLOWED=\S*{re.escape(place)}", text), "the list that would keep it"
    assert "10.0.0.0/8:*" in worka(instance, operator, *listed, form="text")
    unread = worka(instance, operator, "network", "needed", "--allow", "nonsense", code=2)
    assert (unread["code"], "name:port" in unread["remedy"]) == ("network_allowed_invalid", True)
    denied = worka(instance, me, "network", "needed", code=5)
    assert denied["detail"].startswith("You may not see where the deployment dials")
    assert denied["detail"].endswith("You have no role in this deployment.")


@pytest.mark.capability("BRK-12", part="at the command line")
def test_the_raw_words_of_a_failure_are_read_by_row_and_by_call(
    instance: Instance, stage: Demo, me: dict[str, str]
) -> None:
    (there,) = [
        row for row in stage.owner.get(stage.owner.ws("/network-exceptions"))["items"]
        if row["name"] == TRACKER and row["removed_at"] is None
    ]  # fmt: skip
    exception = {key: there[key] for key in ("name", "port", "address", "real_port", "ca_pem", "reason")}
    stage.owner.call("DELETE", f"/v1/network-exceptions/{there['id']}")
    nobody = recorded(stage, "network-exceptions", {**exception, "real_port": 1})
    try:
        reads(stage)
        (row, *_) = worka(instance, me, "egress", "list", "--outcome", "upstream_failed", "--host", TRACKER)["items"]
        by_row = worka(instance, me, "egress", "log", row["id"])
        assert (by_row["host"], by_row["reason"]) == (TRACKER, "upstream_unreachable")
        assert "[Errno 111]" in by_row["items"][0]["text"]
        text = " ".join(worka(instance, me, "egress", "log", row["id"], form="text").split())
        assert f"{row['id']} {TRACKER}:443 upstream_unreachable" in text
        by_call = worka(instance, me, "invocation", "log", row["invocation_id"])
        assert [line["host"] for line in by_call["broker"]] == [TRACKER] * len(by_call["broker"])
        assert "[Errno 111]" in by_call["broker"][0]["text"]
        told = worka(instance, me, "invocation", "log", row["invocation_id"], form="text")
        assert told.startswith(row["invocation_id"])
        assert all(word in told for word in ("upstream_unreachable", "[Errno 111]"))
    finally:
        stage.owner.call("DELETE", f"/v1/network-exceptions/{nobody['id']}")
        recorded(stage, "network-exceptions", exception)
    # The controls: of what was answered nothing is told, and of nothing there is no log.
    reads(stage)
    (row, *_) = worka(instance, me, "egress", "list", "--outcome", "answered", "--host", TRACKER)["items"]
    assert worka(instance, me, "egress", "log", row["id"])["items"] == []
    for noun, nothing in (("egress", "egr"), ("invocation", "inv")):
        assert worka(instance, me, noun, "log", f"{nothing}_7zzzzzzzzzzzzzzzzzzzzzzzzz", code=3)


@pytest.mark.capability("BRK-13", part="network exceptions, at the command line")
def test_a_network_exception_is_looked_at_set_shown_replaced_and_taken_back(
    instance: Instance, stage: Demo, me: dict[str, str], tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority("theirs").pem)
    name, before = "wiki.inside.example.com", worka(instance, me, "egress", "exception", "list")["items"]
    ever = len(worka(instance, me, "egress", "exception", "list", "--all")["items"])
    words = ("egress", "exception", "set", name, "--ca", str(ca), "--reason", "our wiki")
    dry = worka(instance, me, *words, "--address", "10.1.2.3", "--real-port", "8443", "--dry-run")
    assert (dry["name"], dry["leads_to"], dry["replaced"]) == (name, "10.1.2.3:8443", None)
    assert worka(instance, me, "egress", "exception", "list")["items"] == before, "nothing was kept"
    first = worka(instance, me, *words, "--address", "10.1.2.3", "--real-port", "8443")
    moved = worka(instance, me, *words, "--address", "10.1.2.4", form="text")
    assert f"recorded, in the place of {first['id']}" in moved
    row = worka(instance, me, "egress", "exception", "list")["items"][0]
    assert (row["name"], row["leads_to"], row["reason"]) == (name, "10.1.2.4:443", "our wiki"), "the same port"
    assert len(worka(instance, me, "egress", "exception", "list", "--all")["items"]) == ever + 2
    told = worka(instance, me, "egress", "exception", "list", form="text")
    assert all(
        word in told for word in (row["id"], f"{name}:443", "10.1.2.4:443", "CN=Worka session theirs", "our wiki")
    )
    assert "10.1.2.4:443" in worka(instance, me, "egress", "exception", "show", row["id"], form="text")
    plain = worka(
        instance, me, "egress", "exception", "set", name, "--address", "10.1.2.3", "--port", "80", "--reason", "r"
    )
    assert "nobody: without TLS" in worka(instance, me, "egress", "exception", "show", plain["id"], form="text")
    # What cannot hold is refused with what helps, and nothing is recorded.
    worka(instance, me, *words, "--address", "169.254.169.254", code=2)
    worka(instance, me, "egress", "exception", "set", name, "--address", "10.1.2.3", "--reason", "r", code=2)
    worka(instance, me, *words, "--address", "10.1.2.3", "--port", "22", code=2)
    assert len(worka(instance, me, "egress", "exception", "list")["items"]) == len(before) + 2
    kept = worka(instance, me, "egress", "exception", "remove", row["id"], "--dry-run")
    assert kept == {"id": row["id"], "removed": False}
    asked = typed(["egress", "exception", "remove", row["id"]], {**instance.env, **me})
    assert asked.returncode != 0, "nobody answered the question"
    assert f"{name}:443, which leads to 10.1.2.4:443, recorded because: our wiki" in asked.stderr
    assert row in worka(instance, me, "egress", "exception", "list")["items"], "nothing was taken back"
    for one in (row, plain):
        assert worka(instance, me, "egress", "exception", "remove", one["id"], "--yes")["removed"]
    assert worka(instance, me, "egress", "exception", "list")["items"] == before
    worka(instance, me, "egress", "exception", "show", "nex_00000000000000000000000000", code=3)


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person, at the command line")
def test_where_a_name_leads_that_a_credential_goes_to_waits_for_somebody_else(
    instance: Instance, stage: Demo, me: dict[str, str], tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority("theirs").pem)
    before = worka(instance, me, "egress", "exception", "list")["items"]
    (stands,) = [row for row in before if (row["name"], row["port"]) == (TRACKER, 443)]
    asked = ("egress", "exception", "set", TRACKER, "--address", "10.6.6.6", "--ca", str(ca), "--reason", "it moved")
    tried = " ".join(worka(instance, me, *asked, "--dry-run", form="text").split())
    assert f"Calls to {TRACKER}:443 go to 10.6.6.6:443, checked by" in tried
    assert "a credential goes there: the workspace's connection Issue tracker (tracker)" in tried
    made = worka(instance, me, *asked, code=6)
    assert (made["state"], made["kind"], made["replaces"]) == ("open", "network_exception", stands["id"])
    assert worka(instance, me, "egress", "exception", "list")["items"] == before, "nobody agreed yet"
    assert made["id"] in worka(instance, me, "egress", "waiting", form="text")
    stage.owner.post(f"/v1/approvals/{made['approval_id']}/withdraw")
    assert "None waits" in worka(instance, me, "egress", "waiting", form="text")


@pytest.mark.capability("BRK-13", part="where a credential goes is not changed by one person, at the command line")
def test_who_vouches_for_a_name_that_a_credential_goes_to_waits_for_somebody_else(
    instance: Instance, stage: Demo, me: dict[str, str], tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority("theirs").pem)
    asked = ("egress", "trust", "set", TRACKER, "--reason", "our own CA", "--ca", str(ca))
    tried = " ".join(worka(instance, me, *asked, "--dry-run", form="text").split())
    assert "a credential goes there: the workspace's connection Issue tracker (tracker)" in tried
    assert "nobody was asked, and nothing was recorded" in tried
    assert "None waits" in worka(instance, me, "egress", "waiting", form="text")
    made = worka(instance, me, *asked, code=6)
    assert (made["state"], made["kind"], made["made_id"]) == ("open", "upstream_trust", None)
    waits = " ".join(worka(instance, me, "egress", "waiting", form="text").split())
    assert made["id"] in waits
    assert f"worka approvals show {made['approval_id']}" in waits
    assert TRACKER not in {row["name"] for row in worka(instance, me, "egress", "trust", "list")["items"]}
    told = worka(instance, me, "why", made["id"])
    assert (told["state"], told["reason"]) == ("open", "waiting_for_approver")
    assert "a credential goes to that name" in told["headline"]
    card = stage.approver.get(f"/v1/approvals/{made['approval_id']}")
    body = {"decision": "reject", "digest": card["digest"], "comment": "whose CA is that?"}
    stage.approver.post(f"/v1/approvals/{made['approval_id']}/decisions", body)
    told = worka(instance, me, "why", made["id"])
    assert (told["state"], told["reason"]) == ("closed", "way_rejected")
    assert "whose CA is that?" in told["headline"]
    assert "way_rejected" in worka(instance, me, "egress", "waiting", "--all", form="text")
    # The control: of a name that no credential goes to it is recorded at once.
    other = ("egress", "trust", "set", "other.example.com", "--reason", "our own CA", "--ca", str(ca))
    kept = worka(instance, me, *other)
    worka(instance, me, "egress", "trust", "remove", kept["id"], "--yes")
