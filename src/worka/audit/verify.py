"""Verifies an exported audit ledger: chain, heads, seals. Needs only Python 3.11 or newer: no database, no package.

    python3 -I verify.py [EXPORT.tar | FOLDER] [--pub LINE_OR_FILE] [--json]

Exit code 0: every row up to the last seal is as it was sealed. 1: something is not, and it is named. 2: no export.
Rows after the last seal are reported as unsealed, never as verified. Without --pub the key in the export itself is
used: then this shows that the export is consistent in itself, and you compare the printed key with the one you trust.
This same file is `worka.audit.verify` and lies in every export.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import os
import re
import sys
import tarfile
from datetime import datetime
from typing import Any

CLAIM = (
    "Every row up to the last seal is linked, and its seal is signed: a changed, removed, reordered or cut-off row up"
    " to there is found. Rows after it are unsealed: they are linked, but a cut tail among them would not be found."
)
OWN_KEY = " The public key came with the export: compare it with a copy that you kept (--pub)."
_TENANT = re.compile(
    rb',"tenant":"([^"\\]*)","trace_id":"[^"\\]*","type":"[^"\\]*","v":[0-9]+,"workspace":(?:null|"[^"\\]*")}\Z'
)
# All bytes but the two that escaping is about.
_ELSE = bytes(set(range(256)) - set(b'"\\'))
_MOST = 2**31  # an export is never longer, all of its files together
_MEMBERS = 10_000
_HEADER = 2048  # bytes of an extended header: tarfile reads it whole, and makes up to the square of it


class Unreadable(Exception):
    """There is no export here."""


# Ed25519, verification only (RFC 8032, section 5.1.7 and appendix A). Slow (some ms) and not constant-time, which is
# fine: nothing here is secret.
_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_I = pow(2, (_P - 1) // 4, _P)


def _add(a: Any, b: Any) -> Any:
    x, y = (a[1] - a[0]) * (b[1] - b[0]) % _P, (a[1] + a[0]) * (b[1] + b[0]) % _P
    c, d = 2 * a[3] * b[3] * _D % _P, 2 * a[2] * b[2] % _P
    e, f, g, h = y - x, d - c, d + c, y + x
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _multiply(scalar: int, point: Any) -> Any:
    total = (0, 1, 1, 0)
    while scalar > 0:
        if scalar & 1:
            total = _add(total, point)
        point = _add(point, point)
        scalar >>= 1
    return total


def _recover_x(y: int, sign: int) -> int | None:
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    if square == 0:
        return None if sign else 0
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P != 0:
        x = x * _I % _P
    if (x * x - square) % _P != 0:
        return None
    return _P - x if x & 1 != sign else x


def _decompress(data: bytes) -> Any:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = _recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % _P)


_BASE_Y = 4 * pow(5, _P - 2, _P) % _P
_BASE_X = _recover_x(_BASE_Y, 0) or 0
_BASE = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)


def ed25519_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the 64-byte signature of the message is right under the 32-byte key."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, r = _decompress(public), _decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= _L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    left, right = _multiply(s, _BASE), _add(r, _multiply(k, key))
    return bool(
        (left[0] * right[2] - right[0] * left[2]) % _P == 0 and (left[1] * right[2] - right[1] * left[2]) % _P == 0
    )


class Key:
    """A verifier's line: name+id+base64 of 0x01 and the key (C2SP signed-note). Raises ValueError."""

    def __init__(self, line: str) -> None:
        self.line = line.strip()
        self.name, key_id, data = self.line.split("+", 2)
        raw = base64.b64decode(data, validate=True)
        if len(raw) != 33 or raw[0] != 1:
            raise ValueError("not an Ed25519 key")
        self.public = raw[1:]
        self.id = hashlib.sha256(self.name.encode() + b"\n" + raw).digest()[:4]
        if self.id.hex() != key_id:
            raise ValueError("the key's id is not its own")

    def opened(self, note: str) -> list[str]:
        """The lines of a note that this key signed. Raises ValueError."""
        text, separator, signatures = note.rpartition("\n\n")
        if not separator:
            raise ValueError("no signature")
        text += "\n"
        for line in signatures.splitlines():
            parts = line.split(" ")
            if len(parts) != 3 or parts[0] != "\N{EM DASH}" or parts[1] != self.name:
                continue
            raw = base64.b64decode(parts[2], validate=True)
            if raw[:4] == self.id and ed25519_verify(self.public, text.encode(), raw[4:]):
                return text.splitlines()
        raise ValueError("no signature of this key")


