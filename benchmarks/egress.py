"""Row 4: a request to the outside with its credential put on it, plain and with TLS intercepted, against mitmdump and tinyproxy.

Ours is the broker role as `worka up` starts it, in its process: a sandbox's network, the rule, the lease of the secret, the
row committed before the first request is sent, every further one counted in it, its outcome, audit, and the answer looked
through for the secret. What repeats itself and only reads waits for no commit of its own (ADR 0143); `apart` is of requests
that do.
mitmdump injects the same header by an addon; tinyproxy does so for plain HTTP and cannot read TLS. The outside and the
caller are the same programs for all; ours is called from inside a network namespace, the peers over loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb
from tests.support.database import Cluster, migrated, reachable_directory

import worka.api.app  # noqa: F401 - registers all actions, as an instance has them
from benchmarks import peers
from benchmarks.egress_outside import BIG, TOKEN
from benchmarks.machine import administrator, cpu_seconds
from benchmarks.rounds import Bar, Found, Round, Scenario
from benchmarks.targets import Target, free_port
from worka.audit.recorder import Recorder
from worka.broker import rules
from worka.broker.ca import Authority
from worka.broker.wire import h1, heads
from worka.governance import kills
from worka.governance.facade import Authorizer
from worka.kernel import ipc
from worka.kernel.context import Context, Principal
from worka.kernel.db import Database
from worka.kernel.events import Subscribers
from worka.kernel.ids import new_id
from worka.kernel.paths import Paths
from worka.kernel.settings import Settings
from worka.treasury import service
from worka.treasury.sealer import TreasurySealer

HERE = Path(__file__).resolve().parent
BOX = HERE.parent / "tests" / "broker" / "box.py"
OURS, BARE, NO_SECRET, MITM, TINY = "worka", "worka, no rows", "worka, no credential", "mitmdump", "tinyproxy"
PLAIN, SECURE = "plain.worka.test", "secure.worka.test"
CALLERS = 16


class Process(Target):
    """What runs; whoever calls it is a process too (egress_load.py)."""

    async def caller(self) -> Any:
        """None in this one."""
        raise NotImplementedError


class Outside(Process):
    """The outside, with a certificate for the names it is asked under."""

    def start(self, folder: Path) -> None:
        """Up; `plain` and `tls` are its ports, `authority` its CA."""
        self.authority = Authority("outside")
        key = self.authority._leaf_key.private_bytes(*_PEM)
        pem = folder / "outside.pem"
        pem.write_bytes(key + self.authority._leaf(SECURE))
        both = folder / "loopback.pem"
        both.write_bytes(key + self.authority._leaf("127.0.0.1"))
        (folder / "outside-ca.pem").write_bytes(self.authority.pem)
        self.plain, self.tls = self._serve(pem)
        # mitmdump asks for the address: it has no name that leads here.
        _, self.tls_by_address = self._serve(both)

    def _serve(self, pem: Path) -> tuple[int, int]:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "egress_outside.py"), str(pem)], stdout=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        return ports["plain"], ports["tls"]


def _pem() -> tuple[Any, Any, Any]:
    from cryptography.hazmat.primitives import serialization

    return serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()


_PEM = _pem()


class Mitmdump(Process):
    """mitmdump with its injecting addon, quiet, keeping no flows' bodies that it streams."""

    def start(self, folder: Path) -> None:
        """Up. Raises PeerMissing."""
        env = peers.environment("mitmproxy")
        self.port, self.home = free_port(), folder / "mitm"
        self.home.mkdir()
        command = [
            str(env / "bin" / "mitmdump"), "-q", "--listen-host", "127.0.0.1", "-p", str(self.port),
            "-s", str(peers.LOCKS / "mitm_inject.py"), "--set", f"confdir={self.home}",
            "--set", f"ssl_verify_upstream_trusted_ca={folder / 'outside-ca.pem'}", "--set", "stream_large_bodies=1m",
            "--set", "flow_detail=0", "--set", "termlog_verbosity=error",
        ]  # fmt: skip
        self.spawn(command, self.port, {"HOME": str(self.home), "PATH": os.environ["PATH"]}, folder / "mitm.log")
        self.ca = str(self.home / "mitmproxy-ca-cert.pem")


