"""The demo's last stage: an exported ledger, verified apart, and copies of it that were tampered with."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any


class EvidenceFailed(Exception):
    """The export cannot be read or verified at all."""


def verify_apart(export: Path) -> dict[str, Any]:
    """Runs the export's own verifier in a process that has no database address, no home and no network settings."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(export) as tar:
            tar.extractall(folder, filter="data")
        verifier = next(Path(folder).rglob("verify.py"))
        done = subprocess.run(
            [sys.executable, "-I", str(verifier), str(export), "--json"],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            check=False,
            timeout=120,
        )
    try:
        value = json.loads(done.stdout)
    except ValueError:
        raise EvidenceFailed(
            f"The offline verifier said nothing readable: {done.stdout[-200:]} {done.stderr[-400:]}"
        ) from None
    return {**value, "ok": bool(value.get("ok")) and done.returncode == 0}


def tampered(export: Path, target: Path, *, cut: bool) -> Path:
    """A copy of the export with one byte of a row changed, or with the last row of its longest lane cut off."""
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(export) as tar:
            tar.extractall(folder, filter="data")
        lanes = sorted(Path(folder).rglob("*.jsonl"), key=lambda path: path.stat().st_size)
        lane = lanes[-1]
        rows = lane.read_text().splitlines()
        if cut:
            rows = rows[:-1]
        else:
            middle = len(rows) // 2
            row = json.loads(rows[middle])
            key = (
                "body"
                if "body" in row
                else next(key for key, value in row.items() if isinstance(value, str) and len(value) > 40)
            )
            text = row[key]
            place = len(text) // 2
            row[key] = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
            rows[middle] = json.dumps(row)
        lane.write_text("".join(row + "\n" for row in rows))
        with tarfile.open(target, "w") as tar:
            for path in sorted(Path(folder).iterdir()):
                tar.add(path, arcname=path.name)
    return target
