"""Row 2: an authorization check over 100 workspaces x 20 people x 20 tools, against pre-parsed cedarpy and SpiceDB.

Ours is the façade's answer as every attempt gets it: the rights read in one statement of an open transaction, the question
asked of the access set and of the governance set of the tenant, each pre-parsed. `both sets alone` is the same without the
statement. Cedar alone has the same two sets and finds all entities of the graph parsed; SpiceDB walks its graph in memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import time
from collections.abc import Generator
from typing import Any

import cedarpy
from tests.support.database import Cluster, migrated

import worka.api.app  # noqa: F401 - registers all actions, as an instance has them
from benchmarks import peers
from benchmarks.machine import administrator, cpu_seconds
from benchmarks.rounds import Bar, Found, Round, Scenario
from worka import authorization, identity, workspaces
from worka.audit.recorder import Recorder
from worka.authorization import cedar, floor, rules
from worka.authorization.rules import Actor
from worka.governance import rules as gate
from worka.governance.facade import Authorizer
from worka.governance.service import save_policy
from worka.kernel import actions
from worka.kernel.context import Context, Principal, Resource
from worka.kernel.db import Database
from worka.kernel.events import Subscribers
from worka.kernel.ids import new_id
from worka.kernel.settings import Settings
from worka.treasury.sealer import TreasurySealer

WORKSPACES, PEOPLE, TOOLS = 100, 20, 20
FACADE, ALONE, CEDAR, RULE, SPICE = "facade", "both sets alone", "cedarpy", "cedarpy, one rule", "SpiceDB"
ROLES = ("owner", "admin", "member", "viewer", "viewer")
# A tenant's own policy, so that its sets are not the shipped ones alone.
POLICY = 'forbid(principal, action == Worka::Action::"task.cancel", resource) unless { principal.enabled };'


class Authorization:
    """The row."""

    name, number, title = "authorization", 2, "authorization check (100 workspaces x 20 people x 20 tools)"

    def __init__(self, *, smoke: bool) -> None:
        self.smoke = smoke
        self.peers = {
            FACADE: "Worka's facade: rights read by one statement, access set, governance set; in an open transaction",
            ALONE: "the same two sets, the question built anew, without the statement",
            CEDAR: "the shipped access and governance sets under the schema, all entities of the graph parsed beforehand: two"
            f" `is_authorized`, nothing read, nothing built; cedarpy {_version('cedarpy')}",
            RULE: "one rule without a schema over the same entities: what a check can cost at least",
        }
        self.spice: subprocess.Popen[str] | None = None
        self.cluster: Cluster
        self.db: Database
        self._made: Generator[Cluster, None, None]
        self.graph: list[dict[str, Any]] = []

    def scenarios(self) -> list[Scenario]:
        """One after the other, as a request asks; in random order over the graph."""
        who = [FACADE, ALONE, CEDAR, RULE] + ([SPICE] if self.spice is not None else [])
        return [Scenario("check", "one check after another", tuple(who), 2000, unit="check")]

    async def open(self) -> None:
        """A cluster with the graph, the parsed peer, and SpiceDB where it can be had."""
        self._made = migrated("bench-authorization-")  # type: ignore[assignment]
        self.cluster = await asyncio.to_thread(next, self._made)
        (self.cluster.home / "keys").mkdir(mode=0o700, exist_ok=True)
        self.db = Database(self.cluster.urls.app, "benchmark", size=4)
        await self.db.open()
        settings = Settings(home=self.cluster.home, database={"url": self.cluster.urls.app})  # type: ignore[arg-type]
        self.common = {
            "db": self.db, "authorizer": Authorizer(), "recorder": Recorder(), "sealer": TreasurySealer(settings),
            "subscribers": Subscribers(), "settings": settings,
        }  # fmt: skip
        chance = random.Random(2)
        for number in range(4 if self.smoke else WORKSPACES):
            self.graph.append(await self._place(number, chance))
        self._cedar()
        if not self.smoke:
            try:
                await asyncio.to_thread(self._start_spice)
            except peers.PeerMissing as missing:
                self.peers[SPICE] = f"not measured: {missing}"

    async def _place(self, number: int, chance: random.Random) -> dict[str, Any]:
        """A tenant with its workspace, people by role, and names of tools."""
        tenant, place = new_id("ten"), new_id("ws")
        people = [(new_id("per"), "owner" if n == 0 else chance.choice(ROLES)) for n in range(PEOPLE)]
        row = {"tenant_id": tenant, "created_by": "bench", "name": "Bench"}
        async with self.db.transaction(None) as conn:
            for person, _ in people:
                made = {"id": person, "email": f"{person}@bench.test", "display_name": "B", "password_hash": "!"}
                await identity.store.create_person(conn, {**made, "operator": False})
        async with self.db.transaction(tenant) as conn:
            await workspaces.store.create_tenant(conn, {**row, "slug": tenant[4:]})
            await workspaces.store.create_workspace(conn, {**row, "id": place, "slug": "main"})
            for person, role in people:
                member = {"workspace_id": place, "principal_kind": "person", "principal_id": person, "role": role}
                await workspaces.store.add_member(conn, {**row, **member, "approver": False})
        await save_policy(self._ctx(tenant, place, people[0][0]), place, "access", POLICY, "")
        tools = [f"acme.p{number}.t{n}" for n in range(TOOLS)]
        return {"tenant": tenant, "id": place, "people": people, "tools": tools}

    def _ctx(self, tenant: str, place: str, person: str) -> Context:
        return Context(
            principal=Principal("person", person, "bench"), tenant_id=tenant, workspace_id=place,
            originating_person=person, **self.common,
        )  # fmt: skip

    def _cedar(self) -> None:
        """The same graph for Cedar alone, parsed beforehand: for our sets as their requests carry it, and for one rule."""
        ours: dict[str, dict[str, Any]] = {}
        entities = []
        for place in self.graph:
            group = {"type": "Group", "id": place["id"]}
            entities.append({"uid": group, "attrs": {}, "parents": []})
            for person, role in place["people"]:
                parents = [group] if role != "viewer" else []
                entities.append({"uid": {"type": "Person", "id": person}, "attrs": {}, "parents": parents})
                for entity in self._request(place, person, role, place["tools"][0]).entities():
                    ours[json.dumps(entity["uid"])] = entity
            for tool in place["tools"]:
                attrs = {"invokers": {"__entity": group}}
                entities.append({"uid": {"type": "Tool", "id": tool}, "attrs": attrs, "parents": []})
                for entity in self._request(place, place["people"][0][0], "owner", tool).entities():
                    ours.setdefault(json.dumps(entity["uid"]), entity)
        text = 'permit(principal, action == Action::"invoke", resource) when { principal in resource.invokers };'
        self.rule_set = cedarpy.PolicySet.from_str(text)
        self.rule_entities = cedarpy.Entities.from_json_str(json.dumps(entities))
        self.cedar_entities = cedarpy.Entities.from_json_str(json.dumps(list(ours.values())), cedar.schema())

    def _request(self, place: dict[str, Any], person: str, role: str, tool: str) -> cedar.Request:
        thing = Resource("tool", tool, place["id"], {"side_effect": "read_only"})
        who = Actor("person", person, "bench", True, (role,))
        return rules.question(who, "tool.invoke", thing, {}, place["tenant"])

    def _start_spice(self) -> None:
        python = peers.environment("spicedb") / "bin" / "python"
        library = peers.npm("spicedb")
        self.spice = subprocess.Popen(
            [str(python), str(peers.LOCKS / "spicedb_checks.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={**os.environ, "SPICEDB_LIBRARY_PATH": str(library)},
        )  # fmt: skip
        self._told(json.dumps(self.graph))
        if self._heard() != "ready":
            self.spice.kill()
            self.spice = None
            raise peers.PeerMissing("it did not start")
        self.peers[SPICE] = (
            f"the same graph, fully consistent, in its own process's memory: {peers.version('spicedb', 'spicedb-embedded')}"
        )

    def _told(self, line: str) -> None:
        assert self.spice is not None
        assert self.spice.stdin is not None
        self.spice.stdin.write(line + "\n")
        self.spice.stdin.flush()

    def _heard(self) -> str:
        assert self.spice is not None
        assert self.spice.stdout is not None
        return self.spice.stdout.readline().strip()

    async def close(self) -> None:
        """Gone with its home."""
        if self.spice is not None:
            assert self.spice.stdin is not None
            self.spice.stdin.close()
            await asyncio.to_thread(self.spice.wait, 30)
        if hasattr(self, "db"):
            await self.db.close()
        if hasattr(self, "_made"):
            await asyncio.to_thread(self._made.close)

    def administrator(self) -> str:
        """For the floors."""
        return administrator(self.cluster.home)

    async def play(self, scenario: Scenario, who: str, number: int, calls: int) -> Round:
        """`calls` checks of random people on random tools of their workspace; a wrong answer is an error."""
        if who == SPICE:
            return await asyncio.to_thread(self._spice_round, scenario, number, calls)
        chance, times, wrong = random.Random(number), [], 0
        postmaster = self.cluster.server.running_pid() or 0
        database, client, began = cpu_seconds([postmaster]), time.process_time(), time.perf_counter()
        ask = {FACADE: self._facade, ALONE: self._alone, CEDAR: self._cedar_check, RULE: self._rule_check}[who]
        for _ in range(calls):
            place = chance.choice(self.graph)
            person, role = chance.choice(place["people"])
            took, allowed = await ask(place, person, role, chance.choice(place["tools"]))
            times.append(took * 1000)
            wrong += allowed != (role != "viewer")
        seconds = time.perf_counter() - began
        used, client = cpu_seconds([postmaster]) - database, time.process_time() - client
        return Round(
            scenario.name,
            who,
            number,
            times,
            seconds,
            wrong,
            "a wrong answer" if wrong else "",
            cpu_seconds=used + client,
            client_cpu_seconds=client,
        )

    async def _facade(self, place: dict[str, Any], person: str, _role: str, tool: str) -> tuple[float, bool]:
        ctx = self._ctx(place["tenant"], place["id"], person)
        authorizer: Authorizer = self.common["authorizer"]  # type: ignore[assignment]
        async with ctx.transaction():
            start = time.perf_counter()
            thing = Resource("tool", tool, place["id"], {"side_effect": "read_only"})
            found = await authorizer.ask(ctx, "tool.invoke", thing, {}, asked_by=person, keep=False)
            return time.perf_counter() - start, found.decision.verdict == "allow"

    async def _alone(self, place: dict[str, Any], person: str, role: str, tool: str) -> tuple[float, bool]:
        start = time.perf_counter()
        asked = self._request(place, person, role, tool)
        answer = rules.decide([asked], actions.get("tool.invoke"), floor.policies())
        allowed = answer.allowed and gate.gate(asked, gate.floor()).verdict == "allow"
        return time.perf_counter() - start, allowed

    async def _cedar_check(self, place: dict[str, Any], person: str, role: str, tool: str) -> tuple[float, bool]:
        asked = self._request(place, person, role, tool)
        question = {
            "principal": {"type": "Worka::Person", "id": person},
            "action": {"type": "Worka::Action", "id": "tool.invoke"},
            "resource": {"type": "Worka::Tool", "id": tool},
            "context": asked.context,
        }
        schema, yes = cedar.schema(), cedarpy.Decision.Allow
        access, governance = floor.policies().parsed, gate.floor().parsed
        start = time.perf_counter()
        allowed = cedarpy.is_authorized(question, access, self.cedar_entities, schema).decision == yes
        allowed = allowed and cedarpy.is_authorized(question, governance, self.cedar_entities, schema).decision == yes
        return time.perf_counter() - start, allowed

    async def _rule_check(self, _place: dict[str, Any], person: str, _role: str, tool: str) -> tuple[float, bool]:
        question = {
            "principal": {"type": "Person", "id": person},
            "action": {"type": "Action", "id": "invoke"},
            "resource": {"type": "Tool", "id": tool},
            "context": {},
        }
        start = time.perf_counter()
        answer = cedarpy.is_authorized(question, self.rule_set, self.rule_entities)
        return time.perf_counter() - start, answer.decision == cedarpy.Decision.Allow

    def _spice_round(self, scenario: Scenario, number: int, calls: int) -> Round:
        self._told(f"{calls} {abs(number)}")
        said = json.loads(self._heard())
        return Round(
            scenario.name, SPICE, number, said["times"], said["seconds"], said["wrong"], cpu_seconds=said["cpu"]
        )

    async def once(self) -> dict[str, Any]:
        """Revocations: after each has returned, the very next check on another connection, with warm sets."""
        stale, tried = 0, 0
        async with self.db.transaction(self.graph[0]["tenant"]) as conn:
            await authorization.store.in_force(conn, self.graph[0]["id"])
        for _ in range(20 if self.smoke else 500):
            place = random.choice(self.graph)
            person, role = random.choice(
                [one for one in place["people"][1:] if one[1] != "viewer"] or place["people"][:1]
            )
            tool = place["tools"][0]
            _, before = await self._facade(place, person, role, tool)
            async with self.db.transaction(place["tenant"]) as conn:
                await workspaces.store.change_member(conn, place["id"], "person", person, "viewer", False)
            _, after = await self._facade(place, person, role, tool)
            async with self.db.transaction(place["tenant"]) as conn:
                await workspaces.store.change_member(conn, place["id"], "person", person, role, False)
            tried += 1
            stale += after or not before
        return {"revocations tried": tried, "stale answers after a revocation": stale}

    def bars(self, found: Found) -> list[Bar]:
        """The row's bars."""
        p50, trip = found.p50("check", FACADE), found.floor["sql_round_trip"]
        bars = []
        ratio = found.ratio("check", CEDAR)
        floor_words = (
            f"{p50:.3f} ms is {p50 / trip:.1f} x one SQL round trip; both sets alone {found.p50('check', ALONE):.3f} ms"
        )
        bars.append(
            Bar("check / pre-parsed cedarpy", "<= 3", ratio, ratio <= 3 and found.clean("check", CEDAR), floor_words)
        )
        if self.spice is not None:
            ratio = found.ratio("check", SPICE)
            bars.append(Bar("check / SpiceDB", "<= 0.5", ratio, ratio <= 0.5 and found.clean("check", SPICE)))
        for extra in found.extras[-1:]:
            stale = extra["stale answers after a revocation"]
            bars.append(
                Bar(
                    "revocation holds for the very next call",
                    "always",
                    f"{stale} stale of {extra['revocations tried']}",
                    stale == 0,
                )
            )
        return bars


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def make(*, smoke: bool) -> Authorization:
    """The row."""
    return Authorization(smoke=smoke)
