"""Random orders of grants, revocations and checks over two processes with warm caches, against a model that knows nothing
of policy engines. The child: `python -m tests.authorization.orders`, a JSON line in, a JSON line out."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import worka.audit.actions
import worka.workers.wiring  # noqa: F401 - registers actions
from tests.plugins import catalogue
from tests.workspaces.world import TOOL, World
from worka.governance import service
from worka.identity import service as identity
from worka.kernel.context import Resource
from worka.kernel.db import Database
from worka.kernel.settings import Settings
from worka.workspaces import service as workspaces

ALL = frozenset({"owner", "admin", "member", "viewer"})
# What each role may do, written down once more: not read from the matrix.
HELD = {
    "task.view": ALL,
    "task.create": frozenset({"owner", "admin", "member"}),
    "tool.invoke": frozenset({"owner", "admin", "member"}),
    "member.invite": frozenset({"owner", "admin"}),
    "approval.decide": frozenset({"owner", "admin", "approver"}),
    "audit.export": frozenset({"owner", "admin"}),
}
TYPES = {"task.view": "task", "task.create": "workflow", "tool.invoke": "tool", "approval.decide": "approval"}
PEOPLE = ("ann", "ben", "cem", "dan")


@dataclass
class Model:
    """What was granted and not revoked, as it is known outside."""

    roles: dict[str, tuple[str, bool] | None] = field(default_factory=lambda: dict.fromkeys(PEOPLE))
    robot_enabled: bool = True
    robot_tools: bool = True
    forbidden: str = ""
    """The action that the tenant's access policy forbids."""
    no_effects: bool = False
    """Whether the tenant's governance policy denies writing."""

    def person(self, who: str, action: str) -> bool:
        """By role alone."""
        held = self.roles[who]
        if held is None:
            return False
        return held[0] in HELD[action] or (held[1] and action in ("approval.decide", "task.view"))

    def verdict(self, order: dict[str, Any]) -> str:
        """What a check has to answer."""
        action, who = order["action"], order["who"]
        if who == "robot":
            able = self.robot_enabled and (action != "tool.invoke" or self.robot_tools) and action in (
                "task.view", "task.create", "tool.invoke",
            ) and self.person(order["behind"], action)  # fmt: skip
        else:
            able = self.person(who, action)
        if not able or action == self.forbidden:
            return "deny"
        return "deny" if action == "tool.invoke" and self.no_effects else "allow"

    def apply(self, order: dict[str, Any]) -> None:
        """A change that was acknowledged."""
        match order["do"]:
            case "role":
                self.roles[order["who"]] = (order["role"], order["approver"])
            case "remove":
                self.roles[order["who"]] = None
            case "robot":
                self.robot_enabled, self.robot_tools = order["enabled"], order["tools"]
            case "access":
                self.forbidden = order["forbid"]
            case "governance":
                self.no_effects = order["deny"]


def random_check(chance: random.Random) -> dict[str, Any]:
    """A check of somebody for something."""
    who = chance.choice((*PEOPLE, *PEOPLE, "robot"))
    behind = chance.choice(PEOPLE) if who == "robot" else None
    return {"do": "check", "who": who, "behind": behind, "action": chance.choice(list(HELD))}


def random_change(chance: random.Random, model: Model) -> dict[str, Any]:
    """A grant or a revocation."""
    kind = chance.choices(("role", "remove", "robot", "access", "governance"), (10, 4, 4, 1, 1))[0]
    who = chance.choice(PEOPLE)
    if kind == "remove" and model.roles[who] is not None:
        return {"do": "remove", "who": who}
    if kind == "robot":
        return {"do": "robot", "enabled": chance.random() < 0.7, "tools": chance.random() < 0.7}
    if kind == "access":
        return {"do": "access", "forbid": chance.choice(("", *HELD))}
    if kind == "governance":
        return {"do": "governance", "deny": chance.random() < 0.5}
    return {
        "do": "role",
        "who": who,
        "joins": model.roles[who] is None,
        "role": chance.choice(("admin", "member", "viewer")),
        "approver": chance.random() < 0.3,
    }


