"""What a row plays on: one real `worka up`, three tenants made through public routes, and a tracker as judge for each."""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.instance import Instance, make_instance
from worka.cli.client import Client
from worka.cli.demo import Demo
from worka.cli.demo_evidence import files_of, verify_apart
from worka.cli.packs import pack_body
from worka.kernel.postgres import EmbeddedPostgres

PACK = Path(__file__).with_name("pack")
TOOLS = [f"worka.faults.{name}" for name in ("note", "post", "publish", "misbehave")]
TENANTS = ("ada", "bob", "cyd")


def _tool(name: str, tool: str, **arguments: Any) -> dict[str, Any]:
    return {"kind": "tool", "name": name, "tool": f"worka.faults.{tool}", "arguments": arguments}


def workflow(name: str, effect: str, *, light: bool = False) -> dict[str, Any]:
    """A definition: read, make one effect at the tracker, show it. The light one only makes the effect."""
    marker, pause = {"$input": "marker"}, {"$input": "pause"}
    steps = [
        _tool("read", "note", text=marker, pause=pause),
        _tool("effect", effect, marker=marker, text={"$step": "read", "path": "structured.text"}, pause=pause),
        {
            "kind": "publish_view",
            "name": "show",
            "title": marker,
            "view": "notes",
            "document": marker,
            "format": "text",
        },
    ]
    return {
        "schema_version": "worka.workflow.v1",
        "name": name,
        "title": marker,
        "inputs": {
            "type": "object",
            "required": ["marker"],
            "properties": {"marker": {"type": "string"}, "pause": {"type": "number", "default": 0}},
        },
        "members": [{"name": "*", "tools": TOOLS}],
        "steps": [_tool("effect", effect, marker=marker, text=marker, pause=pause)] if light else steps,
        "limits": {"steps": 5, "seconds": 900},
    }


