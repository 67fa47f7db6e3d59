"""The export of one workspace's ledger: rows by lane, checkpoints with inclusion proofs, the public key and a verifier.

The chain runs over the whole tenant. A row of another workspace is there with its hash and without its content, so
that the chain can be checked and nothing is told; of other tenants only hashes in the proofs appear.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO

from worka.audit import rules, store
from worka.audit.checkpoints import Checkpoint
from worka.audit.sign import SealKey
from worka.kernel.db import Connection

SEALS = 10
"""The newest checkpoints that an export carries: the last one holds every sealed row, the others its recent order."""
_MEMORY = 8 * 1024 * 1024
_CHUNK = 256 * 1024

README = """The audit ledger of workspace {workspace} (tenant {tenant}), exported {exported}.

entries/lane-N.jsonl   the rows of a chain in order: seq, prev, mac, hash, body (canonical JSON, RFC 8785)
                       hash = SHA-256(prev || mac || body); a row of another workspace has no body
checkpoints/*.txt      signed heads of all chains (C2SP tlog-checkpoint, Ed25519), the newest {seals}
proofs/*.json          this tenant's leaf in each checkpoint and its inclusion proof (RFC 9162)
public-key.txt         the key that signs; compare it with the one you know before you trust it
manifest.txt           the signed list of these files
verify.py              checks all of it with Python 3 alone: python3 verify.py

{claim}
The MACs can be checked on the platform only (`worka audit verify`): their key never leaves it.
"""


@dataclass
class Export:
    """Files of a growing export; each is hashed for the manifest."""

    key: SealKey
    files: dict[str, IO[bytes]] = field(default_factory=dict)

    def add(self, name: str, data: bytes) -> None:
        """A whole file."""
        self.files[name] = io.BytesIO(data)

    def line(self, name: str, data: bytes) -> None:
        """A line of a growing file."""
        if name not in self.files:
            self.files[name] = tempfile.SpooledTemporaryFile(_MEMORY)  # noqa: SIM115 - closed by `close`
        self.files[name].write(data + b"\n")

    def tar(self) -> IO[bytes]:
        """The tar file, at its start."""
        out: IO[bytes] = tempfile.SpooledTemporaryFile(_MEMORY)  # noqa: SIM115 - its reader closes it
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, data in sorted(self.files.items()):
                size = data.seek(0, io.SEEK_END)
                data.seek(0)
                member = tarfile.TarInfo(name)
                member.size, member.mode, member.mtime = size, 0o644, int(time.time())
                tar.addfile(member, data)
                data.close()
        out.seek(0)
        return out

    def sign(self, facts: list[str]) -> None:
        """Adds the signed manifest of everything added so far."""
        lines = ["worka audit export v1", *facts]
        for name, data in sorted(self.files.items()):
            data.seek(0)
            digest = hashlib.sha256()
            while chunk := data.read(_CHUNK):
                digest.update(chunk)
            lines.append(f"sha256 {digest.hexdigest()} {name}")
        self.add("manifest.txt", self.key.note("".join(f"{line}\n" for line in lines)).encode())


def row(entry: store.Entry, workspace_id: str) -> bytes:
    """One line of `entries/`: without its content when that belongs to another workspace."""
    lane, seq, body, mac, prev, value, _age = entry
    found = {"lane": lane, "seq": seq, "prev": prev.hex(), "mac": mac.hex(), "hash": value.hex()}
    try:
        visible = rules.shown(json.loads(body), workspace_id)
    except (ValueError, AttributeError):
        visible = True  # what is no row of ours belongs to nobody; the verifier will say so
    if visible:
        return json.dumps({**found, "body": body.decode("utf-8", "surrogateescape")}, ensure_ascii=False).encode(
            "utf-8", "replace"
        )
    # The MAC is of the content alone: shown, it would tell equal contents apart from different ones.
    return json.dumps({**found, "mac": ""}).encode()


async def build(
    conn: Connection, tenant: str, workspace_id: str, seals: list[Checkpoint], key: SealKey, at: datetime
) -> IO[bytes]:
    """The tar file. `seals` were read before: the rows can only be more than they commit to."""
    export = Export(key)
    async for page in store.pages(conn):
        for entry in page:
            export.line(f"entries/lane-{entry[0]}.jsonl", row(entry, workspace_id))
    known = [seal for seal in seals if tenant in seal.vector]
    for seal in known:
        export.add(f"checkpoints/{seal.number:012d}.txt", seal.note.encode())
        export.add(f"proofs/{seal.number:012d}.json", json.dumps(seal.proof(tenant), indent=1).encode())
    exported = at.isoformat(timespec="seconds").replace("+00:00", "Z")
    words = {
        "workspace": workspace_id,
        "tenant": tenant,
        "exported": exported,
        "seals": len(known),
        "claim": rules.CLAIM,
    }
    export.add("README.txt", README.format(**words).encode())
    export.add("public-key.txt", f"{key.public}\n".encode())
    export.add("verify.py", Path(__file__).with_name("verify.py").read_bytes())
    last = str(known[-1].number) if known else "none"
    export.sign([f"tenant {tenant}", f"workspace {workspace_id}", f"exported {exported}", f"checkpoint {last}"])
    return export.tar()


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The file in pieces; closes it."""
    with file:
        while piece := file.read(_CHUNK):
            yield piece
