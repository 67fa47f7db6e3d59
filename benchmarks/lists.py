"""Row 9: a list of the API and a page of the console, over 1,000 tenants with a workspace of 100 tasks each.

Ours is one GET of fifty rows with a bearer token: authentication, membership, authorization with the tenant's policy, and the
rows with what each waits for. The same list on an instance with one tenant shows what the others cost. ContextForge lists
as many tools that it keeps in the same PostgreSQL.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from benchmarks import peers
from benchmarks.client import Connection
from benchmarks.machine import administrator, cpu_seconds
from benchmarks.rounds import Bar, Found, Round, Scenario
from benchmarks.targets import FastMcp, Target, Worka, Wrong

MANY, ONE, FORGE, PAGE = "1,000 tenants", "one tenant", "ContextForge", "console page"
TENANTS, TASKS, ROWS = 1000, 100, 50
MOST_BYTES = 300_000


class Place(Worka):
    """An instance with people and rows, and no packs."""

    def __init__(self, tenants: int, tasks: int) -> None:
        super().__init__()
        self.tenants, self.tasks = tenants, tasks
        self.words = ""

    def start(self) -> None:
        """Up; one tenant through public routes, the others and all tasks as rows."""
        self.instance.start()
        anyone = self.instance.client()
        setup = (self.instance.home / "run" / "setup-token").read_text().strip()
        person = {"password": secrets.token_urlsafe(18), "display_name": "Bench"}
        made = anyone.post("/v1/setup", {"token": setup, "email": "operator@bench.test", **person})
        operator = self.instance.client(made["session_token"])
        names = {"slug": "bench", "name": "Bench", "workspace_name": "Bench", "owner_email": "owner@bench.test"}
        tenant = operator.post("/v1/tenants", names)
        self.tenant, self.workspace = tenant["tenant_id"], tenant["workspace_id"]
        self.token = self._accept(anyone, tenant["invitation_token"]).token or ""
        self._fill()

    def _fill(self) -> None:
        """Tenants like the first one, each with its workspace and tasks: ids in the order of time, as ours are."""
        self.instance.rows(
            "insert into worka.tenant (tenant_id, slug, name, created_by) select 'ten_' || lpad(n::text, 26, '0'), 'b' || n,"
            " 'Bench', 'bench' from generate_series(2, %s) n returning tenant_id",
            self.tenants,
        )
        self.instance.rows(
            "insert into worka.workspace (tenant_id, id, slug, name, created_by) select tenant_id, 'ws' || substr(tenant_id, 4),"
            " 'main', 'Main', 'bench' from worka.tenant t where created_by = 'bench' returning id"
        )
        self.instance.rows(
            "insert into worka.workflow_definition (tenant_id, id, workspace_id, name, version, definition, digest, created_by)"
            " select tenant_id, 'wfd' || substr(id, 3), id, 'bench', 1, '{\"steps\": []}', 'd', 'bench' from worka.workspace"
            " returning id"
        )
        self.instance.rows(
            "insert into worka.task (tenant_id, id, workspace_id, definition_id, title, inputs, member_id, state, reason,"
            " trace_id, created_by, ended_at) select w.tenant_id, 'task_' || lpad(n::text, 26, '0'), w.id,"
            " 'wfd' || substr(w.id, 3), 'Task number ' || n, '{}', 'tmb_x', 'succeeded', 'all_steps_done', repeat('0', 32),"
            " 'bench', now() from worka.workspace w, generate_series(1, %s) n returning id",
            self.tasks,
        )

    @property
    def port(self) -> int:
        """Its door."""
        return int(self.instance.url.rsplit(":", 1)[1])


class Lists:
    """The row."""

    name, number, title = "lists", 9, "list APIs and console pages (1,000 workspaces x 100 rows)"

    def __init__(self, *, smoke: bool) -> None:
        self.smoke = smoke
        tasks = 60 if smoke else TASKS
        self.many, self.one = Place(20 if smoke else TENANTS, tasks), Place(1, tasks)
        self.targets: dict[str, Target] = {MANY: self.many, ONE: self.one}
        self.forge: Any = None
        self.bytes: dict[str, int] = {}
        self.peers = {
            MANY: "`GET /v1/workspaces/{w}/tasks?limit=50` at `worka up` as it ships, 1,000 tenants in the database",
            ONE: "the same with that tenant alone",
            PAGE: "`GET /w/{w}/tasks?show=all`, the console's page of the same tasks, the same instance",
        }

    def scenarios(self) -> list[Scenario]:
        """The list, beside the peer's; the same list alone; the page."""
        return [
            Scenario("list", "a list of fifty", (MANY, ONE, *([FORGE] if self.forge is not None else [])), 400),
            Scenario("page", "the console's page", (PAGE, MANY), 200, unit="page"),
        ]

    async def open(self) -> None:
        """Both of ours, then the peer; one that cannot be had is named and left out."""
        await asyncio.to_thread(self.many.start)
        await asyncio.to_thread(self.one.start)
        if self.smoke:
            return
        folder = self.many.instance.home / "peers"
        folder.mkdir()
        try:
            await asyncio.to_thread(self._start_forge, folder)
        except (peers.PeerMissing, KeyError) as missing:
            self.peers[FORGE] = f"did not run: {missing}"

    def _start_forge(self, folder: Any) -> None:
        from benchmarks.forge import ContextForge

        upstream = FastMcp(folder)
        self.targets["upstream"] = upstream
        self.forge = ContextForge(folder, self.administrator(), upstream.url)
        self.targets[FORGE] = self.forge
        for number in range(TASKS):
            tool = {"name": f"bench-{number}", "url": f"{upstream.url}/{number}", "integration_type": "REST"}
            self.forge.ask("/tools", {"tool": {**tool, "request_type": "GET", "description": f"Task number {number}"}})
        self.peers[FORGE] = f"`GET /tools?limit={ROWS}` over {TASKS} tools: {self.forge.words}"

    async def close(self) -> None:
        """Ends all of them, ours last: the peer uses its PostgreSQL."""
        for target in reversed(self.targets.values()):
            await asyncio.to_thread(target.stop)

    def administrator(self) -> str:
        """For the floors, and for the peer's database."""
        return administrator(self.many.instance.home)

    async def play(self, scenario: Scenario, who: str, number: int, calls: int) -> Round:
        """One caller, who waits for each answer. Ours of many asks again and again for its own tenant's rows."""
        target = self.targets[MANY if who == PAGE else who]
        connection = await Connection(target.port).open()  # type: ignore[attr-defined]
        ask = self._asking(who, connection)
        times: list[float] = []
        errors, first = 0, ""
        pids = target.pids()
        used, client, began = cpu_seconds(pids), time.process_time(), time.perf_counter()
        for _ in range(calls):
            start = time.perf_counter()
            try:
                await ask()
                times.append((time.perf_counter() - start) * 1000)
            except Exception as error:
                errors, first = errors + 1, first or repr(error)[:300]
                if not isinstance(error, Wrong):
                    connection = await Connection(target.port).open()  # type: ignore[attr-defined]
                    ask = self._asking(who, connection)
        seconds = time.perf_counter() - began
        used, client = cpu_seconds(pids) - used, time.process_time() - client
        connection.close()
        return Round(scenario.name, who, number, times, seconds, errors, first, 0, used + client, client)

    def _asking(self, who: str, connection: Connection) -> Callable[[], Any]:
        if who == FORGE:
            headers = {"Authorization": f"Bearer {self.forge.token}"}
            return lambda: self._listed(connection, f"/tools?limit={ROWS}", headers, who)
        place = self.one if who == ONE else self.many
        headers = {"Authorization": f"Bearer {place.token}"}
        if who == PAGE:
            page = {**headers, "Accept": "text/html"}
            return lambda: self._page(connection, f"/w/{place.workspace}/tasks?show=all", page)
        return lambda: self._listed(connection, f"/v1/workspaces/{place.workspace}/tasks?limit={ROWS}", headers, who)

    async def _listed(self, connection: Connection, path: str, headers: dict[str, str], who: str) -> None:
        status, _, data = await connection.get(path, headers)
        if status != 200:
            raise Wrong(f"{status}: {data[:300]!r}")
        found = json.loads(data)
        items = found if isinstance(found, list) else found.get("items") or found.get("tools") or found.get("data")
        if items is None or len(items) != ROWS:
            raise Wrong(f"{len(items or [])} rows, not {ROWS}: {data[:200]!r}")
        self.bytes[who] = len(data)

    async def _page(self, connection: Connection, path: str, headers: dict[str, str]) -> None:
        status, _, data = await connection.get(path, headers)
        if status != 200 or b"Task number" not in data:
            raise Wrong(f"{status}: {data[:300]!r}")
        self.bytes[PAGE] = len(data)

    async def once(self) -> dict[str, Any]:
        """How large the answers are."""
        return {f"bytes of {name}": size for name, size in sorted(self.bytes.items())}

    def bars(self, found: Found) -> list[Bar]:
        """The row's bars."""
        trip = found.floor.get("sql_round_trip", 0.0)
        bars = []
        if self.forge is not None:
            ratio = found.ratio("list", FORGE)
            bars.append(Bar(f"p50 / {FORGE}", "<= 0.5", ratio, ratio <= 0.5 and found.clean("list", FORGE)))
        else:
            note = self.peers.get(FORGE, "left out of a smoke")
            bars.append(Bar(f"p50 / {FORGE}", "<= 0.5", "did not run", None, note=note))
        ratio = found.ratio("list", ONE)
        bars.append(Bar("with 1,000 tenants / with one", "<= 1.2", ratio, None if self.smoke else ratio <= 1.2))
        for scenario, who, words in (("list", MANY, "list"), ("page", PAGE, "page")):
            p50, p99 = found.p50(scenario, who), found.p99(scenario, who)
            floor = f"{p50 / trip:.0f} x one SQL round trip" if trip else ""
            bars.append(Bar(f"{words}, p50 ms", "<= 10", p50, p50 <= 10, floor))
            bars.append(Bar(f"{words}, p99 ms", "<= 50", p99, p99 <= 50))
        size = self.bytes.get(PAGE, 0)
        bars.append(Bar("the page's own bytes", f"<= {MOST_BYTES}", size, 0 < size <= MOST_BYTES))
        bars.append(Bar("first page painted, s", "<= 1.5", "tests/console/test_budgets.py", None))
        return bars


def make(*, smoke: bool) -> Lists:
    """The row."""
    return Lists(smoke=smoke)
