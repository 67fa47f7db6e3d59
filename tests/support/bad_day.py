"""A bad day, seeded: a workspace in which much waits, fails and hangs, each for a real reason.

Everything is made through public routes, by principals with their own credentials, and every failure really happens: a
pack that ends, hangs, eats its memory, breaks its schema, asks for a host it never declared; a connection that nobody
made; a worker whose slots are all taken and which is then stopped.

On a running instance: `scripts/setup --tests -- python -m tests.support.bad_day` (start it with
WORKA_WORKFLOWS__CONCURRENCY=3).
"""

from __future__ import annotations

import copy
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from worka.cli.client import Failed
from worka.cli.demo import Demo
from worka.cli.packs import pack_body

SLOTS = 3
"""How many segments the worker runs at once: the tasks that hang take all of them."""
BILLING = Path(__file__).with_name("billing")
UNDECLARED = "rates.bank.example"
SECONDS = 120
Row = dict[str, Any]


class BadDay(Demo):
    """The demo's people and packs, and then everything that goes wrong. `found`: ids by what they are."""

    def __init__(self) -> None:
        super().__init__(interactive=False, quiet=True)
        self.found: dict[str, str] = {}

    def seed(self) -> None:
        """Makes the whole day."""
        self.people()
        self.packs()
        self.outside()
        self.approvals()
        self._billing()
        self._notes()
        self._failures()
        self._waits()
        self._standstill()

    # what it is made of ---------------------------------------------------------------------------------------------
    def call(self, tool: str, **arguments: Any) -> Row:
        """One call of a tool; a refusal is an answer too."""
        path = self.owner.ws(f"/tools/acme.billing.{tool}/call")
        answer: Row = self.owner.call("POST", path, {"arguments": arguments})
        return answer

    def start_task(self, name: str, **inputs: Any) -> str:
        """A new task of a saved workflow; its id."""
        body = {"workflow": name, "inputs": inputs, "member_id": self.ids["member"]}
        return str(self.owner.post(self.owner.ws("/tasks"), body)["id"])

    def until(self, task_id: str, *states: str) -> str:
        """Waits until the task's explanation has one of these states."""
        end = time.monotonic() + SECONDS
        while (state := self.owner.get(f"/v1/tasks/{task_id}/why")["state"]) not in states:
            assert time.monotonic() < end, f"{task_id} is {state}, not {' or '.join(states)}"
            time.sleep(0.1)
        return str(state)

    def workflow(self, name: str, title: Any, tool: str, arguments: Row, seconds: int = 120) -> None:
        """Saves a workflow of one step."""
        definition = {
            "schema_version": "worka.workflow.v1",
            "name": name,
            "title": title,
            "description": f"Runs {tool}.",
            "inputs": {
                "type": "object",
                "properties": {"for": {"type": "string"}, "seconds": {"type": "number"}, "after": {"type": "number"}},
            },
            "members": [{"name": "*", "tools": [f"acme.{tool}"]}],
            "steps": [
                {"kind": "tool", "name": "run", "title": "", "tool": f"acme.{tool}", "arguments": arguments}
                | {"seconds": seconds}
            ],
            "outcomes": ["succeeded", "failed", "cancelled"],
            "limits": {"steps": 5, "seconds": 3600},
        }
        self.owner.post(self.owner.ws("/workflows"), {"definition": definition})

    def _register(self, body: Row) -> Row:
        release: Row = self.owner.post(self.owner.ws("/releases"), body)
        end = time.monotonic() + SECONDS
        while release["state"] not in ("released", "failed"):
            assert time.monotonic() < end, release
            time.sleep(0.2)
            release = self.owner.get(f"/v1/releases/{release['id']}")
        return release

    def _attach(self, release: Row) -> Row:
        body = {"release_id": release["id"], "mode": "pinned", "mounts": {}}
        attachment: Row = self.owner.post(self.owner.ws("/attachments"), body)
        if attachment["state"] == "awaiting_approval":
            self.approve(attachment["approval_id"], "read the manifest")
            attachment = self.owner.get(f"/v1/attachments/{attachment['id']}")
        return attachment

    def _billing(self) -> None:
        """The pack of the day, and the same code once more under a name that wants a connection nobody made."""
        body = pack_body(BILLING)
        # The same files three times, each time under another manifest: that one stands in the request alone.
        del body["files"]["worka/aip.json"]
        release = self._register(body)
        assert release["state"] == "released", release
        assert self._attach(release)["state"] == "attached"
        wanting = copy.deepcopy(body)
        manifest = wanting["manifest"]
        manifest |= {"name": "payroll", "display_name": "Payroll", "version": "1.0.4"}
        manifest["outbound_domains"] = [{"host": "payroll.bank.example", "port": 443, "paths": ["/"]}]
        manifest["connections"] = [
            {
                "provider": "payroll-bank",
                "access": "pay salaries",
                "required": True,
                "inject": {
                    "host": "payroll.bank.example",
                    "header": "Authorization",
                    "template": "Bearer {{connection.access_token}}",
                },
            }
        ]
        release = self._register(wanting)
        assert release["state"] == "released", release
        attachment = self._attach(release)
        assert attachment["state"] == "awaiting_connection", attachment
        self.found["unconnected"] = attachment["id"]
        # A release whose frozen tools are not what the server says: registration fails, and says at what.
        lying = copy.deepcopy(body)
        lying["manifest"] |= {"name": "forecast", "display_name": "Forecast", "version": "0.9.0"}
        lying["manifest"]["tools"][0]["description"] = "Forecasts next year."
        release = self._register(lying)
        assert release["state"] == "failed", release
        self.found["failed_release"] = release["id"]
        tools = [f"acme.{pack}.{tool['name']}" for pack in ("billing", "payroll") for tool in manifest["tools"]]
        member = self.owner.post(
            self.owner.ws("/team-members"),
            {
                "name": "Bo",
                "responsibility": "Keeps the books",
                "instructions": "Follow the billing workflows.",
                "tools": tools,
                "role": "member",
            },
        )
        self.ids["rhea"], self.ids["member"] = self.ids["member"], member["id"]

    def _notes(self) -> None:
        """Two finished tasks, with their view; two more that wait for the approver."""
        saved = self.save_workflow()
        for number in range(4):
            inputs = {"repository": ("harbour", "lighthouse", "pier", "mole")[number], "limit": 20}
            body = {"workflow": saved["name"], "version": saved["version"], "inputs": inputs}
            task_id = self.owner.post(self.owner.ws("/tasks"), {**body, "member_id": self.ids["rhea"]})["id"]
            self.until(task_id, "waiting")
            if number < 2:
                why = self.owner.get(f"/v1/tasks/{task_id}/why")
                self.approve(why["waiting_on"][0]["ref"], "good notes")
                self.until(task_id, "succeeded")
                self.found["done"] = task_id
            else:
                self.found["waiting"] = task_id

    def _failures(self) -> None:
        """Calls that fail, each at another leg or for another reason; and tasks that fail with them."""
        for kind, answer in (
            ("undeclared", self.call("fetch_rates", host=UNDECLARED)),
            ("undeclared", self.call("fetch_rates", host=UNDECLARED)),
            ("crashed", self.call("render_invoice", template="reminder")),
            ("too_much_memory", self.call("import_statement", megabytes=600)),
            ("invalid", self.call("sum_ledger", lines=[])),
        ):
            self.found[kind] = answer["invocation_id"]
        succeeded = self.call("sum_ledger", lines=[4.5, 7])
        self.found["succeeded"] = succeeded["invocation_id"]
        join = {"$join": ["Rates of the day for ", {"$input": "for"}]}
        self.workflow("rates", join, "billing.fetch_rates", {"host": UNDECLARED})
        self.workflow("reminders", {"$join": ["Reminder to ", {"$input": "for"}]}, "billing.render_invoice",
                      {"template": "reminder", "after": {"$input": "after"}})  # fmt: skip
        self.workflow("salaries", {"$join": ["Salaries of ", {"$input": "for"}]}, "payroll.post_payment",
                      {"invoice": {"$input": "for"}, "amount": 1200})  # fmt: skip
        self.workflow("payments", {"$join": ["Pay ", {"$input": "for"}]}, "billing.post_payment",
                      {"invoice": {"$input": "for"}, "amount": 310.5})  # fmt: skip
        for name, window in (("matching", 900), ("matching-small", 12)):
            self.workflow(name, {"$join": ["Match payments of ", {"$input": "for"}]}, "billing.match_payments",
                          {"seconds": {"$input": "seconds"}}, seconds=window)  # fmt: skip
        for key, name, who in (
            ("failed_rates", "rates", "Porto"),
            ("failed_reminder", "reminders", "Quayside Ltd"),
            ("failed_salaries", "salaries", "March"),
        ):
            self.found[key] = self.start_task(name, **{"for": who})
            self.until(self.found[key], "failed")
        cancelled = self.start_task("payments", **{"for": "invoice 2230"})
        self.until(cancelled, "waiting")
        self.owner.post(f"/v1/tasks/{cancelled}/cancel", {"reason": "paid by hand"})

    def _waits(self) -> None:
        """Approvals: open ones that block tasks, and one that was rejected."""
        rejected = self.start_task("payments", **{"for": "invoice 2231"})
        self.until(rejected, "waiting")
        ref = self.owner.get(f"/v1/tasks/{rejected}/why")["waiting_on"][0]["ref"]
        card = self.approver.get(f"/v1/approvals/{ref}")
        body = {"decision": "reject", "digest": card["digest"], "comment": "This invoice was paid in February."}
        self.approver.post(f"/v1/approvals/{ref}/decisions", body)
        self.until(rejected, "failed")
        for number in (2232, 2233):
            task_id = self.start_task("payments", **{"for": f"invoice {number}"})
            self.until(task_id, "waiting")
            self.found["payment"] = task_id
        why = self.owner.get(f"/v1/tasks/{self.found['payment']}/why")
        self.found["approval"] = why["waiting_on"][0]["ref"]

    def _standstill(self) -> None:
        """Tasks that take long fill every slot; one whose try crashed waits behind them to try again, a new one waits
        too; and then the worker is stopped, so that nothing goes on and a step outlives its window in silence."""
        self.found["running"] = self.start_task("matching", **{"for": "2024", "seconds": 800})
        self.found["retrying"] = self.start_task("reminders", **{"for": "Breakwater & Sons", "after": 3})
        self.until(self.found["retrying"], "running")
        self.found["stalled"] = self.start_task("matching-small", **{"for": "April", "seconds": 800})
        self.until(self.found["stalled"], "running")
        # It takes the slot that the crashed try gives up.
        last = self.start_task("matching", **{"for": "2025", "seconds": 800})
        self.until(self.found["retrying"], "retrying")
        self.until(last, "running")
        self.found["queued"] = self.start_task("matching", **{"for": "2026", "seconds": 1})
        self.stop_worker()
        self.until(self.found["stalled"], "stalled")
        self.until(self.found["retrying"], "retrying")

    def worker(self) -> int:
        """The worker's process."""
        known = json.loads((self.home / "run" / "processes.json").read_text())
        return int(known["worker"]["pid"])

    def stop_worker(self) -> None:
        """Stops it as a debugger or a starved machine would: it lives, and does nothing."""
        os.kill(self.worker(), signal.SIGSTOP)

    def continue_worker(self) -> None:
        """Lets it go on, so that the instance can end in good order."""
        os.kill(self.worker(), signal.SIGCONT)


def main() -> None:
    """Seeds the running instance of WORKA_HOME and prints where to look."""
    day = BadDay()
    day.start()
    try:
        day.seed()
        link = day.approver.post("/v1/sign-in-links")["url"]
    except Failed as error:
        raise SystemExit(json.dumps(error.body, indent=2)) from error
    print(json.dumps({"url": day.url, "workspace": day.ids["workspace"], "sign_in": link, **day.found}, indent=2))


if __name__ == "__main__":
    main()