# the child ----------------------------------------------------------------------------------------------------------
async def obey(world: World, order: dict[str, Any]) -> str:
    """Does one order in this process, as the product does it; the verdict of a check, else `done`."""
    owner, place = world.ctx("owner"), world.workspace_id
    who = world.ids.get(order.get("who", ""), "")
    match order["do"]:
        case "check":
            ctx = world.ctx(order["who"], behind=order["behind"])
            kind = TYPES.get(order["action"], "workspace")
            name = {"workspace": place, "tool": TOOL}.get(kind, "x")
            decision = await ctx.decide(
                order["action"], Resource(kind, name, place, {"side_effect": "write"} if kind == "tool" else {})
            )
            return decision.verdict
        case "role" if order["joins"]:
            await world.join(order["who"], order["role"], order["approver"])
        case "role":
            await workspaces.change_member(owner, place, who, order["role"], order["approver"])
        case "remove":
            await workspaces.remove_member(owner, place, who)
        case "robot":
            changes = {"enabled": order["enabled"], "tools": [TOOL] if order["tools"] else []}
            await identity.change_team_member(owner, place, world.ids["robot"], changes)
        case "access":
            forbid = (
                f'forbid(principal, action == Worka::Action::"{order["forbid"]}", resource);' if order["forbid"] else ""
            )
            # The owner must be able to save the next one: nothing of HELD is what that needs.
            await service.save_policy(owner, place, "access", forbid, "")
        case "governance":
            deny = '@verdict("deny") forbid(principal, action == Worka::Action::"tool.invoke", resource);'
            await service.save_policy(owner, place, "governance", deny if order["deny"] else "", "")
    return "done"


async def child() -> None:
    """One process: its own pool, its own parsed sets."""
    told = json.loads(sys.stdin.readline())
    db = Database(told["dsn"], "orders", size=2)
    await db.open()
    world = World(db, Settings(home=Path(told["home"])), told["tenant"], told["workspace"], told["ids"])
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = {"answer": await obey(world, json.loads(line))}
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), flush=True)
    await db.close()


class Child:
    """A running child; orders go in and answers come out in turn."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, dsn: str, world: World) -> Child:
        """Starts one and waits until it is ready."""
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(catalogue.CHECKOUT))))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.authorization.orders",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        made = cls(process)
        told = {
            "dsn": dsn,
            "home": str(world.settings.home),
            "tenant": world.tenant_id,
            "workspace": world.workspace_id,
        }
        made.send({**told, "ids": world.ids})
        assert await made.line() == "ready"
        return made

    def send(self, order: dict[str, Any]) -> None:
        """Sends without waiting."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")

    async def line(self) -> str:
        """The next line."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode().strip()

    async def answer(self) -> str:
        """The answer to the oldest order that has none."""
        said = json.loads(await self.line())
        assert "answer" in said, said
        return str(said["answer"])

    async def stop(self) -> None:
        """Ends it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), 30)


async def play(children: list[Child], seed: int, orders: int) -> dict[str, int]:
    """Plays random orders; raises AssertionError at the first answer that the model does not allow. Counts what was done."""
    chance, model = random.Random(seed), Model()
    counts = {"checks": 0, "changes": 0, "allowed": 0, "during": 0}
    for number in range(orders):
        if chance.random() < 0.75:
            order, by = random_check(chance), chance.choice(children)
            by.send(order)
            said = await by.answer()
            assert said == model.verdict(order), f"seed {seed}, order {number}: {order} was {said}; {model}"
            counts["checks"] += 1
            counts["allowed"] += said == "allow"
            continue
        change, by = random_change(chance, model), chance.choice(children)
        by.send(change)
        other = next(one for one in children if one is not by)
        check = random_check(chance)
        before = model.verdict(check)
        meanwhile = chance.random() < 0.3
        if meanwhile:  # a check while the change is under way may see it or not, and warms the cache in between
            other.send(check)
        assert await by.answer() == "done"
        model.apply(change)
        if meanwhile:
            said = await other.answer()
            assert said in (before, model.verdict(check)), f"seed {seed}, order {number}: {check} was {said}; {model}"
            counts["during"] += 1
        counts["changes"] += 1
        # The very next call, in the other process.
        other.send(check)
        said = await other.answer()
        assert said == model.verdict(check), (
            f"seed {seed}, order {number}, next call after {change}: {check} was {said}; {model}"
        )
        counts["checks"] += 1
    return counts


if __name__ == "__main__":
    asyncio.run(child())
