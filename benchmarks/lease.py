"""Row 5: a secret leased and decrypted for one call, authorized and audited, against OpenStack Barbican's payload of a secret.

Ours is `treasury.service.lease` as the broker calls it, in its process: invocation, grants, policy, kill switches and the seal
read, the value decrypted, the lease row, its event and its audit row committed, then the value. Barbican is asked over HTTP on
a kept-alive connection, as its clients do: its policy looked at, its value decrypted, nothing written (it audits nothing by
itself), on SQLite in a file, which is faster for it here than a database server.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import statistics
import time
from collections.abc import Generator
from typing import Any, LiteralString

import psycopg
import uvloop
from psycopg.types.json import Jsonb
from tests.support.database import Cluster, migrated, reachable_directory

import worka.api.app  # noqa: F401 - registers all actions, as an instance has them
from benchmarks import peers
from benchmarks.client import Connection
from benchmarks.machine import administrator, cpu_seconds, database_floors
from benchmarks.rounds import Bar, Found, Round, Scenario
from benchmarks.targets import Target, free_port
from worka import identity, workspaces
from worka.audit.recorder import Recorder
from worka.governance.facade import Authorizer
from worka.kernel.context import Context, Principal
from worka.kernel.db import Database
from worka.kernel.events import Subscribers
from worka.kernel.ids import new_id
from worka.kernel.settings import Settings
from worka.treasury import service
from worka.treasury.sealer import TreasurySealer

OURS, PEER = "lease", "Barbican"
VALUE = "tracker-" + "x" * 32
HERE = "tracker.example.com:443"
CALLERS = 8
LOOP = uvloop.new_event_loop
"""As the broker has it (workers/broker.py), in whose process leases are given."""
COMMIT_MS = 1000 / 858
"""What a durable commit took where the bars were written: 858 a second by one caller."""
SLOWER_MS = (COMMIT_MS, 2.0, 4.0)
"""Durable commits as they are on disks over a network, and on those without a cache that survives."""
HEADERS = {
    "X-Identity-Status": "Confirmed", "X-Project-Id": "bench", "X-User-Id": "bench", "X-Roles": "creator",
    "Accept": "text/plain",
}  # fmt: skip


class Barbican(Target):
    """Barbican on gunicorn, two processes, with its shipped pipeline without Keystone and its simple crypto plugin."""

    def __init__(self) -> None:
        super().__init__()
        self.home = reachable_directory("bench-barbican-")
        self.port = free_port()
        self.path = ""

    def start(self) -> None:
        """Up. Raises PeerMissing."""
        env = peers.environment("barbican")
        place = self.home / ".barbican"
        place.mkdir()
        kek = base64.urlsafe_b64encode(os.urandom(32)).decode()
        (place / "barbican.conf").write_text(
            f"[DEFAULT]\nhost_href = http://127.0.0.1:{self.port}\ndb_auto_create = true\nlog_file = {self.home}/barbican.log\n"
            f"[database]\nconnection = sqlite:///{self.home}/barbican.sqlite\n"
            "[secretstore]\nenabled_secretstore_plugins = store_crypto\n"
            f"[crypto]\nenabled_crypto_plugins = simple_crypto\n[simple_crypto_plugin]\nkek = {kek}\n[queue]\nenable = false\n"
            "[oslo_policy]\nenforce_scope = false\nenforce_new_defaults = false\n"
        )
        (paste,) = env.glob("etc/barbican/barbican-api-paste.ini")
        text = paste.read_text().replace("/v1: barbican-api-keystone", "/v1: barbican_api")
        (place / "api-paste.ini").write_text(text.replace(" unauthenticated-context ", " context "))
        shutil.copy(peers.LOCKS / "barbican_serve.py", self.home / "barbican_serve.py")
        environ = {"HOME": str(self.home), "PATH": os.environ["PATH"], "PYTHONPATH": str(self.home)}
        command = [
            str(env / "bin" / "python"),
            "-m",
            "gunicorn",
            "--preload",
            "-w",
            "2",
            "-k",
            "gthread",
            "--threads",
            "4",
        ]
        command += ["--keep-alive", "300", "-b", f"127.0.0.1:{self.port}", "barbican_serve:application"]
        self.spawn(command, self.port, environ, self.home / "gunicorn.log")

    async def make(self) -> None:
        """The secret."""
        connection = await Connection(self.port).open()
        body = json.dumps({"name": "a", "payload": VALUE, "payload_content_type": "text/plain"}).encode()
        headers = {**HEADERS, "Accept": "application/json", "Content-Type": "application/json"}
        status, _, data = await connection.post("/v1/secrets", headers, body)
        if status != 201:
            raise peers.PeerMissing(f"Barbican answered {status} to a new secret: {data[:200]!r}")
        self.path = "/v1/secrets/" + json.loads(data)["secret_ref"].rsplit("/", 1)[1] + "/payload"
        connection.close()

    async def caller(self) -> Any:
        """A kept-alive connection."""
        return await Connection(self.port).open()

    def stop(self) -> None:
        """Gone with its home."""
        super().stop()
        shutil.rmtree(self.home, ignore_errors=True)


class Lease:
    """The row."""

    name, number, title = "lease", 5, "secret lease and decrypt, authorized and audited"

    def __init__(self, *, smoke: bool) -> None:
        self.smoke = smoke
        self.peers = {
            OURS: "Worka: read, decided, decrypted, and committed with lease row, event and audit row; in process, as the broker"
        }
        self.barbican: Barbican | None = None
        self.db: Database
        self.cluster: Cluster
        self._made: Generator[Cluster, None, None]

    def scenarios(self) -> list[Scenario]:
        """One after the other, and eight at once."""
        who = (OURS, PEER) if self.barbican is not None else (OURS,)
        return [
            Scenario("one", "one caller", who, 500),
            Scenario("eight", f"{CALLERS} callers", who, 1000, by="rate"),
        ]

    async def open(self) -> None:
        """A cluster with one tenant, one secret that one attachment may use, and calls that run."""
        self._made = migrated("bench-lease-")  # type: ignore[assignment]
        self.cluster = await asyncio.to_thread(next, self._made)
        (self.cluster.home / "keys").mkdir(mode=0o700, exist_ok=True)
        self.db = Database(self.cluster.urls.app, "benchmark", size=CALLERS)
        await self.db.open()
        settings = Settings(home=self.cluster.home, database={"url": self.cluster.urls.app})  # type: ignore[arg-type]
        self.common = {
            "db": self.db, "authorizer": Authorizer(), "recorder": Recorder(), "sealer": TreasurySealer(settings),
            "subscribers": Subscribers(), "settings": settings,
        }  # fmt: skip
        self.tenant, self.place, self.attachment = new_id("ten"), new_id("ws"), new_id("att")
        await self._people()
        owner = Context(
            principal=Principal("person", self.person, "bench"), tenant_id=self.tenant, workspace_id=self.place,
            originating_person=self.person, **self.common,
        )  # type: ignore[arg-type]  # fmt: skip
        made = await service.create(owner, self.place, name="a", purpose="", kind="api_token", value=VALUE)
        self.secret = made["id"]
        await service.grant(owner, self.secret, self.attachment, HERE)
        if not self.smoke:
            try:
                self.barbican = Barbican()
                await asyncio.to_thread(self.barbican.start)
                await self.barbican.make()
                self.peers[PEER] = (
                    f"Barbican {peers.version('barbican', 'barbican')} on gunicorn over HTTP, simple crypto, SQLite, its policy"
                    " looked at; no Keystone before it, nothing audited"
                )
            except peers.PeerMissing as missing:
                assert self.barbican is not None
                self.barbican.stop()
                self.barbican = None
                self.peers[PEER] = f"not measured: {missing}"

    async def _people(self) -> None:
        self.person, release = new_id("per"), new_id("rel")
        row = {"tenant_id": self.tenant, "created_by": "bench", "name": "Bench"}
        async with self.db.transaction(None) as conn:
            made = {"id": self.person, "email": f"{self.person}@bench.test", "display_name": "B", "password_hash": "!"}
            await identity.store.create_person(conn, {**made, "operator": False})
        async with self.db.transaction(self.tenant) as conn:
            await workspaces.store.create_tenant(conn, {**row, "slug": self.tenant[4:]})
            await workspaces.store.create_workspace(conn, {**row, "id": self.place, "slug": "main"})
            member = {"principal_kind": "person", "principal_id": self.person, "role": "owner", "approver": False}
            await workspaces.store.add_member(conn, {**row, "workspace_id": self.place, **member})
            await conn.execute(
                "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state, reason,"
                " created_by) values (%s, %s, %s, 'acme', 'notes', '1.0.0', %s, 'released', 'release_in_service', 'bench')",
                (self.tenant, release, self.place, Jsonb({})),
            )
            await conn.execute(
                "insert into worka.attachment (tenant_id, id, workspace_id, release_id, pack, mode, state, reason, uid,"
                " digest, created_by) values (%s, %s, %s, %s, 'acme.notes', 'pinned', 'attached', 'attachment_in_service', 1,"
                " 'd', 'bench')",
                (self.tenant, self.attachment, self.place, release),
            )
            self.calls = [new_id("inv") for _ in range(CALLERS)]
            for one in self.calls:
                await conn.execute(
                    "insert into worka.invocation (tenant_id, id, workspace_id, attachment_id, release_id, release_digest,"
                    " pack, tool, side_effect, initiator_kind, initiator_id, decision_id, idempotency_key, args_digest, state,"
                    " reason, trace_id) values (%s, %s, %s, %s, %s, 'd', 'acme.notes', 'publish', 'external_side_effect',"
                    " 'person', %s, 'dec_x', %s, 'a', 'running', 'call_under_way', 't')",
                    (self.tenant, one, self.place, self.attachment, release, self.person, one),
                )

    async def close(self) -> None:
        """Gone with its home."""
        if self.barbican is not None:
            await asyncio.to_thread(self.barbican.stop)
        if hasattr(self, "db"):
            await self.db.close()
        if hasattr(self, "_made"):
            await asyncio.to_thread(self._made.close)

    def administrator(self) -> str:
        """For the floors."""
        return administrator(self.cluster.home)

    async def play(self, scenario: Scenario, who: str, number: int, calls: int) -> Round:
        """`calls` values, by one caller or by eight."""
        callers, times, errors, first = CALLERS if scenario.name == "eight" else 1, [], 0, ""

        async def caller(start: int) -> None:
            nonlocal errors, first
            connection = await self.barbican.caller() if who == PEER and self.barbican is not None else None
            for _ in range(start, calls, callers):
                began = time.perf_counter()
                try:
                    value = await (self._ours(start) if connection is None else self._theirs(connection))
                    times.append((time.perf_counter() - began) * 1000)
                    if value != VALUE:
                        raise ValueError("another value")
                except Exception as error:
                    errors, first = errors + 1, first or repr(error)[:200]
            if connection is not None:
                connection.close()

        pids = (
            [self.cluster.server.running_pid() or 0] if who == OURS else self.barbican.pids() if self.barbican else []
        )
        used, client, began = cpu_seconds(pids), time.process_time(), time.perf_counter()
        await asyncio.gather(*(caller(start) for start in range(callers)))
        seconds = time.perf_counter() - began
        used, client = cpu_seconds(pids) - used, time.process_time() - client
        return Round(
            scenario.name,
            who,
            number,
            times,
            seconds,
            errors,
            first,
            cpu_seconds=used + client,
            client_cpu_seconds=client,
        )

    async def _ours(self, number: int) -> str:
        principal = Principal("attachment", self.attachment, "acme.notes", self.tenant)
        ctx = Context(principal=principal, tenant_id=self.tenant, workspace_id=self.place, **self.common)  # type: ignore[arg-type]
        found = await service.lease(
            ctx, secret_id=self.secret, attachment_id=self.attachment, invocation_id=self.calls[number], endpoint=HERE
        )
        return found.value

    async def _theirs(self, connection: Connection) -> str:
        assert self.barbican is not None
        status, _, data = await connection.get(self.barbican.path, HEADERS)
        return data.decode() if status == 200 else f"{status}"

    async def once(self) -> dict[str, Any]:
        """Every lease that was given has its row and its audit row."""
        async with self.db.transaction(self.tenant) as conn:
            rows = await (await conn.execute("select count(*) as n from worka.lease")).fetchone()
            told = await (
                await conn.execute("select count(*) as n from worka.event where type = 'treasury.secret.leased'")
            ).fetchone()
        assert rows is not None
        assert told is not None
        return {"leases": rows["n"], "recorded": told["n"], **await self._on_slower_disks()}

    async def _on_slower_disks(self) -> dict[str, Any]:
        """The clause of two durable commits is one about the disk. PostgreSQL itself is made to wait before each flush, until a
        durable commit takes as long as wanted; then commits and leases take turns."""
        found: dict[str, Any] = {"slower": []}
        delay = 0.0
        for wanted in SLOWER_MS:
            for _ in range(1 if self.smoke else 6):
                delay = max(0.0, delay + (wanted - await self._commit()) * 1000)
                await asyncio.to_thread(self._delay, f"alter system set commit_delay = {round(delay)}")
            ratios, commits, leases, errors = [], [], [], 0
            for number in range(1 if self.smoke else 5):
                commits.append(await self._commit())
                round_ = await self.play(self.scenarios()[0], OURS, number, 300)
                leases.append(round_.p50)
                ratios.append(leases[-1] / commits[-1])
                errors += round_.errors
            commit, lease, ratio = (statistics.median(times) for times in (commits, leases, ratios))
            found["slower"].append({"commits": ratio, "worst": max(ratios), "errors": errors, "commit_ms": commit})
            found[f"where a durable commit takes {commit:.2f} ms"] = (
                f"a lease {lease:.2f} ms: {ratio:.2f} commits, {max(ratios):.2f} in the worst round"
            )
        await asyncio.to_thread(self._delay, "alter system reset commit_delay")
        return found

    async def _commit(self) -> float:
        """One durable commit now, in milliseconds."""
        return (await asyncio.to_thread(database_floors, self.administrator(), 300, 1))["durable_commit"]

    def _delay(self, setting: LiteralString) -> None:
        with psycopg.connect(self.administrator(), autocommit=True) as conn:
            conn.execute("alter system set commit_siblings = 0")
            conn.execute(setting)
            conn.execute("select pg_reload_conf()")
        time.sleep(0.5)  # until every server process has read it

    def bars(self, found: Found) -> list[Bar]:
        """The row's bars."""
        p50, commit = found.p50("one", OURS), found.floor["durable_commit"]
        bars = [
            Bar(
                "one caller, p50 ms", f"<= 2 durable commits = {2 * commit:.2f}", p50, p50 <= 2 * commit,
                f"{p50 / commit:.1f} x one durable commit; {p50 / found.floor['sql_round_trip']:.0f} x one SQL round trip",
            )
        ]  # fmt: skip
        if self.barbican is not None:
            ratio = found.ratio("one", PEER)
            bars.append(Bar("one caller, p50 / Barbican", "<= 0.3", ratio, ratio <= 0.3 and found.clean("one", PEER)))
            ratio = found.ratio("eight", PEER)
            clean = found.clean("eight", PEER)
            bars.append(Bar(f"{CALLERS} callers, leases a second / Barbican", ">= 10", ratio, ratio >= 10 and clean))
        for extra in found.extras[-1:]:
            at = extra["slower"][0]
            bars.append(
                Bar(
                    "one caller, durable commits, where one takes as long as where the bars were written",
                    "<= 2", at["commits"], at["commits"] <= 2 and not at["errors"],
                    f"{at['commit_ms']:.2f} ms; {at['worst']:.2f} in the worst round",
                )
            )  # fmt: skip
            same = extra["leases"] == extra["recorded"]
            bars.append(
                Bar("recorded leases = given leases", "always", f"{extra['recorded']} of {extra['leases']}", same)
            )
        return bars


def make(*, smoke: bool) -> Lease:
    """The row."""
    return Lease(smoke=smoke)
