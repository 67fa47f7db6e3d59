"""Files below the mount as tables of SQLite: CSV and JSON are read into memory, databases are opened read-only.

Nothing of a file is believed: no path leaves the mount, no link is followed out of it, and what is too large or takes too
long is refused with words.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import re
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from worka_sdk import ToolError

ROOT = Path("/data")
MOST_BYTES = 48 * 1024 * 1024
# JSON is held whole while it is read, and takes some 35 times its size then.
MOST_JSON = 8 * 1024 * 1024
MOST_ROWS = 200_000
MOST_ROW = 1024 * 1024
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
Row = TypeVar("Row")


def files() -> Iterator[Path]:
    """Every file that may hold tables, in the order of their paths."""
    for path in sorted(ROOT.rglob("*")):
        below = path.relative_to(ROOT).parts
        if path.suffix.lower() in KINDS and not any(part.startswith(".") for part in below) and inside(path):
            yield path


def inside(path: Path) -> bool:
    """Whether a path, with its links followed, is a plain file below the mount."""
    try:
        real = path.resolve()
    except (OSError, ValueError, RuntimeError):
        return False  # links in a circle, or no path at all
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
    until = math.inf
    try:
        path = named(file)
        load = _database if KINDS[path.suffix.lower()] == "sqlite" else _loaded
        with contextlib.closing(load(path)) as conn:
            until = time.monotonic() + SECONDS
            conn.set_progress_handler(lambda: time.monotonic() > until, 10_000)
            yield conn
    except UnicodeError as error:
        raise ToolError(f"{file} holds, or is named by, what is not UTF-8.", "Convert or rename it.") from error
    except (sqlite3.Error, OSError, ValueError, OverflowError, RecursionError) as error:
        late = isinstance(error, sqlite3.Error) and time.monotonic() > until
        said = f"it took longer than {SECONDS:g} s" if late else str(error)
        raise ToolError(f"{file} cannot be read so: {said}.", "Ask for less." if late else "") from error


def tables(conn: sqlite3.Connection) -> list[str]:
    """The names of the tables and views."""
    found = conn.execute("select name from sqlite_master where type in ('table', 'view')")
    return sorted(str(row[0]) for row in found if not str(row[0]).lower().startswith("sqlite_"))


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
    kind = KINDS[path.suffix.lower()]
    most = MOST_JSON if path.suffix.lower() == ".json" else MOST_BYTES
    if path.stat().st_size > most:
        remedy = "Make it JSON lines, or a database." if most == MOST_JSON else "Split it, or make it a database."
        raise ToolError(f"{path.name} has more than {most // 1024 // 1024} MiB.", remedy)
    head, rows = _csv(path) if kind == "csv" else _json(path)
    conn = sqlite3.connect(":memory:")
    try:
        # SQLite keeps names that begin so for itself.
        reserved = path.stem.lower().startswith("sqlite_")
        table = quoted("_" + path.stem if reserved else path.stem)
        # Without a type: every value stays what it is, a number a number and a text a text.
        conn.execute(f"create table {table} ({', '.join(quoted(name) for name in head)})")
        conn.executemany(f"insert into {table} values ({', '.join('?' * len(head))})", rows)
        conn.execute("pragma query_only = on")
    except BaseException:
        conn.close()
        raise
    return conn


def _counted(path: Path, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, one at a time; so that too many are refused before they fill the memory."""
    for number, row in enumerate(rows):
        if number >= MOST_ROWS:
            raise ToolError(f"{path.name} has more than {MOST_ROWS} rows.", "Split it, or make it a database.")
        yield row


def _csv(path: Path) -> tuple[list[str], Iterator[list[Any]]]:
    read = _cells(path)
    first = next(read, None)
    if first is None:
        raise ToolError(f"{path.name} is empty.")
    head = _head(path, first)

    def rows() -> Iterator[list[Any]]:
        for number, row in enumerate(_counted(path, read), 2):
            if len(row) != len(head):
                raise ToolError(f"{path.name}: row {number} has {len(row)} values, the head has {len(head)}.")
            yield [_value(cell) for cell in row]

    return head, rows()