class Tinyproxy(Process):
    """tinyproxy, with the header set for all requests."""

    def start(self, folder: Path) -> None:
        """Up. Raises PeerMissing."""
        program = peers.debian("tinyproxy-bin", "usr/bin/tinyproxy", listed="tinyproxy")
        self.port = free_port()
        config = folder / "tinyproxy.conf"
        # A template that is not there only changes error pages.
        config.write_text(
            f"Port {self.port}\nListen 127.0.0.1\nMaxClients 200\nAllow 127.0.0.1\nLogLevel Critical\n"
            f'LogFile "{folder}/tinyproxy.log.own"\nPidFile "{folder}/tinyproxy.pid"\nTimeout 600\nDisableViaHeader Yes\n'
            f'AddHeader "Authorization" "{TOKEN}"\n'
        )
        self.spawn([str(program), "-d", "-c", str(config)], self.port, dict(os.environ), folder / "tinyproxy.log")


class Broker(Process):
    """The broker role on a home of its own, and one sandbox's network with a call under way in it."""

    def __init__(self, cluster: Cluster, db: Database, standing: Standing, name: str) -> None:
        super().__init__()
        self.cluster, self.db, self.standing, self.name = cluster, db, standing, name
        self.home = reachable_directory(f"bench-egress-{name}-")
        self.paths = Paths(self.home)
        self.box: asyncio.subprocess.Process | None = None

    async def start(self, *, ledger: bool = True) -> None:
        """Up, with the network open."""
        shutil.copytree(self.cluster.home / "keys", self.home / "keys", dirs_exist_ok=True)
        environ = {key: value for key, value in os.environ.items() if not key.startswith("WORKA_")} | {
            "WORKA_HOME": str(self.home), "WORKA_DATABASE__URL": self.cluster.urls.app,
            # The bars are of the road, not of its limits.
            "WORKA_BROKER__REQUESTS_PER_MINUTE": "1000000", "WORKA_BROKER__REQUESTS_AT_ONCE": "1024",
            "WORKA_BROKER__CALL_MB": "1000000", "WORKA_BROKER__DAY_MB": "1000000",
        }  # fmt: skip
        module = "worka.workers.broker" if ledger else "benchmarks.egress_serve"
        (self.home / "log").mkdir(exist_ok=True)
        with (self.home / "broker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=environ,
                cwd=HERE.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        for _ in range(400):
            if self.paths.broker_socket.exists() and self.paths.broker_net_socket.exists():
                break
            if process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        try:
            await self._open()
        except OSError as error:
            raise RuntimeError((self.home / "broker.log").read_text()[-2000:]) from error

    async def _open(self) -> None:
        standing = self.standing
        session = f"bench-{secrets.token_hex(4)}"
        opened = await self._ask(
            "open_session", session_id=session, tenant_id=standing.tenant, workspace_id=standing.place,
            attachment_id=standing.attachment,
        )  # fmt: skip
        self.bundle = opened["ca_bundle_path"]
        resolv = self.home / "resolv.conf"
        resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:2\n")
        self.box = await asyncio.create_subprocess_exec(
            sys.executable, str(BOX), str(self.paths.broker_net_socket), session, opened["token"], self.bundle, str(resolv),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 26,
        )  # fmt: skip
        assert self.box.stdout is not None
        assert json.loads(await self.box.stdout.readline())["ack"] == "k"
        invocation = await standing.invocation(self.db)
        await self._ask("begin", session_id=session, tenant_id=standing.tenant, invocation_id=invocation)

    async def _ask(self, op: str, **args: Any) -> Any:
        return await ipc.call_unix(self.paths.broker_socket, op, args, timeout=20)

    async def load(self, what: dict[str, Any]) -> dict[str, Any]:
        """Plays a load inside the sandbox's network."""
        assert self.box is not None
        assert self.box.stdin is not None
        assert self.box.stdout is not None
        argv = [sys.executable, str(HERE / "egress_load.py"), json.dumps(what)]
        self.box.stdin.write(json.dumps({"do": "run", "argv": argv, "timeout": 300}).encode() + b"\n")
        done = json.loads(await self.box.stdout.readline())
        if done.get("code") != 0:
            raise RuntimeError(str(done)[:2000])
        found: dict[str, Any] = json.loads(done["out"])
        return found

    def stop(self) -> None:
        """Gone with its home."""
        if self.box is not None and self.box.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.box.kill()
        super().stop()
        shutil.rmtree(self.home, ignore_errors=True)


class Standing:
    """The rows of one tenant: a release with its rules, an attachment, a connection and its granted secret."""

    def __init__(self, *, credential: bool) -> None:
        self.credential = credential
        self.tenant, self.place, self.attachment, self.release = (
            new_id("ten"),
            new_id("ws"),
            new_id("att"),
            new_id("rel"),
        )

    async def make(self, db: Database, ctx: dict[str, Any], outside: Outside) -> None:
        """Writes them."""
        connections = [
            {"provider": provider, "access": "read", "inject": {"host": host, "header": "Authorization"}}
            for provider, host in (("plain", PLAIN), ("secure", SECURE))
        ]
        manifest = {
            "outbound_domains": [
                {"host": host, "methods": ["GET", "POST"], "paths": ["/*"]} for host in (PLAIN, SECURE)
            ],
            "connections": connections if self.credential else [],
        }
        await self._write(db, manifest, outside)
        if not self.credential:
            return
        person = Principal("person", "per_bench", "Bench")
        owner = Context(principal=person, tenant_id=self.tenant, workspace_id=self.place, **ctx)
        for provider, host, port in (("plain", PLAIN, 80), ("secure", SECURE, 443)):
            made = await service.create(
                owner, self.place, name=provider, purpose="", kind="api_token", value=TOKEN.removeprefix("Bearer ")
            )
            await service.grant(owner, made["id"], self.attachment, f"{host}:{port}")
            await self._execute(
                db,
                "insert into worka.connection (tenant_id, id, workspace_id, provider, name, host, port, access, secret_id,"
                " state, reason, created_by) values (%s,%s,%s,%s,%s,%s,%s,'read',%s,'active','ok','bench')",
                self.tenant, new_id("con"), self.place, provider, provider, host, port, made["id"],
            )  # fmt: skip

    async def _write(self, db: Database, manifest: dict[str, Any], outside: Outside) -> None:
        await self._execute(
            db, "insert into worka.tenant (tenant_id, slug, name, created_by) values (%s, %s, 'T', 'bench')",
            self.tenant, self.tenant,
        )  # fmt: skip
        await self._execute(
            db,
            "insert into worka.workspace (tenant_id, id, slug, name, created_by) values (%s, %s, 'main', 'W', 'bench')",
            self.tenant, self.place,
        )  # fmt: skip
        await self._execute(
            db,
            "insert into worka.release (tenant_id, id, workspace_id, publisher, name, version, manifest, state, reason,"
            " created_by) values (%s, %s, %s, 'acme', 'fetch', '1.0.0', %s, 'released', 'release_in_service', 'bench')",
            self.tenant, self.release, self.place, Jsonb(manifest),
        )  # fmt: skip
        await self._execute(
            db,
            "insert into worka.attachment (tenant_id, id, workspace_id, release_id, pack, mode, state, reason, uid, digest,"
            " created_by) values (%s, %s, %s, %s, 'acme.fetch', 'pinned', 'attached', 'attachment_in_service', 1, 'd', 'b')",
            self.tenant, self.attachment, self.place, self.release,
        )  # fmt: skip
        pem = outside.authority.pem.decode()
        for host, port, real, ca in ((PLAIN, 80, outside.plain, ""), (SECURE, 443, outside.tls, pem)):
            await self._execute(
                db,
                "insert into worka.network_exception (tenant_id, id, workspace_id, name, port, address, real_port, ca_pem,"
                " reason, created_by) values (%s,%s,%s,%s,%s,'127.0.0.1',%s,%s,'bench','bench')",
                self.tenant, new_id("nex"), self.place, host, port, real, ca,
            )  # fmt: skip

    async def _execute(self, db: Database, sql: str, *values: Any) -> None:
        async with db.transaction(self.tenant) as conn:
            await conn.execute(sql.encode(), values)

    async def invocation(self, db: Database) -> str:
        """One that runs."""
        found = new_id("inv")
        await self._execute(
            db,
            "insert into worka.invocation (tenant_id, id, workspace_id, attachment_id, release_id, release_digest, pack, tool,"
            " side_effect, initiator_kind, initiator_id, decision_id, idempotency_key, args_digest, state, reason, trace_id)"
            " values (%s,%s,%s,%s,%s,'d','acme.fetch','fetch','write','person','per_bench','dec_x',%s,'a','running',"
            "'call_under_way',%s)",
            self.tenant, found, self.place, self.attachment, self.release, found, secrets.token_hex(16),
        )  # fmt: skip
        return found


class Egress:
    """The row."""

    name, number, title = "egress", 4, "egress with the credential injected, plain and intercepted TLS"

    def __init__(self, *, smoke: bool) -> None:
        self.smoke = smoke
        self.peers = {
            OURS: "Worka's broker role: rule, lease, row, count and outcome committed, audit, the answer looked through",
            BARE: "the same without its rows (the benchmark's own door: the product has no such switch)",
            NO_SECRET: "the same, of a pack without a connection: no lease, nothing injected, nothing looked through",
        }
        self.folder = reachable_directory("bench-egress-")
        self.outside = Outside()
        self.brokers: dict[str, Broker] = {}
        self.mitm: Mitmdump | None = None
        self.tiny: Tinyproxy | None = None
        self.cluster: Cluster
        self.db: Database
        self._made: Generator[Cluster, None, None]

    def scenarios(self) -> list[Scenario]:
        """Both kinds, one caller and sixteen; then what a layer costs."""
        mitm = (MITM,) if self.mitm is not None else ()
        tiny = (TINY,) if self.tiny is not None else ()
        return [
            Scenario("plain", "plain HTTP, one caller", (OURS, *mitm, *tiny), 2000, unit="request"),
            Scenario("apart", "plain HTTP, one caller, so seldom that each waits for its own row", (OURS, *tiny), 150, unit="request"),
            Scenario("plain16", f"plain HTTP, {CALLERS} callers", (OURS, *mitm, *tiny), 6000, by="rate", unit="request"),
            Scenario("tls", "intercepted TLS, one caller", (OURS, *mitm), 2000, unit="request"),
            Scenario("tls16", f"intercepted TLS, {CALLERS} callers", (OURS, *mitm), 6000, by="rate", unit="request"),
            Scenario("layers", "what a layer costs, one caller", (OURS, BARE, NO_SECRET), 2000, unit="request"),
            Scenario(
                "layers16", f"what a layer costs, {CALLERS} callers", (OURS, BARE, NO_SECRET), 6000, by="rate",
                unit="request",
            ),
        ]  # fmt: skip

    async def open(self) -> None:
        """A cluster, the outside, the brokers, the peers."""
        self._made = migrated("bench-egress-db-")  # type: ignore[assignment]
        self.cluster = await asyncio.to_thread(next, self._made)
        (self.cluster.home / "keys").mkdir(mode=0o700, exist_ok=True)
        self.db = Database(self.cluster.urls.app, "benchmark", size=4)
        await self.db.open()
        settings = Settings(home=self.cluster.home, database={"url": self.cluster.urls.app})  # type: ignore[arg-type]
        common = {
            "db": self.db, "authorizer": Anyone(), "recorder": Recorder(), "sealer": TreasurySealer(settings),
            "subscribers": Subscribers(), "settings": settings,
        }  # fmt: skip
        await asyncio.to_thread(self.outside.start, self.folder)
        full, free = Standing(credential=True), Standing(credential=False)
        for standing in (full, free):
            await standing.make(self.db, common, self.outside)
        for who, standing, ledger in ((OURS, full, True), (BARE, full, False), (NO_SECRET, free, True)):
            self.brokers[who] = Broker(self.cluster, self.db, standing, str(len(self.brokers)))
            await self.brokers[who].start(ledger=ledger)
        if not self.smoke:
            await self._peers()

    async def _peers(self) -> None:
        mitm, tiny = Mitmdump(), Tinyproxy()
        try:
            await asyncio.to_thread(mitm.start, self.folder)
            self.mitm = mitm
            version = peers.version("mitmproxy", "mitmproxy")
            self.peers[MITM] = (
                f"mitmdump {version}, the same header by an addon, large bodies streamed; nothing recorded"
            )
        except peers.PeerMissing as missing:
            mitm.stop()
            self.peers[MITM] = f"not measured: {missing}"
        try:
            await asyncio.to_thread(tiny.start, self.folder)
            self.tiny = tiny
            self.peers[TINY] = (
                "tinyproxy 1.11.1 (Debian), the same header by AddHeader; plain HTTP only, nothing recorded"
            )
        except peers.PeerMissing as missing:
            tiny.stop()
            self.peers[TINY] = f"not measured: {missing}"

    async def close(self) -> None:
        """Gone with their homes."""
        for target in (*self.brokers.values(), self.mitm, self.tiny, self.outside):
            if target is not None:
                await asyncio.to_thread(target.stop)
        if hasattr(self, "db"):
            await self.db.close()
        if hasattr(self, "_made"):
            await asyncio.to_thread(self._made.close)
        shutil.rmtree(self.folder, ignore_errors=True)

    def administrator(self) -> str:
        """For the floors."""
        return administrator(self.cluster.home)

    def _what(self, who: str, *, tls: bool, path: str = "/v1", **further: Any) -> dict[str, Any]:
        if who in self.brokers:
            place = {"way": "direct", "host": SECURE if tls else PLAIN, "port": 443 if tls else 80}
            ca = self.brokers[who].bundle
            path = "/free" if who == NO_SECRET and path == "/v1" else path
        else:
            peer = self.mitm if who == MITM else self.tiny
            assert peer is not None
            port = self.outside.tls_by_address if tls else self.outside.plain
            place = {"way": "proxy", "host": "127.0.0.1", "port": port, "proxy": ("127.0.0.1", peer.port)}
            ca = self.mitm.ca if self.mitm is not None else ""
        return {**place, "ca": ca if tls else "", "path": path, **further}

    async def _load(self, who: str, what: dict[str, Any]) -> dict[str, Any]:
        if who in self.brokers:
            return await self.brokers[who].load(what)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "egress_load.py"),
            json.dumps(what),
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 26,
        )
        out, _ = await process.communicate()
        found: dict[str, Any] = json.loads(out)
        return found

    def _pids(self, who: str) -> list[int]:
        if who in self.brokers:
            return [*self.brokers[who].pids(), self.cluster.server.running_pid() or 0]
        peer = self.mitm if who == MITM else self.tiny
        return peer.pids() if peer is not None else []

    async def play(self, scenario: Scenario, who: str, number: int, calls: int) -> Round:
        """`calls` requests by one caller or by sixteen."""
        callers = CALLERS if scenario.name.endswith("16") else 1
        # Layers are looked at where all of them are: with TLS.
        tls = not scenario.name.startswith(("plain", "apart"))
        # Longer than a look at the kill switches holds; the same for the peer, which then has slept as well.
        pause = 2 * kills.LOOK_SECONDS if scenario.name == "apart" else 0
        used = cpu_seconds(self._pids(who))
        found = await self._load(who, self._what(who, tls=tls, calls=calls, callers=callers, pause=pause))
        used = cpu_seconds(self._pids(who)) - used
        return Round(
            scenario.name, who, number, found["times"], found["seconds"], found["errors"], found["first_error"],
            cpu_seconds=used + found["cpu_seconds"], client_cpu_seconds=found["cpu_seconds"],
        )  # fmt: skip

    async def once(self) -> dict[str, Any]:
        """20 MB each way and what the broker grew by, rows for requests, and what the pure part costs."""
        found: dict[str, Any] = {"pure_us": _pure()}
        broker = self.brokers[OURS]
        pid = broker.pids()[0]
        for name, tls, further in (
            ("down", False, {"path": "/big"}), ("down_tls", True, {"path": "/big"}), ("up", False, {"send": BIG}),
            ("up_tls", True, {"send": BIG}),
        ):  # fmt: skip
            before = _reset_peak(pid)
            began = time.perf_counter()
            load = await broker.load(self._what(OURS, tls=tls, calls=1, callers=1, **further))
            grown = (_peak(pid) - before) / 1024
            found[name] = {
                "mb_s": round(BIG / 1e6 / (load["times"][0] / 1000), 1) if load["times"] else 0.0, "grown_mb": round(grown, 1),
                "errors": load["errors"], "seconds": round(time.perf_counter() - began, 2),
            }  # fmt: skip
        await asyncio.sleep(0.5)
        async with self.db.transaction(broker.standing.tenant) as conn:
            row = await (
                await conn.execute(
                    "select sum(count) as n from worka.egress where verdict = 'allowed' and status = 200"
                )
            ).fetchone()
        found["rows"] = row["n"] if row else 0
        return found

    def bars(self, found: Found) -> list[Bar]:
        """The row's bars."""
        bars = []
        if self.mitm is not None:
            for name, words in (("plain16", "plain"), ("tls16", "intercepted")):
                ratio = found.ratio(name, MITM)
                bars.append(
                    Bar(f"{words}, requests a second / mitmdump", ">= 2", ratio, ratio >= 2 and found.clean(name, MITM))
                )
        if self.tiny is not None:
            ratio, p50 = found.ratio("plain", TINY), found.p50("plain", OURS)
            commit = found.floor["durable_commit"]
            bars.append(
                Bar("plain, one caller, p50 / tinyproxy", "<= 3", ratio, ratio <= 3 and found.clean("plain", TINY),
                    f"of {p50:.2f} ms one durable commit is {commit:.2f}")
            )  # fmt: skip
        for extra in found.extras[-1:]:
            grown = max(extra[name]["grown_mb"] for name in ("down", "down_tls", "up", "up_tls"))
            bars.append(Bar("20 MB each way: the broker's memory grows by, MiB", "<= 12", grown, grown <= 12))
        return bars


