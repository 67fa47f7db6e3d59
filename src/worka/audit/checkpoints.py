"""Checkpoints in the object store: `<n>.json` (the vector of heads and the signed note) and `<n>.txt` (the note alone).

The note is a C2SP tlog-checkpoint: origin, tree size, root, then our lines `number`, `time` and `previous`, the
SHA-256 of the checkpoint before it. A file appears whole or not at all, and never twice: the link fails if the number
is taken.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from worka.audit import merkle, rules
from worka.audit.rules import Vector
from worka.audit.sign import SealKey, create_once
from worka.kernel import failpoints

_DIGITS = 12
_HINT = "latest"


class NumberTaken(Exception):
    """Another sealer wrote this checkpoint first."""


@dataclass(frozen=True)
class Checkpoint:
    """One signed vector of heads. `time` is ISO 8601 UTC; `lost` names chains that are carried on because they went
    back."""

    number: int
    time: str
    note: str
    vector: Vector
    lost: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """SHA-256 of the note in base64, as the next checkpoint names it."""
        return base64.b64encode(hashlib.sha256(self.note.encode()).digest()).decode()

    @property
    def at(self) -> datetime:
        """The time of signing."""
        return datetime.fromisoformat(self.time.replace("Z", "+00:00"))

    def proof(self, tenant: str) -> dict[str, Any]:
        """The tenant's leaf with its inclusion proof: {number, index, size, tenant, heads, path (base64)}. KeyError."""
        tenants = sorted(self.vector)
        index = tenants.index(tenant) if tenant in self.vector else -1
        if index < 0:
            raise KeyError(tenant)
        path = merkle.inclusion(leaf_hashes(self.vector), index)
        heads = self.vector[tenant]
        return {
            "number": self.number,
            "index": index,
            "size": len(tenants),
            "tenant": tenant,
            "heads": [[lane, *heads[lane]] for lane in sorted(heads)],
            "path": [base64.b64encode(step).decode() for step in path],
        }


def leaf_hashes(vector: Vector) -> list[bytes]:
    """The leaves of the tree, in order of the tenants' ids."""
    return [merkle.leaf_hash(rules.leaf(tenant, vector[tenant])) for tenant in sorted(vector)]


def make(key: SealKey, last: Checkpoint | None, vector: Vector, lost: list[str], at: datetime) -> Checkpoint:
    """The next checkpoint, signed."""
    number = last.number + 1 if last else 1
    time = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    root = base64.b64encode(merkle.root(leaf_hashes(vector))).decode()
    previous = last.digest if last else "none"
    text = f"{key.name}\n{len(vector)}\n{root}\nnumber {number}\ntime {time}\nprevious {previous}\n"
    return Checkpoint(number, time, key.note(text), vector, lost)


class Store:
    """The checkpoints of one instance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int, suffix: str = "json") -> Path:
        """The file of a checkpoint."""
        return self.folder / f"{number:0{_DIGITS}d}.{suffix}"

    def write(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint for good. Raises NumberTaken, OSError."""
        failpoints.hit("audit.sealed.before_write")
        self.folder.mkdir(parents=True, exist_ok=True)
        data = {
            "number": checkpoint.number,
            "time": checkpoint.time,
            "note": checkpoint.note,
            "lost": checkpoint.lost,
            "leaves": [
                {"tenant": tenant, "heads": [[lane, *heads[lane]] for lane in sorted(heads)]}
                for tenant, heads in sorted(checkpoint.vector.items())
            ],
        }
        if not create_once(self.path(checkpoint.number), json.dumps(data).encode(), mode=0o640):
            raise NumberTaken(str(checkpoint.number))
        create_once(self.path(checkpoint.number, "txt"), checkpoint.note.encode(), mode=0o644)
        self._hint(checkpoint.number)

    def read(self, number: int) -> Checkpoint | None:
        """A checkpoint by number. Raises ValueError for a file that is none."""
        try:
            data = json.loads(self.path(number).read_bytes())
        except FileNotFoundError:
            return None
        vector = {
            leaf["tenant"]: {int(lane): (int(seq), str(value)) for lane, seq, value in leaf["heads"]}
            for leaf in data["leaves"]
        }
        return Checkpoint(int(data["number"]), data["time"], data["note"], vector, list(data["lost"]))

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint. A hint saves listing a large folder; the files themselves decide."""
        number = 0
        with contextlib.suppress(OSError, ValueError):
            number = int((self.folder / _HINT).read_text())
        if number <= 0 or not self.path(number).exists():
            number = self._listed()
        while self.path(number + 1).exists():
            number += 1
        return self.read(number) if number else None

    def newest(self, most: int) -> list[Checkpoint]:
        """Up to `most` newest checkpoints, oldest first."""
        last = self.latest()
        if last is None:
            return []
        found = [self.read(number) for number in range(max(1, last.number - most + 1), last.number)]
        return [*(checkpoint for checkpoint in found if checkpoint is not None), last]

    def _listed(self) -> int:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return 0
        return max(
            (int(name[:_DIGITS]) for name in names if name.endswith(".json") and name[:_DIGITS].isdigit()), default=0
        )

    def _hint(self, number: int) -> None:
        with contextlib.suppress(OSError):
            temporary = self.folder / f".{_HINT}.{os.getpid()}"
            temporary.write_text(str(number))
            temporary.replace(self.folder / _HINT)