def root_of_inclusion(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162, 2.1.3.2). Raises ValueError."""
    if not 0 <= index < size:
        raise ValueError("index outside the tree")
    fn, sn, value = index, size - 1, leaf
    for step in path:
        if sn == 0:
            raise ValueError("proof too long")
        if fn & 1 or fn == sn:
            value = hashlib.sha256(b"\x01" + step + value).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            value = hashlib.sha256(b"\x01" + value + step).digest()
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ValueError("proof too short")
    return value


class _Entry(tarfile.TarInfo):
    """An entry of somebody else's tar: what would be made of its header is bounded before it is read, and a file with holes,
    which is larger than the tar that it is in, is none."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
        found = super().frombuf(buf, encoding, errors)
        long = found.type in (b"x", b"X", b"L", b"K") and found.size > _HEADER
        if found.size < 0 or long or found.type in (b"S", b"g"):
            raise tarfile.ReadError("an entry that no export has")
        return found

    def _no_holes(self, *_: Any) -> Any:
        raise tarfile.ReadError("a file with holes")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _no_holes


def read(path: str) -> dict[str, bytes]:
    """The files of an export, by name; from a tar file or a folder. Nothing is unpacked. Raises Unreadable."""
    found: dict[str, bytes] = {}
    total = 0
    if os.path.isdir(path):
        for folder, _, names in os.walk(path):
            for name in names:
                full = os.path.join(folder, name)
                if os.path.isfile(full) and not os.path.islink(full):
                    total += os.path.getsize(full)
                    if len(found) >= _MEMBERS or total > _MOST:
                        raise Unreadable(f"{path}: it holds too much")
                    with open(full, "rb") as file:
                        found[os.path.relpath(full, path).replace(os.sep, "/")] = file.read()
    else:
        try:
            # Uncompressed only: what is small on disk is then small in memory.
            with tarfile.open(path, "r:", tarinfo=_Entry) as tar:
                for count, member in enumerate(tar):
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep every header
                    name = member.name[2:] if member.name.startswith("./") else member.name
                    total += member.size
                    if name.startswith("/") or ".." in name.split("/"):
                        raise Unreadable(f"{path}: it holds an unsafe path, {name[:80]!r}")
                    if name in found or count > _MEMBERS or total > _MOST:
                        raise Unreadable(f"{path}: it holds a file twice, or too much")
                    stream = tar.extractfile(member) if member.isreg() else None
                    if stream is not None:
                        found[name] = stream.read()
        except (OSError, ValueError, OverflowError, tarfile.TarError, EOFError, RecursionError) as error:
            raise Unreadable(f"{path}: {type(error).__name__}: {error}") from error
    mark = [name for name in found if name.split("/")[-1] == "public-key.txt"]
    if not mark:
        raise Unreadable(f"{path}: there is no export of a ledger here (public-key.txt is missing)")
    prefix = mark[0][: -len("public-key.txt")]
    return {name[len(prefix) :]: data for name, data in found.items() if name.startswith(prefix)}


Row = tuple[Any, Any, bytes, bytes, bytes, "bytes | None"]
"""lane, seq, prev, mac, hash, body."""