class Anyone(Authorizer):
    """The rows are written by an owner whom nobody asks; the brokers decide with their own authorizer."""

    async def decide(self, ctx: Any, action: str, resource: Any, context: dict[str, Any]) -> Any:
        """Allowed."""
        from worka.kernel.context import Decision

        return Decision(new_id("dec"), "allow", "benchmark", (), (), (), "none", "")


def _pure(times: int = 2000) -> dict[str, float]:
    """Microseconds of the parts without sockets: a head read, a rule decided, a request written."""
    book = rules.parse_rules([{"host": f"h{n}.test", "methods": ["GET"], "paths": ["/*"]} for n in range(50)])
    raw = f"GET /v1?a=1 HTTP/1.1\r\nHost: {SECURE}\r\nAccept: */*\r\n\r\n".encode()

    def timed(act: Any) -> float:
        began = time.perf_counter()
        for _ in range(times):
            act()
        return round((time.perf_counter() - began) / times * 1e6, 1)

    def parsed() -> Any:
        server = h1.Server()
        server.receive(raw)
        return server.next()

    request = parsed()
    head = heads.read_head(request, intended=SECURE, port=443, sni=SECURE)
    injection = heads.Injection("authorization", None, TOKEN)
    return {
        "parse": timed(parsed),
        "check": timed(lambda: heads.read_head(request, intended=SECURE, port=443, sni=SECURE)),
        "rules_of_50": timed(lambda: rules.decide(book, "h49.test", 443, "GET", "/v1", "read_only")),
        "inject": timed(lambda: heads.outgoing(head, host=SECURE, port=443, injection=injection)),
    }


def _reset_peak(pid: int) -> int:
    """The resident kilobytes now, from which the peak is counted."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _peak(pid)


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def make(*, smoke: bool) -> Egress:
    """The row."""
    return Egress(smoke=smoke)
