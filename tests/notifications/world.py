"""A tenant with everybody in it, a real broker beside it, and a worker's two jobs to be run by hand."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.notifications.receiver import Receiver
from tests.workspaces.world import World
from worka.broker import service as exceptions
from worka.broker.platform import MailRoute, PlatformLimits
from worka.broker.ports import MemoryResolver, MemoryTreasury
from worka.broker.schema import NewNetworkException
from worka.broker.server import Broker
from worka.kernel import ipc
from worka.kernel.airgap import OPEN, AirGap
from worka.kernel.clock import now
from worka.kernel.context import Context, Principal
from worka.kernel.paths import Paths
from worka.kernel.settings import Settings
from worka.notifications import service
from worka.notifications.adapters import smtp
from worka.notifications.fan_out import fan_out
from worka.notifications.jobs import Sender

HOST = "hooks.worka.test"
Row = dict[str, Any]


@dataclass
class Town:
    """The world and what stands around it."""

    world: World
    broker: Broker
    paths: Paths
    resolver: MemoryResolver
    posted: list[Row] = field(default_factory=list)
    under_way: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.sender = Sender(self.world.nobody(), self.post, self.mail)

    async def post(self, args: Row, traceparent: str) -> Row:
        """As the worker's process calls the broker's."""
        self.posted.append(args)
        whose = args["subject_id"]
        self.under_way[whose] += 1
        self.most_at_once[whose] = max(self.most_at_once[whose], self.under_way[whose])
        try:
            found = await ipc.call_unix(
                self.paths.broker_socket, "platform_http", args, timeout=30, traceparent=traceparent
            )
        finally:
            self.under_way[whose] -= 1
        return dict(found)

    async def mail(self, who: Row, message: EmailMessage, to: str) -> smtp.Sent:
        """As the worker's process hands it over."""
        route, path = self.world.settings.mail, self.paths.broker_out_socket
        return await asyncio.to_thread(smtp.send, path, route, who, message, to)

    async def webhook(self, url: str = f"https://{HOST}/in", who: str = "admin", **changes: Any) -> Row:
        """A webhook, with its secret."""
        given = {"types": ["*"], "description": "", **changes}
        return await service.create(self.world.ctx(who), self.world.workspace_id, url=url, **given)

    async def exempt(self, receiver: Receiver, name: str = HOST) -> str:
        """Records the network exception behind which the receiver is."""
        new = NewNetworkException(
            name=name, port=443, address="127.0.0.1", real_port=receiver.port,
            ca_pem=receiver.authority.pem.decode(), reason="the test's receiver",
        )  # fmt: skip
        return str((await exceptions.create_exception(self.world.ctx("admin"), new))["id"])

    async def run(self) -> None:
        """The worker's two jobs, once, to their end."""
        await fan_out(self.world.nobody())
        await self.send()

    async def send(self) -> None:
        """What is due is tried, until nothing is due."""
        async with asyncio.timeout(60):
            while await self.sender.sweep():
                await self.sender.settle()

    async def deliveries(self, target: str | None = None) -> list[Row]:
        """The tenant's deliveries, oldest first."""
        where = "true" if target is None else "target = %s"
        return await self.world.rows("delivery", f"{where} order by id", *([target] if target else []))

    async def tries(self, delivery_id: str) -> list[Row]:
        """Of one delivery, in order."""
        return await self.world.rows("delivery_attempt", "delivery_id = %s order by number", delivery_id)

    async def egress(self) -> list[Row]:
        """The platform's own egress rows."""
        return await self.world.rows("egress", "attachment_id = 'platform' order by id")

    async def leave(self, *, keep: bool = False) -> None:
        """Ends the broker, and (unless the same test goes on) what the next test would otherwise be given to send."""
        await self.sender.close()
        await self.broker.close()
        shutil.rmtree(self.paths.home, ignore_errors=True)
        if keep:
            return
        async with self.world.db.transaction(self.world.tenant_id) as conn:
            await conn.execute(
                "update worka.delivery set state = 'skipped', reason = 'delivery_not_needed', next_at = null"
                " where state = 'queued'"
            )

    async def due_now(self) -> None:
        """As if every pause were over."""
        async with self.world.db.transaction(self.world.tenant_id) as conn:
            await conn.execute("update worka.delivery set next_at = now() where state = 'queued'")

    async def older(self, table: str, column: str, thing: str, hours: float) -> None:
        """As if it had been so much earlier."""
        async with self.world.db.transaction(self.world.tenant_id) as conn:
            await conn.execute(
                f"update worka.{table} set {column} = now() - make_interval(hours => %s) where id = %s",  # type: ignore[arg-type]
                (hours, thing),
            )


async def town(
    world: World, limits: PlatformLimits | None = None, mail: MailRoute | None = None, gap: AirGap = OPEN
) -> Town:
    """Starts the broker; the caller closes it."""
    # What other tests have asked for is told before anybody here could hear of it.
    while await fan_out(replace(world, settings=Settings(home=world.settings.home)).nobody(), 1000):
        pass
    paths = Paths(Path(tempfile.mkdtemp(prefix="ntf-")))  # a unix socket's path is short
    resolver = MemoryResolver({})

    def make(principal: Principal, **fields: Any) -> Context:
        return world.context(principal, **{key: value for key, value in fields.items() if value is not None})

    broker = Broker(
        paths, make_context=make, treasury=MemoryTreasury(), resolver=resolver, platform_limits=limits, mail=mail,
        gap=gap,
    )  # fmt: skip
    await broker.start()
    return Town(world, broker, paths, resolver)


__all__ = ["HOST", "Town", "now", "town"]