def _cells(path: Path) -> Iterator[list[str]]:
    """The rows that are not empty, as texts."""
    taken = 0

    def lines() -> Iterator[str]:
        # A row may stand on many lines: what is bounded is the row.
        nonlocal taken
        while line := stream.readline(MOST_ROW - taken + 1):
            taken += len(line)
            if taken > MOST_ROW:
                raise ToolError(f"{path.name} has a row of more than {MOST_ROW} characters.")
            yield line

    with path.open(encoding="utf-8-sig", newline="") as stream:
        first = stream.readline(MOST_ROW)
        stream.seek(0)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=first.count)
        try:
            for row in csv.reader(lines(), delimiter=delimiter, strict=True):
                taken = 0
                if row:
                    yield row
        except csv.Error as error:
            raise ToolError(f"{path.name} is not CSV: {error}.") from error


def _head(path: Path, names: Collection[str]) -> list[str]:
    """Names that are there and are told apart, as SQLite does: without regard to case. Raises ToolError."""
    if len(names) > MOST_COLUMNS:
        raise ToolError(f"{path.name} has more than {MOST_COLUMNS} columns.")
    head: list[str] = []
    taken: set[str] = set()
    for number, raw in enumerate(names, 1):
        plain = name = " ".join(raw.split()) or f"column {number}"
        again = number
        while name.casefold() in taken:
            name = f"{plain} ({again})"
            again += 1
        taken.add(name.casefold())
        head.append(name)
    return head


# Python reads no number of more than 4300 digits, and no number of that many fits.
MOST_DIGITS = 400
SAFE = 2**53 - 1
"""The largest whole number that every reader of JSON holds (RFC 7493)."""
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _value(cell: str) -> Any:
    """A number where it reads as one and nothing is lost by that (007 and a telephone number are texts); empty is null."""
    if not cell:
        return None
    if len(cell) > MOST_DIGITS or not _NUMBER.fullmatch(cell):
        return cell
    number = float(cell) if any(letter in cell for letter in ".eE") else int(cell)
    if isinstance(number, int):
        return number if abs(number) < 2**63 else cell
    # Twenty digits do not fit into a double, nor does what is too large or too small for one.
    return number if math.isfinite(number) and Decimal(repr(number)) == Decimal(cell) else cell


def as_number(text: Any) -> int | None:
    """The whole number that SQLite holds and JSON does not, of its digits; None for any other value."""
    number = _value(text) if isinstance(text, str) else None
    return number if isinstance(number, int) and abs(number) > SAFE else None


def _json(path: Path) -> tuple[list[str], Iterator[list[Any]]]:
    # Read twice rather than kept: which columns there are is known after the last row.
    names: dict[str, None] = {}
    for row in _counted(path, _objects(path)):
        names.update(dict.fromkeys(row))
        if len(names) > MOST_COLUMNS:
            break
    if not names:
        raise ToolError(f"{path.name} is empty.")
    return _head(path, names), ([_plain(row.get(name)) for name in names] for row in _objects(path))


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of JSON, or of JSON lines. Raises ToolError."""
    for row in _documents(path) if path.suffix.lower() == ".json" else _json_lines(path):
        if not isinstance(row, dict):
            raise ToolError(f"{path.name} is not a list of objects.", "Only that is a table.")
        yield row


def _documents(path: Path) -> list[Any]:
    found = _parsed(path, path.read_text("utf-8-sig"))
    if isinstance(found, dict):
        # {"items": [...]}: the one list of objects in it is the table.
        lists = [value for value in found.values() if isinstance(value, list)]
        found = lists[0] if len(lists) == 1 else [found]
    return found if isinstance(found, list) else [found]


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig") as stream:
        while line := stream.readline(MOST_ROW + 1):
            if len(line) > MOST_ROW:
                raise ToolError(f"{path.name} has a row of more than {MOST_ROW} characters.")
            if line.strip():
                yield _parsed(path, line)


def _parsed(path: Path, text: str) -> Any:
    try:
        # What is no number that SQLite holds stays the text that stands in the file, `NaN` too.
        return json.loads(text, parse_int=_value, parse_float=_value, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise ToolError(f"{path.name} is not JSON: {error}.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return value