class Tenant(Demo):
    """A tenant with an owner, an approver, an AI team member, the faults pack, and a tracker of its own."""

    def __init__(self, name: str, instance: Instance) -> None:
        super().__init__(interactive=False, quiet=True)
        self.name = name
        self.home, self.url = instance.home, instance.url
        self.worker_member = ""
        self.publisher = ""
        self.attachment: dict[str, Any] = {}

    def repository_name(self) -> str:
        """The name in the tracker's issues: nothing here reads them."""
        return self.name

    def settle(self) -> None:
        """Everything but the people, who are made one tenant after another."""
        self.outside()
        member = self.owner.post(
            self.owner.ws("/team-members"),
            {
                "name": "Fay",
                "responsibility": "Works while things break",
                "instructions": "Follow the workflow.",
                "tools": TOOLS,
                "role": "member",
            },
        )
        self.worker_member = member["id"]
        release = self.owner.post(self.owner.ws("/releases"), pack_body(PACK))
        deadline = time.monotonic() + 60
        while release["state"] not in ("released", "failed") and time.monotonic() < deadline:
            time.sleep(0.1)
            release = self.owner.get(f"/v1/releases/{release['id']}")
        self.expect(release["state"] == "released", f"The faults pack is {release['state']}: {release.get('error')}")
        connection = self.owner.post(
            self.owner.ws("/connections"),
            {
                "provider": "tracker",
                "name": "Tracker",
                "host": "tracker.worka.test",
                "port": 443,
                "access": "publish notes",
                "secret_id": self.ids["secret"],
                "metadata": {},
                "why": "the harness",
            },
        )
        self.approve(connection["approval_id"], "the harness")
        attachment = self.owner.post(self.owner.ws("/attachments"), {"release_id": release["id"], "mode": "pinned"})
        self.approve(attachment["approval_id"], "the harness")
        self.attachment = self.owner.get(f"/v1/attachments/{attachment['id']}")
        self.expect(self.attachment["state"] == "attached", f"The attachment is {self.attachment['state']}.")
        for definition in (
            workflow("post", "post"),
            workflow("publish", "publish"),
            workflow("light", "post", light=True),
        ):
            self.owner.post(self.owner.ws("/workflows"), {"definition": definition})

    def client(self, who: str = "owner") -> Client:
        """A connection of its own for one caller."""
        of = self.owner if who == "owner" else self.approver
        return Client(self.url, of.token, of.workspace, timeout=20)

    def requests(self) -> list[dict[str, Any]]:
        """The tracker's own record, from its file: requests and effects, as it wrote them before it answered."""
        record = Path(self.facts["record"])
        # It is made with the first request: a seed without tasks has none.
        return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []

    def ledger(self, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """(the verdict of the export's own verifier, the bodies of its rows)."""
        export = folder / f"{self.name}.tar"
        export.write_bytes(self.owner.send("GET", self.owner.ws("/audit/export")).content)
        verdict = verify_apart(export)
        rows = []
        for name, content in files_of(export).items():
            if name.startswith("entries/"):
                rows += [json.loads(line) for line in content.decode().splitlines()]
        bodies = [json.loads(row["body"]) for row in rows if row.get("body")]
        return verdict, bodies


@dataclass
class Stage:
    """A running instance with its tenants. `armed` is the folder in which failpoints are armed."""

    instance: Instance
    tenants: list[Tenant] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.instance.home

    @property
    def armed(self) -> Path:
        return self.home / "failpoints"

    @property
    def postgres(self) -> EmbeddedPostgres:
        return EmbeddedPostgres(self.home)

    def roles(self) -> dict[str, dict[str, Any]]:
        """What the supervisor says of its processes: {role: {pid, starts, last_exit}}."""
        for _ in range(50):
            try:
                found: dict[str, dict[str, Any]] = json.loads((self.home / "run" / "processes.json").read_text())
                return found
            except (OSError, ValueError):
                time.sleep(0.02)
        raise AssertionError("the supervisor wrote no processes.json")

    def arm(self, name: str, how: str = "") -> Path:
        """Arms a failpoint; the file that is there once it hit."""
        proof = self.armed / f"{name}.hit"
        proof.unlink(missing_ok=True)
        # In one step: a process may reach it at once.
        draft = self.armed / f".{name}"
        draft.write_text(how)
        draft.rename(self.armed / name)
        return proof

    def disarm(self) -> None:
        for file in self.armed.iterdir():
            file.unlink(missing_ok=True)

    def close(self) -> None:
        for tenant in self.tenants:
            tenant.finish(ok=False)
        self.instance.stop()
        shutil.rmtree(self.home, ignore_errors=True)


def build(home: Path | None = None, **environment: str) -> Stage:
    """Starts an instance and makes three tenants in it. `home`: an empty folder to use, else a new one."""
    instance = make_instance("test-faults-")
    if home is not None:
        shutil.rmtree(instance.home)
        instance.home = home
        instance.env["WORKA_HOME"] = str(home)
    # Uids of its own: other instances on this machine run packs too, and theirs are not ours to count.
    instance.env["WORKA_PACKS__UID_BASE"] = str(400_000 + os.getpid() % 4000 * 100)
    stage = Stage(instance)
    stage.armed.mkdir()
    stage.armed.chmod(0o777)
    try:
        instance.start(WORKA_FAILPOINT_DIR=str(stage.armed), **environment)
        for name in TENANTS:
            tenant = Tenant(name, instance)
            stage.tenants.append(tenant)
            tenant.people()
        with ThreadPoolExecutor(len(TENANTS)) as pool:
            list(pool.map(Tenant.settle, stage.tenants))
    except BaseException:
        stage.close()
        raise
    return stage


def state_of(pid: int) -> str:
    """The state letter of a process (R, S, D, T, Z); empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def gone(pid: int) -> bool:
    """Whether it runs no more: nothing has this id, or only what its parent has not reaped yet."""
    return state_of(pid) in ("", "Z")
