"""Runs rows seed by seed; each result is one line, appended at once to tests/faults/results/<row>.jsonl."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.faults.harness import report
from tests.faults.harness.attaching import AttachmentKill
from tests.faults.harness.changing import ToolChanged
from tests.faults.harness.claims import TwoClaims
from tests.faults.harness.clock import Clock
from tests.faults.harness.database import AuditUnwritable, PostgresKill, PostgresRestarts, PostgresStorm
from tests.faults.harness.disk import DiskFull
from tests.faults.harness.judge import Verdict, judge
from tests.faults.harness.killing import ServerKill, WorkerKill
from tests.faults.harness.leaving import BrokerKill, EgressClock, EgressDiskFull, EgressUnwritable, LeaseDatabase
from tests.faults.harness.load import Load
from tests.faults.harness.outward import DnsDown, Drips, ProviderDown
from tests.faults.harness.packing import Crashing, DiskFill, ForkBomb, Hung, LogFlood, OutOfMemory
from tests.faults.harness.publishing import PublicationKill, RegistryFaults
from tests.faults.harness.rows import Hit, Row
from tests.faults.harness.stage import Stage
from tests.faults.harness.watch import Prober, Reader

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "tests" / "faults" / "results"
ROWS: dict[str, type[Row]] = {
    row.name: row
    for row in (
        WorkerKill,
        ServerKill,
        PostgresKill,
        PostgresRestarts,
        Hung,
        OutOfMemory,
        ForkBomb,
        LogFlood,
        DiskFill,
        Crashing,
        ToolChanged,
        PublicationKill,
        RegistryFaults,
        AttachmentKill,
        DiskFull,
        Clock,
        AuditUnwritable,
        TwoClaims,
        BrokerKill,
        Drips,
        ProviderDown,
        LeaseDatabase,
        DnsDown,
        EgressUnwritable,
        EgressDiskFull,
        EgressClock,
    )
}
STORM = PostgresStorm
WARM_UP = 1.0
SETTLE = 20.0


def commit() -> str:
    """The commit under test; `+` when the checkout differs from it (results aside)."""
    git = ["git", "-C", str(ROOT)]
    name = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", ".", ":!tests/faults/results"],
        capture_output=True,
        text=True,
        check=False,
    )
    return name.stdout.strip() + ("+" if changed.stdout.strip() else "")


def done_seeds(results: Path, row: str, of: str, *, missing: bool = False) -> set[int]:
    """Seeds of a row that are not run again: those that held on this commit; with `missing` those whose newest run held, on
    whatever commit (a checkout with changes is none)."""
    file = results / f"{row}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    held = {line["seed"] for line in lines if line["commit"] == of and line["verdict"] == "held"}
    if missing:
        newest = {line["seed"]: line for line in lines if not line["commit"].endswith("+")}
        held |= {seed for seed, line in newest.items() if line["verdict"] == "held"}
    return held


def one(row: Row, stage: Stage, seed: int, of: str, folder: Path) -> dict[str, Any]:
    """One seed: load, fault, recovery, judgement. Never raises: what broke the harness is a result too."""
    rng = random.Random(f"{row.name}:{seed}")
    began = time.time()
    line: dict[str, Any] = {
        "row": row.name,
        "seed": seed,
        "commit": of,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    verdict, hit = Verdict(), Hit()
    readers = [Reader(tenant) for tenant in stage.tenants]
    prober = Prober(stage)
    load: Load | None = None
    try:
        # A seed may be run again on the same instance: its markers must not meet those of the first run.
        load = row.load(stage, f"{seed}.{int(began) % 100000}", folder / "journal.jsonl", rng)
        prober.start()
        for reader in readers:
            reader.start()
        load.start()
        moment = round(WARM_UP + rng.uniform(0, 2.0), 2)
        time.sleep(moment)
        line["moment"] = moment
        hit = row.strike(stage, load, prober, rng)
        recovered = prober.wait_ready(hit.until, SETTLE)
        window = (hit.at, time.time() + 0.5)
        time.sleep(row.tail)
        left = load.stop()
        verdict = judge(stage, load, folder, window, clock=row.clock)
        verdict.say(hit.proof, "the fault was not proven to have hit: this seed proves nothing")
        verdict.say(recovered, f"the door was not ready within {SETTLE:g} s after the fault")
        verdict.say(not left, f"callers did not come back: {left}")
        for reader in readers:
            verdict.broken += reader.finish(stage)
        if row.resume is not None and "resumed_after" in verdict.figures:
            verdict.worst(
                "resumed_after", verdict.figures["resumed_after"], row.resume, "the resumption of a step in flight"
            )
        row.judge(verdict, stage, load, prober, hit)
    except Exception as error:
        verdict.broken.append(f"the harness broke off: {type(error).__name__}: {error}")
        traceback.print_exc()
        if load is not None:
            load.over.set()
    finally:
        prober.stop()
        stage.disarm()
    return line | {
        "failpoint": hit.failpoint,
        "mode": hit.mode,
        "victim": hit.victim,
        "proof": hit.proof,
        "figures": hit.facts | verdict.figures,
        "seconds": round(time.time() - began, 1),
        "verdict": "held" if not verdict.broken else "broken",
        "broken": verdict.broken[:12],
    }


def keep(line: dict[str, Any], results: Path) -> None:
    """Appends a result at once: whatever happens afterwards, it is there."""
    results.mkdir(parents=True, exist_ok=True)
    with (results / f"{line['row']}.jsonl").open("a") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def run_row(name: str, seeds: list[int], of: str, results: Path) -> bool:
    """All these seeds of one row on one instance; a broken instance is replaced by a new one."""
    row = (STORM if name == STORM.name else ROWS[name])()
    if row.private_mounts and "FAULTS_OWN_MOUNTS" not in os.environ:
        return apart(name, seeds, results)
    stage: Stage | None = None
    held = True
    with tempfile.TemporaryDirectory(prefix=f"faults-{name}-") as folder:
        try:
            for seed in seeds:
                try:
                    stage = stage or row.build()
                except Exception as error:
                    print(f"{name} seed {seed}: the instance did not come up: {error}", flush=True)
                    return False
                line = one(row, stage, seed, of, Path(folder))
                keep(line, results)
                said = "; ".join(line["broken"][:3]) or ", ".join(line["proof"])[:150]
                print(f"{name} seed {seed}: {line['verdict']} in {line['seconds']} s: {said}", flush=True)
                if line["verdict"] != "held":
                    held = False
                    save_logs(stage, name, seed, Path(folder))
                    row.close(stage)
                    stage = None
        finally:
            if stage is not None:
                row.close(stage)
    return held


def apart(name: str, seeds: list[int], results: Path) -> bool:
    """The row in a process with a mount namespace of its own: what it mounts is seen by nobody else, and goes with it."""
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, str(ROOT / "scripts" / "faults")]
    command += ["--rows", name, "--only", ",".join(map(str, seeds)), "--results", str(results)]
    return subprocess.run(command, env={**os.environ, "FAULTS_OWN_MOUNTS": "1"}, check=False).returncode == 0


def save_logs(stage: Stage, name: str, seed: int, folder: Path) -> None:
    """Keeps the logs and the journal of a broken seed, outside of the checkout, for whoever looks into it."""
    kept = Path(tempfile.mkdtemp(prefix=f"faults-broken-{name}-{seed}-"))
    for file in [*(stage.home / "log").glob("*"), stage.home / "up.log", stage.home / "pg" / "postgresql.log"]:
        if file.is_file():
            (kept / file.name).write_bytes(file.read_bytes()[-3_000_000:])
    if (folder / "journal.jsonl").exists():
        (kept / "journal.jsonl").write_bytes((folder / "journal.jsonl").read_bytes())
    print(f"  logs and journal: {kept}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """0 when every seed that ran held."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="seeds 1 to this number of each row")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--rows", default="", help=f"rows, with commas; all without: {', '.join(ROWS)}")
    parser.add_argument("--only", default="", help="exactly these seeds, with commas")
    parser.add_argument("--storm", action="store_true", help="5,000 workflows while PostgreSQL is restarted; once")
    parser.add_argument("--again", action="store_true", help="run seeds again that held on this commit")
    parser.add_argument(
        "--missing", action="store_true", help="only seeds whose newest run did not hold, on whatever commit"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the lines go")
    options = parser.parse_args(arguments)
    # Whoever ends us in the middle of a seed leaves no instance behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.storm:
        held = run_row(STORM.name, [options.first], commit(), options.results)
        report.write(options.results, [*ROWS, STORM.name])
        return 0 if held else 1
    rows = [name for name in options.rows.replace(",", " ").split()] or list(ROWS)
    if unknown := [name for name in rows if name not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    of = commit()
    held = True
    for name in rows:
        done = set() if options.again else done_seeds(options.results, name, of, missing=options.missing)
        seeds = [seed for seed in range(options.first, options.seeds + 1) if seed not in done]
        if options.only:
            seeds = [int(seed) for seed in options.only.split(",")]
        if seeds:
            held = run_row(name, seeds, of, options.results) and held
        report.write(options.results, [*ROWS, STORM.name])
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
