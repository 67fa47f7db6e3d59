"""Eyes on the outside of a running instance: is the door ready, and does a reader of events miss or repeat one."""

from __future__ import annotations

import threading
import time

import httpx

from tests.faults.harness.stage import Stage, Tenant

EVERY = 0.05
CATCH_UP = 8.0


class Prober:
    """Asks /readyz twenty times a second, from a process that is not ours."""

    def __init__(self, stage: Stage) -> None:
        self.url = stage.instance.url
        self.samples: list[tuple[float, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(5)

    def _run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=3, trust_env=False) as http:
            while not self._over.is_set():
                asked = time.time()
                try:
                    status = http.get("/readyz").status_code
                except httpx.HTTPError:
                    status = 0
                self.samples.append((asked, status))
                self._over.wait(EVERY)

    def wait_ready(self, since: float, seconds: float) -> bool:
        """Waits until the door was asked after `since` and said that it is ready, twice in a row."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            last = [sample for sample in self.samples[-2:] if sample[0] > since]
            if len(last) == 2 and all(status == 200 for _, status in last):
                return True
            time.sleep(EVERY)
        return False

    def outage(self, since: float) -> tuple[float, list[int]]:
        """(seconds from `since` until the door was ready for good, what it said meanwhile). 0.0: it never failed."""
        after = [sample for sample in self.samples if sample[0] >= since - EVERY]
        bad = [index for index, (_, status) in enumerate(after) if status != 200]
        if not bad:
            return 0.0, []
        last = bad[-1]
        ready = after[last + 1][0] if last + 1 < len(after) else float("inf")
        return round(ready - since, 2), sorted({after[index][1] for index in bad})


class Reader:
    """Reads a workspace's events as a console does: it reconnects with the id of the last event that it saw."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.start_id: tuple[int, int] | None = None
        self.seen: list[tuple[int, int]] = []
        self.connections = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + 5
        while self.start_id is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def _run(self) -> None:
        headers = {"Authorization": f"Bearer {self.tenant.owner.token}"}
        path = self.tenant.owner.ws("/events")
        with httpx.Client(base_url=self.tenant.url, headers=headers, timeout=2, trust_env=False) as http:
            while not self._over.is_set():
                last = self.seen[-1] if self.seen else self.start_id
                resume = {"Last-Event-ID": f"{last[0]}-{last[1]}"} if last else {}
                try:
                    with http.stream("GET", path, headers=resume) as answer:
                        if answer.status_code == 200:
                            self.connections += 1
                            self._read(answer)
                except httpx.HTTPError:
                    pass
                self._over.wait(0.1)

    def _read(self, answer: httpx.Response) -> None:
        for line in answer.iter_lines():
            if line.startswith(": from ") and self.start_id is None:
                self.start_id = _place(line.removeprefix(": from "))
            elif line.startswith("id: "):
                self.seen.append(_place(line.removeprefix("id: ")))
            if self._over.is_set():
                return

    def finish(self, stage: Stage) -> list[str]:
        """What it missed or saw twice, by the rows themselves; waits a moment for it to catch up."""
        workspace = self.tenant.ids["workspace"]
        rows = stage.instance.rows("select xid::text as xid, id from worka.event where workspace_id = %s", workspace)
        start = self.start_id
        if start is None:
            self._over.set()
            return [f"the reader of {self.tenant.name} never got a stream"]
        there = {(int(row["xid"]), row["id"]) for row in rows}
        wanted = {place for place in there if place > start}
        deadline = time.monotonic() + CATCH_UP
        while not wanted <= set(self.seen) and time.monotonic() < deadline:
            time.sleep(0.1)
        self._over.set()
        self._thread.join(4)
        found = []
        if missing := wanted - set(self.seen):
            found.append(f"the reader of {self.tenant.name} missed {len(missing)} events, such as {min(missing)}")
        if len(self.seen) != len(set(self.seen)):
            found.append(f"the reader of {self.tenant.name} saw events twice")
        return found


def _place(text: str) -> tuple[int, int]:
    xid, _, number = text.strip().partition("-")
    return int(xid), int(number)
