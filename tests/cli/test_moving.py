"""Packs that move, from a terminal: looked at, attached, compared, moved, gone back, pinned; with the documented exit codes."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.console.test_moving import packed
from tests.packs.moving import LOUD, SAY, WIDER
from tests.packs.test_ended_at_once import COMPUTES
from tests.packs.test_quarantine_running import TOOLS
from tests.packs.test_registration import SERVER
from tests.support.instance import Instance
from worka.cli.demo import Demo
from worka.cli.packs import register

pytestmark = pytest.mark.timeout(300)
Told = Callable[..., Any]


@pytest.fixture
def told(instance: Instance, cli_owner: dict[str, str]) -> Told:
    """What a command of the owner answers, as data."""

    def run(*words: str, code: int = 0, text: bool = False) -> Any:
        form = () if text else ("--output", "json")
        done = instance.worka(*form, *words, WORKA_URL=instance.url, **cli_owner)
        assert done.returncode == code, f"{words}: {done.returncode} {done.stderr[-1500:]}"
        return done.stdout if text else json.loads(done.stdout) if done.stdout else {}

    return run


@pytest.mark.capability("GOV-4", part="from a terminal")
@pytest.mark.capability("LIF-4", part="the difference from a terminal, and every move with its dry run")
@pytest.mark.capability("GOV-8", part="from a terminal")
@pytest.mark.capability("BEY-2", part="attaching a pack, and moving one")
def test_an_operator_looks_attaches_compares_moves_and_goes_back(stage: Demo, told: Told, tmp_path: Path) -> None:
    name = f"small{secrets.token_hex(3)}"
    pack = f"p{name}.{name}"
    first = register(stage.owner, packed(tmp_path / "one", name, "1.0.0", SERVER))
    assert first["state"] == "released", first["error"]
    assert told("pack", "review", f"{pack}@1.0.0")["waits"] == []
    told("pack", "recorded", f"{pack}@9.9.9", code=3)
    assert told("pack", "attach", f"{pack}@1.0.0", "--dry-run")["state"] == "attached"
    assert [a for a in told("pack", "list")["attachments"] if a["pack"] == pack] == []
    row = told("pack", "attach", first["id"])
    assert row["state"] == "attached"

    second = register(stage.owner, packed(tmp_path / "two", name, "1.1.0", WIDER, tools=[SAY, LOUD]))
    stage.owner.post(stage.owner.ws(f"/tools/{pack}.say/call"), {"arguments": {"text": "x"}})
    would = told("pack", "recorded", f"{pack}@1.1.0", "--limit", "1")
    assert would["counts"]["served"] == 1, would
    assert would["items"][0]["would_be"] == f"{pack}.say"
    assert "would have been served" in told("pack", "recorded", second["id"], text=True)
    found = told("pack", "diff", f"{pack}@1.0.0", f"{pack}@1.1.0")
    assert (found["widens"], found["counts"]["widening"]) == (True, 1)
    assert "+ widening  The tool shout is new: it reads only." in told(
        "pack", "diff", first["id"], second["id"], "--texts", text=True
    )
    told("pack", "diff", first["id"], f"{pack}@9.9.9", code=3)
    would = told("pack", "attachment", "update", row["id"], "--dry-run")
    assert would["state"] == "awaiting_approval"
    assert told("pack", "attachment", "show", row["id"])["moves"] == [], "nothing of it is there"
    move = told("pack", "attachment", "update", row["id"], "--why", "louder", code=6)
    assert told("pack", "attachment", "show", row["id"])["move"]["id"] == move["id"]
    gone = told("pack", "attachment", "withdraw", move["id"])
    assert (gone["state"], gone["reason"]) == ("superseded", "move_withdrawn")
    told("pack", "attachment", "withdraw", move["id"], code=7)

    third = register(stage.owner, packed(tmp_path / "three", name, "1.0.1", f"{SERVER}# a fix\n"))
    moved = told("pack", "attachment", "update", row["id"], "--release", f"{pack}@1.0.1")
    assert (moved["state"], moved["to_release"]) == ("moved", third["id"])
    back = told("pack", "attachment", "back", row["id"])
    assert (back["state"], back["to_release"]) == ("moved", first["id"])
    assert told("pack", "attachment", "follow", row["id"], "--dry-run")["mode"] == "tracking"
    told("pack", "attachment", "pin", row["id"], code=7)
    assert told("pack", "held", "show", row["id"])["items"] == []
    assert "as it was approved" in told("pack", "held", "show", row["id"], text=True)
    told("pack", "held", "accept", row["id"], "say", code=7)
    stage.owner.call("DELETE", f"/v1/attachments/{row['id']}", {"reason": "the test is over"})


@pytest.mark.capability("GOV-4", "MAN-5", part="a release by its name, from a terminal")
def test_a_release_is_named_as_a_person_names_it_and_what_is_wrong_says_what_to_do(
    instance: Instance, cli_owner: dict[str, str], stage: Demo, told: Told, tmp_path: Path
) -> None:
    name = f"small{secrets.token_hex(3)}"
    pack = f"p{name}.{name}"
    made = register(stage.owner, packed(tmp_path / "one", name, "1.0.0", SERVER))

    def refused(*words: str, code: int) -> str:
        done = instance.worka(*words, WORKA_URL=instance.url, **cli_owner)
        assert done.returncode == code, f"{words}: {done.returncode} {done.stderr[-1500:]}"
        return done.stderr

    assert "say" in told("pack", "show", f"{pack}@1.0.0", text=True)
    for verb in (("pack", "show"), ("pack", "grade"), ("registry", "show")):
        assert told(*verb, f"{pack}@1.0.0") == told(*verb, made["id"])
    assert told("release", "why", f"{pack}@1.0.0")["subject"] == made["id"]
    quarantine = ("release", "quarantine", f"{pack}@1.0.0", "--reason", "r")
    assert told(*quarantine, "--dry-run")["name"] == f"{pack} 1.0.0"
    for wrong in (f"{pack}@9.0.0", pack):
        said = refused("pack", "attach", wrong, code=3)
        assert f"{pack} has 1.0.0" in said, said
        assert f"{pack}@VERSION" in said, said
    assert "worka pack list" in refused("pack", "attach", f"{pack}er@1.0.0", code=3)

    row = told("pack", "attach", f"{pack}@1.0.0")
    assert "worka pack attachment update" in refused("pack", "attach", f"{pack}@1.0.0", code=7)
    assert f"{row['id']}  {pack}  1.0.0" in " ".join(told("pack", "list", text=True).split("\n"))
    stage.owner.call("DELETE", f"/v1/attachments/{row['id']}", {"reason": "the test is over"})

    # What its publication waits for is told with its gates, and is not asked for twice.
    asked = told("pack", "publish", f"{pack}@1.0.0", code=6)
    told_gates = told("release", "why", f"{pack}@1.0.0", text=True)
    assert f"awaiting_approval publication to local: worka registry why {asked['id']}" in told_gates
    assert "worka registry why" in refused("registry", "retry", asked["id"], code=7)
    card = stage.approver.get(f"/v1/approvals/{asked['approval_id']}")
    body = {"decision": "reject", "digest": card["digest"], "comment": "the test is over"}
    stage.approver.post(f"/v1/approvals/{card['id']}/decisions", body)

    differs = packed(tmp_path / "two", name, "1.1.0", SERVER, tools=[{**SAY, "name": "sing"}])
    said = refused("pack", "register", str(differs), code=1)
    assert "sing name: declared, but the server does not list it" in said, said
    assert "worka release why rel_" in said, said


@pytest.mark.capability("GOV-15", part="a sandbox that computes when the switch is set")
@pytest.mark.capability("GOV-15", part="a sandbox that computes when the switch is set")
def test_the_worker_of_a_running_instance_ends_what_computes_under_a_kill_switch(
    stage: Demo, told: Told, tmp_path: Path
) -> None:
    name, owner = f"small{secrets.token_hex(3)}", stage.owner
    verb = f"work{secrets.token_hex(3)}"
    tool, server = f"p{name}.{name}.{verb}", COMPUTES.replace("def say", f"def {verb}")
    tools = [{**one, "name": verb} for one in TOOLS]
    release = register(owner, packed(tmp_path / "one", name, "1.0.0", server, tools=tools))
    row = told("pack", "attach", release["id"])
    assert owner.post(owner.ws(f"/tools/{tool}/call"), {"arguments": {"text": "0"}})["status"] == "succeeded"
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(owner.post, owner.ws(f"/tools/{tool}/call"), {"arguments": {"text": "60"}})
        until = time.monotonic() + 20
        while not any(call["tool"] == tool for call in owner.get(owner.ws("/invocations"), state="running")["items"]):
            assert time.monotonic() < until, "the control: it runs"
            time.sleep(0.05)
        kill = told("kill", "on", "release", release["id"], "--reason", "a stolen key", "--yes")
        set_at = time.monotonic()
        answer = running.result(30)
        took = time.monotonic() - set_at
    assert (answer["status"], answer["reason"], "a stolen key" in answer["message"]) == ("failed", "killed", True)
    assert took < 10, "at once; this machine may be busy"
    until = time.monotonic() + 20
    while not (ended := owner.get(owner.ws("/changes"), subject=kill["id"], lane="capability")["items"]):
        assert time.monotonic() < until, "the changes say nothing of what was ended"
        time.sleep(0.1)
    assert ended[0]["type"] == "pack.sessions.ended"
    assert ended[0]["data"]["calls"] == [answer["invocation_id"]]
    told("kill", "lift", kill["id"], "--skip-trial", "--reason", "another key")
    owner.call("DELETE", f"/v1/attachments/{row['id']}", {"reason": "the test is over"})
