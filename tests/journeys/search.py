"""A search for a value in everything that an instance wrote and in everything that its packs can see, in every coding."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.support.instance import Instance

PACK_UIDS = range(200_000, 265_536)


def spellings(value: str) -> dict[str, bytes]:
    """The ways a value is usually written down: coding -> what is looked for."""
    raw = value.encode()
    found = {
        "raw": raw,
        "url": urllib.parse.quote(value, safe="").encode(),
        "url, lower case": urllib.parse.quote(value, safe="").lower().encode(),
        "json": json.dumps(value)[1:-1].encode(),
        "json, slashes escaped": json.dumps(value)[1:-1].replace("/", "\\/").encode(),
        "hex": raw.hex().encode(),
        "hex, upper case": raw.hex().upper().encode(),
        "utf-16": value.encode("utf-16-le"),
        "reversed": raw[::-1],
    }
    for shift in range(3):
        # Base64 of a longer text that holds the value depends on where it begins; only its own middle is looked for.
        padded = base64.b64encode(b"\0" * shift + raw)
        middle = padded[4 if shift else 0 : len(padded) - 4]
        found[f"base64 at {shift}"] = middle
        found[f"base64 for urls at {shift}"] = middle.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def everything(instance: Instance) -> Iterator[tuple[str, bytes]]:
    """(place, content): files of the home with logs, traces, packs' environments, clones, the database's own files and its
    write-ahead log; every value of every row of ours and of the engine's; what pack processes were started with and hold
    in memory."""
    yield from files(instance.home)
    yield from rows(instance)
    yield from pack_processes()


def files(home: Path) -> Iterator[tuple[str, bytes]]:
    """Files below the home, by their path in it."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with contextlib.suppress(FileNotFoundError):  # a log of the database that was turned over meanwhile
                yield str(path.relative_to(home)), path.read_bytes()


def rows(instance: Instance) -> Iterator[tuple[str, bytes]]:
    """Values of rows, by table and column: bytes as they are, JSON also without its escapes, the rest as text."""
    tables = instance.rows(
        "select table_schema s, table_name t from information_schema.tables"
        " where table_schema in ('worka', 'dbos') and table_type = 'BASE TABLE' order by 1, 2"
    )
    assert {row["s"] for row in tables} == {"worka", "dbos"}
    for table in tables:
        for row in instance.rows(f'select * from "{table["s"]}"."{table["t"]}"'):
            for column, value in row.items():
                place = f"{table['s']}.{table['t']}.{column}"
                if isinstance(value, bytes | memoryview):
                    yield place, bytes(value)
                elif isinstance(value, dict | list):
                    texts = [json.dumps(value, default=str, ensure_ascii=False), *leaves(value)]
                    yield place, "\n".join(texts).encode()
                elif value is not None:
                    yield place, str(value).encode()


def leaves(value: Any) -> Iterator[str]:
    """Every text in a JSON value, as it is without its escapes."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *leaves(item))
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, str):
        yield value


def pack_processes() -> Iterator[tuple[str, bytes]]:
    """Environment, arguments and memory of every process that runs under a pack's uid."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and folder.stat().st_uid in PACK_UIDS:
                for name in ("environ", "cmdline"):
                    yield f"pack {folder.name} {name}", (folder / name).read_bytes()
                yield f"pack {folder.name} memory", b"".join(memory(int(folder.name)))


def memory(pid: int, most: int = 64 << 20) -> Iterator[bytes]:
    """What a process has written to its memory: private and writable regions, the largest ones cut."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as opened:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if match is None:
                continue
            begin, end = (int(part, 16) for part in match.groups())
            with contextlib.suppress(OSError, ValueError):
                opened.seek(begin)
                yield opened.read(min(end - begin, most))


def search(value: str, places: Iterator[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """(place, coding) of everything that holds the value."""
    wanted = spellings(value)
    return [(place, coding) for place, content in places for coding, needle in wanted.items() if needle in content]


@contextlib.contextmanager
def planted(instance: Instance, content: bytes) -> Iterator[set[str]]:
    """The content in one place of every kind, for a positive control: the places, as a search names them."""
    paths = [
        instance.home / "log" / "canary.log",
        instance.home / "clones" / "canary",
        instance.home / "envs" / "canary",
    ]
    known = json.loads((instance.home / "admin" / "database.json").read_text())
    with psycopg.connect(
        host=known["host"],
        port=known["port"],
        user="postgres",
        password=known["admin"],
        dbname="worka",
        autocommit=True,
    ) as conn:
        text = content.decode("latin-1").replace("\0", "")
        (run,) = conn.execute("select workflow_uuid from dbos.workflow_status limit 1").fetchone() or ("",)
        undo: list[tuple[str, tuple[Any, ...]]] = []
        try:
            for path in paths:
                path.write_bytes(b"before " + content + b" after")
            conn.execute(
                "insert into worka.tenant_key (tenant_id, version, wrapped, master_key_id) values ('ten_canary', 1, %s, 'x')",
                (b"before " + content,),
            )
            undo.append(("delete from worka.tenant_key where tenant_id = 'ten_canary'", ()))
            conn.execute(
                "insert into worka.outbox (tenant_id, id, topic, payload, done_at) values ('ten_canary', 'x', 'x', %s, now())",
                (json.dumps({"a": [f"before {text}"]}),),
            )
            undo.append(("delete from worka.outbox where tenant_id = 'ten_canary'", ()))
            (before,) = conn.execute(
                "select error from dbos.workflow_status where workflow_uuid = %s", (run,)
            ).fetchone() or ("",)
            conn.execute("update dbos.workflow_status set error = %s where workflow_uuid = %s", (f"before {text}", run))
            undo.append(("update dbos.workflow_status set error = %s where workflow_uuid = %s", (before, run)))
            yield {
                *(str(path.relative_to(instance.home)) for path in paths),
                "worka.tenant_key.wrapped", "worka.outbox.payload", "dbos.workflow_status.error",
            }  # fmt: skip
        finally:
            for statement, values in undo:
                conn.execute(statement, values)
            for path in paths:
                path.unlink(missing_ok=True)
