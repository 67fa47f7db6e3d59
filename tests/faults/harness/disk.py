"""The row of the full disk: the home lies on a small tmpfs in a mount namespace of its own, and somebody fills it."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import threading
import time
from pathlib import Path

from tests.faults.harness import stage as stages
from tests.faults.harness.judge import Verdict
from tests.faults.harness.load import Load
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage
from tests.faults.harness.watch import Prober
from tests.support.database import reachable_directory
from worka.cli.client import Client, Failed

SIZE_MB = 1024
PRIVILEGED = ("create", "decide", "call")
# The platform looks a few times a second; a request that is under way then may still be done.
NOTICED_WITHIN = 1.0
BACK_WITHIN = 10.0
PASSWORD = "a long enough password for the reader"


class DiskFull(Row):
    name = "disk-full"
    promise = "privileged actions refused with the cause named; reads and sign-in work; nothing half-written; comes back by itself"
    mix = {"post": 5, "publish": 5, "read": 4}  # noqa: RUF012
    resume = None
    tail = 4.0
    private_mounts = True

    def build(self) -> Stage:
        self.folder = reachable_directory("test-faults-disk-")
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=755", "worka-faults", str(self.folder)]
        subprocess.run(command, check=True)
        stage = stages.build(self.folder)
        owner = stage.tenants[0].owner
        self.email = f"sid+{stage.tenants[0].run}@ada.test"
        invited = owner.post(f"/v1/workspaces/{owner.workspace}/invitations", {"email": self.email, "role": "viewer"})
        Client(stage.instance.url).post(
            "/v1/invitations/accept",
            {"token": invited["invitation_token"], "password": PASSWORD, "display_name": "Sid"},
        )
        return stage

    def close(self, stage: Stage) -> None:
        super().close(stage)
        subprocess.run(["umount", "-l", str(self.folder)], check=False)
        self.folder.rmdir()

    def strike(self, stage: Stage, load: Load, prober: Prober, rng: random.Random) -> Hit:
        hit = Hit(mode=rng.choice(["at once", "in small pieces"]), victim=f"a tmpfs of {SIZE_MB} MiB under WORKA_HOME")
        ballast = stage.home / "ballast"
        signed: list[str] = []
        over = threading.Event()
        visitor = threading.Thread(target=self._sign_in, args=(stage, signed, over))
        hit.at = time.time()
        try:
            met = fill(ballast, 4 << 20 if hit.mode == "at once" else 64 << 10)
            hit.facts["full_at"] = time.time()
            free = os.statvfs(stage.home).f_bavail
            if met == errno.ENOSPC:
                hit.proof.append(f"writing under the home met ENOSPC, {free} blocks were free then")
            time.sleep(NOTICED_WITHIN)
            visitor.start()
            load.ask(rng.uniform(5, 8))
        finally:
            over.set()
            visitor.join(20)
            hit.until = time.time()
            ballast.unlink(missing_ok=True)
        hit.facts["sign_ins"] = signed
        back = self._back(load, hit.until)
        hit.facts["back_after"] = back
        return hit

    def _sign_in(self, stage: Stage, signed: list[str], over: threading.Event) -> None:
        while not over.is_set():
            try:
                answer = Client(stage.instance.url, timeout=10).post(
                    "/v1/sessions", {"email": self.email, "password": PASSWORD}
                )
                token = answer["session_token"]
                Client(stage.instance.url, token, timeout=10).get("/v1/me")
                signed.append("ok")
            except Failed as failure:
                signed.append(f"{failure.body.get('status')} {failure.body.get('code')}")
            over.wait(0.8)

    def _back(self, load: Load, since: float) -> float:
        """Seconds until a privileged request was done again."""
        deadline = time.monotonic() + 2 * BACK_WITHIN
        while time.monotonic() < deadline:
            done = [e for e in list(load.tries) if e.op in PRIVILEGED and e.status == 200 and e.sent > since]
            if done:
                return round(done[0].done - since, 2)
            time.sleep(0.1)
        return float("inf")

    def judge(self, verdict: Verdict, stage: Stage, load: Load, prober: Prober, hit: Hit) -> None:
        verdict.worst("back_after", hit.facts.pop("back_after"), BACK_WITHIN, "coming back")
        full = hit.facts.pop("full_at", hit.at)
        inside = [e for e in load.tries if full + NOTICED_WITHIN <= e.sent and e.done <= hit.until]
        asked = [entry for entry in inside if entry.op in PRIVILEGED]
        verdict.say(asked, "nobody asked for anything privileged while the disk was full")
        done = [entry for entry in asked if entry.status == 200]
        verdict.say(not done, f"{len(done)} privileged requests were done on a full disk")
        codes = {entry.code for entry in asked if entry.status != 200}
        under_way = {"idempotency_key_in_flight", "call_in_flight"}
        verdict.say(codes <= {"disk_full", *under_way}, f"refused with {sorted(codes)}")
        reads = [entry for entry in inside if entry.op in ("read", "get", "card")]
        unread = [entry for entry in reads if entry.status != 200]
        signed = hit.facts.pop("sign_ins")
        # Callers whose calls are refused ask again and again, and read nothing meanwhile; who signs in reads each time.
        verdict.say(
            (reads or signed) and not unread,
            f"{len(unread)} of {len(reads)} reads failed: {[e.code for e in unread][:2]}",
        )
        verdict.say(signed and set(signed) == {"ok"}, f"signing in gave {sorted(set(signed))}")
        verdict.figures |= {
            "refused_in_fault": len(asked),
            "reads_in_fault": len(reads),
            "sign_ins_in_fault": len(signed),
        }


def fill(file: Path, piece: int) -> int:
    """Writes until there is no room, then until not even a byte fits; the error that was met."""
    met = 0
    with file.open("wb", buffering=0) as out:
        while piece:
            try:
                out.write(b"\0" * piece)
            except OSError as error:
                met = error.errno or 0
                piece //= 4
    return met
