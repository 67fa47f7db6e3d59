"""Files below the mount as tables of SQLite: CSV and JSON are read into memory, databases are opened read-only.

Nothing of a file is believed: no path leaves the mount, no link is followed out of it, and what is too large or takes too
long is refused with words.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worka_sdk import ToolError

ROOT = Path("/data")
MOST_BYTES = 48 * 1024 * 1024
MOST_ROWS = 200_000
MOST_COLUMNS = 500
SECONDS = 20.0
KINDS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
}


def files() -> Iterator[Path]:
    """Every file that may hold tables, in the order of their paths."""
    for path in sorted(ROOT.rglob("*")):
        below = path.relative_to(ROOT).parts
        if path.suffix.lower() in KINDS and not any(part.startswith(".") for part in below) and inside(path):
            yield path


def inside(path: Path) -> bool:
    """Whether a path, with its links followed, is a plain file below the mount."""
    real = path.resolve()
    return real.is_file() and ROOT.resolve() in real.parents


def named(file: str) -> Path:
    """The file of this path below the mount. Raises ToolError."""
    path = ROOT / file
    if file.startswith("/") or ".." in Path(file).parts or not inside(path):
        known = [str(found.relative_to(ROOT)) for found in files()][:10]
        raise ToolError(f"There is no file {file}.", f"Name one of: {', '.join(known) or 'none'}.")
    if path.suffix.lower() not in KINDS:
        raise ToolError(f"{file} holds no tables.", f"These do: {', '.join(sorted(KINDS))}.")
    return path


@contextlib.contextmanager
def opened(file: str) -> Iterator[sqlite3.Connection]:
    """The tables of a file, for reading. Raises ToolError for a file that cannot be read, and for a query that fails or
    takes too long."""
    path = named(file)
    conn = _database(path) if KINDS[path.suffix.lower()] == "sqlite" else _loaded(path)
    until = time.monotonic() + SECONDS
    conn.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    try:
        yield conn
    except sqlite3.Error as error:
        late = time.monotonic() > until
        said = f"it took longer than {SECONDS:g} s" if late else str(error)
        raise ToolError(f"{file} cannot be read so: {said}.", "Ask for less." if late else "") from error
    finally:
        conn.close()


def tables(conn: sqlite3.Connection) -> list[str]:
    """The names of the tables and views."""
    found = conn.execute("select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%'")
    return sorted(str(row[0]) for row in found)


def chosen(conn: sqlite3.Connection, file: str, table: str) -> str:
    """The table of this name, or the only one. Raises ToolError, naming the choices."""
    known = tables(conn)
    if table in known:
        return table
    if not table and len(known) == 1:
        return known[0]
    raise ToolError(f"{file} has {'no table ' + table if table else str(len(known)) + ' tables'}.",
                    f"Name one of: {', '.join(known[:20]) or 'none'}.")  # fmt: skip


def columns(conn: sqlite3.Connection, table: str) -> list[str]:
    """The names of its columns."""
    return [str(row[1]) for row in conn.execute(f"pragma table_info({quoted(table)})")]


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _database(path: Path) -> sqlite3.Connection:
    # `immutable`: no lock file and no journal is looked for, or made, beside it.
    conn = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        conn.execute("pragma trusted_schema = off")
        conn.execute("pragma query_only = on")
        conn.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.Error as error:
        conn.close()
        raise ToolError(f"{path.name} is not a database of SQLite: {error}.") from error
    return conn


def _loaded(path: Path) -> sqlite3.Connection:
    if path.stat().st_size > MOST_BYTES:
        raise ToolError(
            f"{path.name} has more than {MOST_BYTES // 1024 // 1024} MiB.", "Split it, or make it a database."
        )
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ToolError(f"{path.name} is not UTF-8.", "Convert it.") from error
    head, rows = _csv(path, text) if KINDS[path.suffix.lower()] == "csv" else _json(path, text)
    if len(head) > MOST_COLUMNS:
        raise ToolError(f"{path.name} has more than {MOST_COLUMNS} columns.")
    if len(rows) > MOST_ROWS:
        raise ToolError(f"{path.name} has more than {MOST_ROWS} rows.", "Split it, or make it a database.")
    conn = sqlite3.connect(":memory:")
    table = quoted(path.stem)
    # Without a type: every value stays what it is, a number a number and a text a text.
    conn.execute(f"create table {table} ({', '.join(quoted(name) for name in head)})")
    conn.executemany(f"insert into {table} values ({', '.join('?' * len(head))})", rows)
    conn.execute("pragma query_only = on")
    return conn


def _csv(path: Path, text: str) -> tuple[list[str], list[list[Any]]]:
    first = text.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=first.count)
    try:
        found = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        raise ToolError(f"{path.name} is not CSV: {error}.") from error
    if not found:
        raise ToolError(f"{path.name} is empty.")
    head = _head(found[0])
    wrong = next((number for number, row in enumerate(found[1:], 2) if len(row) != len(head)), None)
    if wrong is not None:
        raise ToolError(f"{path.name}: row {wrong} has {len(found[wrong - 1])} values, the head has {len(head)}.")
    return head, [[_value(cell) for cell in row] for row in found[1:]]


def _head(names: list[str]) -> list[str]:
    """Names that are there and are told apart, as SQLite does: without regard to case."""
    head: list[str] = []
    for number, raw in enumerate(names, 1):
        name = " ".join(raw.split()) or f"column {number}"
        taken = {other.casefold() for other in head}
        head.append(name if name.casefold() not in taken else f"{name} ({number})")
    return head


_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _value(cell: str) -> Any:
    """A number where it reads as one and nothing is lost by that (007 and a telephone number are texts); empty is null."""
    if not cell:
        return None
    if not _NUMBER.fullmatch(cell):
        return cell
    number = float(cell) if any(letter in cell for letter in ".eE") else int(cell)
    fits = math.isfinite(number) if isinstance(number, float) else abs(number) < 2**63
    return number if fits else cell


def _json(path: Path, text: str) -> tuple[list[str], list[list[Any]]]:
    try:
        if path.suffix.lower() == ".json":
            found = json.loads(text)
        else:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ToolError(f"{path.name} is not JSON: {error}.") from error
    if isinstance(found, dict):
        # {"items": [...]}: the one list of objects in it is the table.
        lists = [value for value in found.values() if isinstance(value, list)]
        found = lists[0] if len(lists) == 1 else [found]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ToolError(f"{path.name} is not a list of objects.", "Only that is a table.")
    keys = list(dict.fromkeys(key for row in found for key in row))
    if not keys:
        raise ToolError(f"{path.name} is empty.")
    return _head(keys), [[_plain(row.get(key)) for key in keys] for row in found]


def _plain(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**63 - 1:
        return str(value)
    return value
