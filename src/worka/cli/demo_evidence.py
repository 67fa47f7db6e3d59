"""The demo's last stage: an exported ledger, verified apart, and copies of it that were tampered with."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from worka.kernel import tars


class EvidenceFailed(Exception):
    """The export cannot be read or verified at all."""


def files_of(export: Path) -> dict[str, bytes]:
    """Name -> content of the export's plain files, as they stand there uncompressed; nothing is written to disk, so no name in
    it can lead anywhere. Raises EvidenceFailed."""
    try:
        with tarfile.open(export, "r:", tarinfo=tars.careful()) as tar:
            plain = [member for member in tar if member.isreg() and not member.issparse()]
            return {member.name: file.read() for member in plain if (file := tar.extractfile(member)) is not None}
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise EvidenceFailed(f"The export cannot be read: {type(error).__name__}.") from error


def verify_apart(export: Path) -> dict[str, Any]:
    """Runs the export's own verifier in a process that has no database address, no home and no network settings."""
    files = files_of(export)
    name = next((name for name in files if name.endswith("verify.py")), None)
    if name is None:
        raise EvidenceFailed("The export carries no verifier.")
    with tempfile.TemporaryDirectory() as folder:
        verifier = Path(folder) / "verify.py"
        verifier.write_bytes(files[name])
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
        raise EvidenceFailed(f"The verifier said nothing readable: {done.stdout[-200:]} {done.stderr[-400:]}") from None
    return {**value, "ok": bool(value.get("ok")) and done.returncode == 0}


def tampered(export: Path, target: Path, *, cut: bool) -> Path:
    """A copy of the export with one byte of a row's content changed, or with the last row of its longest lane cut off."""
    files = files_of(export)
    lane = max(
        (name for name in files if name.endswith(".jsonl") and "lane" in name), key=lambda name: len(files[name])
    )
    rows = files[lane].decode().splitlines()
    if cut:
        rows = rows[:-1]
    else:
        middle = next(n for n in range(len(rows) // 2, len(rows)) if json.loads(rows[n]).get("body"))
        row = json.loads(rows[middle])
        place = len(row["body"]) // 2
        row["body"] = row["body"][:place] + ("A" if row["body"][place] != "A" else "B") + row["body"][place + 1 :]
        rows[middle] = json.dumps(row)
    files[lane] = "".join(row + "\n" for row in rows).encode()
    with tarfile.open(target, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target