def _plain(data: bytes, start: int, end: int, lane: int, seq: int, prev: bytes) -> Row | None:
    """A row as our export writes it: the next one of its chain, in ASCII, with no escape but that of quotes. That is
    nearly every one, and it is read in place in half the time that parsing JSON takes. None for any other."""
    head = b'{"lane": %d, "seq": %d, "prev": "%s", "mac": "' % (lane, seq, prev.hex().encode())
    mac_at = start + len(head)
    hash_at, text_at = mac_at + 76, mac_at + 152
    if (
        not data.startswith(head, start)
        or data[hash_at - 12 : hash_at] != b'", "hash": "'
        or data[text_at - 12 : text_at] != b'", "body": "'
        or data[end - 2 : end] != b'"}'
    ):
        return None
    text = data[text_at : end - 2]
    escapes = text.translate(None, _ELSE)
    # Every quote is escaped, and nothing else is: this is one JSON string, and that is what it says.
    if escapes != b'\\"' * (len(escapes) // 2) or not text.isascii():
        return None
    mac, value = (
        bytes.fromhex(data[mac_at : mac_at + 64].decode()),
        bytes.fromhex(data[hash_at : hash_at + 64].decode()),
    )
    return lane, seq, prev, mac, value, text.translate(None, b"\\")


def _parsed(line: bytes) -> Row:
    """Any other row. Raises ValueError, KeyError, TypeError, AttributeError."""
    row = json.loads(line)
    body = row.get("body")
    text = None if body is None else str(body).encode("utf-8", "surrogatepass")
    prev, mac, value = (bytes.fromhex(row[name]) for name in ("prev", "mac", "hash"))
    return row.get("lane"), row["seq"], prev, mac, value, text


class Verification:
    """What was checked and found."""

    def __init__(self, files: dict[str, bytes], trusted: str | None = None) -> None:
        self.files = files
        self.problems: list[str] = []
        self.hashes: dict[int, dict[int, str]] = {}
        self.ends: dict[int, int] = {}
        self.bodies_of: set[str] = set()
        self.rows = self.withheld = 0
        self.newest: dict[int, bytes] = {}  # the body of a lane's last row that was shown
        self.trusted = trusted is not None
        self.last: dict[str, Any] | None = None
        self.facts: dict[str, str] = {}
        self.key = Key(files["public-key.txt"].decode())
        if trusted is not None and Key(trusted).line != self.key.line:
            self.problems.append("public-key.txt: the export is signed with another key than the trusted one")
            self.key = Key(trusted)

    def run(self) -> dict[str, Any]:
        """All checks. {ok, problems, rows, sealed, unsealed, withheld, lanes, checkpoint, key, claim, …}."""
        manifest = self._manifest()
        for name in sorted(self.files):
            if name.startswith("entries/") and name.endswith(".jsonl"):
                self._lane(name)
        self._seals()
        self._complete(manifest)
        sealed = {lane: seq for lane, seq, _ in self.last["heads"]} if self.last else {}
        unsealed = {lane: end - sealed.get(lane, 0) for lane, end in self.ends.items() if end > sealed.get(lane, 0)}
        waiting = sum(unsealed.values())
        broken = {problem.split(" seq ")[0] for problem in self.problems}
        kept = sum(min(end, sealed.get(n, 0)) for n, end in self.ends.items() if f"lane {n}" not in broken)
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "rows": self.rows,
            "sealed": kept,
            "unsealed": waiting,
            "last_seal_at": self.last["time"] if self.last else None,
            "window_seconds": self._window(set(unsealed)),
            "unsealed_rows": [
                f"lane {lane} seq {self.ends[lane] - count + 1}..{self.ends[lane]}"
                for lane, count in sorted(unsealed.items())
            ],
            "withheld": self.withheld,
            "lanes": {str(lane): end for lane, end in sorted(self.ends.items())},
            "checkpoint": {"number": self.last["number"], "time": self.last["time"]} if self.last else None,
            "key": self.key.line,
            "claim": CLAIM if self.trusted else CLAIM + OWN_KEY,
            **self.facts,
        }

    def _window(self, lanes: set[int]) -> float | None:
        """Seconds from the last seal to the newest row after it; 0.0 when all are sealed, None without a seal."""
        if self.last is None:
            return None
        try:
            seal = datetime.fromisoformat(self.last["time"].replace("Z", "+00:00"))
            newest = [json.loads(self.newest[lane]).get("at") for lane in lanes & set(self.newest)]
            times = [datetime.fromisoformat(at.replace("Z", "+00:00")) for at in newest if isinstance(at, str)]
            return round(max([0.0, *((at - seal).total_seconds() for at in times)]), 3)
        except (ValueError, TypeError):
            return None

    def _manifest(self) -> list[str]:
        """The signed list of what was exported; a problem with it is told last, after the row that explains it."""
        try:
            lines = self.key.opened(self.files["manifest.txt"].decode())
        except (KeyError, ValueError, binascii.Error):
            return []
        for line in lines[1:]:
            word, _, value = line.partition(" ")
            if word in ("tenant", "workspace", "exported"):
                self.facts[word] = value
        return lines

    def _lane(self, name: str) -> None:
        """One chain: numbered from 1 without a gap, each row linked to the one before, each hash made of its row."""
        lane = int(name[len("entries/lane-") : -len(".jsonl")])
        known = self.hashes.setdefault(lane, {})
        before, expected, hidden = b"", 1, False
        self.ends[lane] = 0
        data, at = self.files[name], 0
        while at < len(data):
            end = data.find(b"\n", at)
            end = len(data) if end < 0 else end
            self.rows += 1
            try:
                row = _plain(data, at, end, lane, expected, before) or _parsed(data[at:end])
                found_lane, seq, prev, mac, value, body = row
            except (ValueError, KeyError, TypeError, AttributeError):
                self.problems.append(f"lane {lane} seq {expected}: the row cannot be read")
                return
            at = end + 1
            if seq != expected or found_lane != lane:
                self.problems.append(f"lane {lane} seq {expected}: missing or out of order (found seq {seq})")
                return
            if prev != before:
                # A row without its content cannot be checked by itself: its successor says what it was.
                blamed = expected - 1 if hidden else expected
                self.problems.append(f"lane {lane} seq {blamed}: changed, it is not what the chain links to")
                return
            if body is None:
                self.withheld += 1
            elif hashlib.sha256(prev + mac + body).digest() != value:
                self.problems.append(f"lane {lane} seq {expected}: changed, its hash is not that of its content")
                return
            elif self._foreign(body):
                self.problems.append(f"lane {lane} seq {expected}: it belongs to another tenant")
                return
            else:
                self.newest[lane] = body
            known[expected] = value.hex()
            self.ends[lane] = expected
            before, expected, hidden = value, expected + 1, body is None

    def _foreign(self, body: bytes) -> bool:
        # The end of a row as it is written: only scalars follow `tenant` up to the brace that closes the whole, so this
        # is the row's own `tenant`. Any other text is parsed.
        found = _TENANT.search(body, max(0, body.rfind(b',"tenant":')))
        try:
            tenant = found[1].decode() if found else json.loads(body)["tenant"]
            return bool(tenant != self.facts.get("tenant", tenant))
        except (ValueError, KeyError, TypeError):
            return True

    def _seals(self) -> None:
        """Every checkpoint is signed, follows the one before, holds this tenant, and is kept by the rows."""
        names = sorted(name for name in self.files if name.startswith("checkpoints/") and name.endswith(".txt"))
        earlier: tuple[int, str] | None = None
        for name in names:
            number = int(name[len("checkpoints/") : -len(".txt")])
            note = self.files[name].decode("utf-8", "replace")
            try:
                lines = self.key.opened(note)
                words = dict(line.split(" ", 1) for line in lines[3:])
                proof = json.loads(self.files[f"proofs/{number:012d}.json"])
                heads = [[int(lane), int(seq), str(value)] for lane, seq, value in proof["heads"]]
                # The leaf is written as it was hashed: RFC 8785 orders keys, and nothing in it needs escaping.
                leaf = json.dumps({"heads": heads, "tenant": proof["tenant"]}, separators=(",", ":"), sort_keys=True)
                path = [base64.b64decode(step, validate=True) for step in proof["path"]]
                hashed = hashlib.sha256(b"\x00" + leaf.encode()).digest()
                root = root_of_inclusion(hashed, int(proof["index"]), int(lines[1]), path)
            except (KeyError, ValueError, IndexError, TypeError, binascii.Error) as error:
                self.problems.append(f"checkpoint {number}: its signature or proof does not hold ({error})")
                continue
            if root != base64.b64decode(lines[2]) or int(words["number"]) != number:
                self.problems.append(f"checkpoint {number}: it does not commit to the heads that its proof names")
                continue
            if proof["tenant"] != self.facts.get("tenant", proof["tenant"]):
                self.problems.append(f"checkpoint {number}: its proof is of another tenant")
                continue
            digest = base64.b64encode(hashlib.sha256(note.encode()).digest()).decode()
            if earlier is not None and earlier[0] == number - 1 and words["previous"] != earlier[1]:
                self.problems.append(f"checkpoint {number}: it does not follow checkpoint {number - 1}")
            earlier = (number, digest)
            self.last = {"number": number, "time": words["time"], "heads": heads}
            self._kept(number, heads)
        if not names:
            self.problems.append("no checkpoint: the seal is missing, so nothing here is sealed")

    def _kept(self, number: int, heads: list[list[Any]]) -> None:
        told = {problem.split(" seq ")[0] for problem in self.problems}
        for lane, seq, value in heads:
            if seq == 0 or f"lane {lane}" in told:
                continue
            end = self.ends.get(lane, 0)
            if end < seq:
                self.problems.append(
                    f"lane {lane} seq {end + 1}: the tail is cut: checkpoint {number} of {self._time()} seals"
                    f" this lane up to seq {seq}, the export ends at seq {end}"
                )
            elif self.hashes[lane][seq] != value:
                self.problems.append(f"lane {lane} seq {seq}: it is not the row that checkpoint {number} seals")

    def _time(self) -> str:
        return str(self.last["time"]) if self.last else "?"

    def _complete(self, manifest: list[str]) -> None:
        """The files are those that were exported: an older seal or a cut unsealed tail would show here."""
        if not manifest:
            self.problems.append("manifest.txt: missing, or not signed by this key")
            return
        for line in manifest[1:]:
            word, _, value = line.partition(" ")
            if word == "checkpoint" and value != "none" and f"checkpoints/{int(value):012d}.txt" not in self.files:
                self.problems.append(f"checkpoint {int(value)}: the last seal is missing from the export")
            if word == "sha256":
                digest, _, name = value.partition(" ")
                if name not in self.files:
                    self.problems.append(f"{name}: missing from the export")
                elif hashlib.sha256(self.files[name]).hexdigest() != digest:
                    self.problems.append(f"{name}: not as it was exported")
        listed = {line.split(" ")[2] for line in manifest if line.startswith("sha256 ")}
        for name in sorted(self.files):
            if name.startswith(("entries/", "checkpoints/", "proofs/")) and name not in listed:
                self.problems.append(f"{name}: was not in the export")


def verify_file(path: str | os.PathLike[str], trusted: str | None = None) -> dict[str, Any]:
    """Verifies an export (tar file or folder); see Verification.run. Never raises for a bad export: ok is False."""
    try:
        return Verification(read(os.fspath(path)), trusted).run()
    except (Unreadable, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return {"ok": False, "problems": [f"unreadable: {error}"], "rows": 0, "unreadable": True, "claim": CLAIM}


def text(result: dict[str, Any]) -> str:
    """What people read."""
    if result.get("unreadable"):
        return str(result["problems"][0])
    seal = result["checkpoint"]
    lines = [f"{result['rows']} rows in {len(result['lanes'])} lanes of {result.get('tenant', 'an unknown tenant')}"]
    if seal:
        lines.append(f"last seal: checkpoint {seal['number']} of {seal['time']}")
    lines.append(f"sealed: {result['sealed']}; unsealed: {result['unsealed']}; content withheld: {result['withheld']}")
    lines += [f"  unsealed: {row}" for row in result["unsealed_rows"]]
    lines.append(f"window after the last seal: {result['window_seconds']} s")
    lines.append(f"key: {result['key']}")
    lines += [f"PROBLEM {problem}" for problem in result["problems"]]
    lines.append("OK. " + result["claim"] if result["ok"] else "NOT OK: the export is not what was sealed.")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description="Verifies an exported audit ledger offline.")
    parser.add_argument("export", nargs="?", help="tar file or folder; without it, where this file lies")
    parser.add_argument(
        "--pub", "--public-key", dest="public_key", help="the trusted verifier's line, or a file that holds it"
    )
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    chosen = parser.parse_args(arguments)
    trusted = chosen.public_key
    if trusted is not None and os.path.isfile(trusted):
        with open(trusted, encoding="utf-8") as file:
            trusted = file.read().strip()
    result = verify_file(chosen.export or os.path.dirname(os.path.abspath(__file__)), trusted)
    print(json.dumps(result, indent=2) if chosen.json else text(result))
    return 2 if result.get("unreadable") else 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
