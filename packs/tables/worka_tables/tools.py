"""The tools of worka.tables: what tables there are, what is in them, rows by condition, and sums by group."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from worka_sdk import Field, Pack, ToolError
from worka_tables import sources
from worka_tables.sources import quoted

pack = Pack("tables", version="1.0.0")
File = Annotated[str, Field("path of the file below the mount", min_length=1, max_length=500)]
Table = Annotated[str, Field("name of the table; empty: the only one", max_length=200)]
Value = str | float | int | bool | None
OPERATORS = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "contains": "instr"}
MOST_CHARACTERS = 2000


@dataclass
class Listed:
    """A table, and where it is."""

    file: str
    table: str
    columns: list[str]


@dataclass
class Tables:
    """Every table below the mount; `unreadable` says which files hold none that can be read, and why."""

    tables: list[Listed]
    unreadable: list[str]


@dataclass
class Column:
    """A column: the types that its values have, how many are empty, how many are different, and the ends."""

    name: str
    types: list[str]
    empty: int
    different: int
    least: Value
    most: Value


@dataclass
class Description:
    """What a table holds."""

    table: str
    rows: int
    columns: list[Column]


@dataclass
class Condition:
    """A row is taken if the column's value compares so with `value`. `contains` looks for a text, in any case."""

    column: str
    operator: Literal["=", "!=", "<", "<=", ">", ">=", "contains"]
    value: Value


Where = Annotated[list[Condition], Field("all of these must hold", max_length=20)]


@dataclass
class Rows:
    """Rows in the order of `columns`. `total` fit the conditions; `cut` says what is missing, and is empty otherwise."""

    table: str
    columns: list[str]
    rows: list[list[Value]]
    total: int
    cut: str


@dataclass
class Group:
    """A group: its values in the order of `group_by`, and the measures in the order in which they were asked for."""

    of: list[Value]
    measures: list[Value]


@dataclass
class Summary:
    """Measures by group, the largest groups first."""

    table: str
    group_by: list[str]
    measures: list[str]
    groups: list[Group]
    cut: str


@dataclass
class Measure:
    """What is computed over the rows of a group. `count` needs no column."""

    kind: Literal["count", "sum", "average", "least", "most"]
    column: str = ""


@pack.tool(side_effect="read_only", idempotent=True, summary=lambda found: f"{len(found.tables)} tables")
def list_tables() -> Tables:
    """Lists the tables in the CSV, TSV, JSON, JSON lines and SQLite files of the mounted folder, with their columns."""
    found, unreadable = [], []
    for path in sources.files():
        file = str(path.relative_to(sources.ROOT))
        try:
            with sources.opened(file) as conn:
                found += [Listed(file, table, sources.columns(conn, table)) for table in sources.tables(conn)]
        except ToolError as error:
            unreadable.append(f"{file}: {error}")
    return Tables(found, unreadable)


@pack.tool(side_effect="read_only", idempotent=True)
def describe_table(file: File, table: Table = "") -> Description:
    """Says how many rows a table has, and of each column its types, how many values are empty and different, and the
    smallest and largest value."""
    with sources.opened(file) as conn:
        name = sources.chosen(conn, file, table)
        rows = conn.execute(f"select count(*) from {quoted(name)}").fetchone()[0]
        return Description(name, rows, [_column(conn, name, column) for column in sources.columns(conn, name)])


def _column(conn: sqlite3.Connection, table: str, column: str) -> Column:
    name = quoted(column)
    types = conn.execute(f"select distinct typeof({name}) from {quoted(table)}").fetchall()
    query = f"select count(*) - count({name}), count(distinct {name}), min({name}), max({name}) from {quoted(table)}"
    empty, different, least, most = conn.execute(query).fetchone()
    known = sorted({"integer": "integer", "real": "number", "blob": "bytes"}.get(row[0], row[0]) for row in types)
    return Column(column, [kind for kind in known if kind != "null"], empty, different, _shown(least), _shown(most))


@pack.tool(
    side_effect="read_only",
    idempotent=True,
    summary=lambda found: f"{len(found.rows)} of {found.total} rows. {found.cut}",
)
def read_rows(
    file: File,
    table: Table = "",
    columns: Annotated[list[str], Field("which columns; empty: all", max_length=100)] = [],
    where: Where = [],
    order_by: Annotated[str, Field("a column", max_length=200)] = "",
    descending: bool = False,
    limit: Annotated[int, Field("the most rows", least=1, most=1000)] = 100,
    offset: Annotated[int, Field("how many to leave out first", least=0, most=10_000_000)] = 0,
) -> Rows:
    """Reads rows of a table: chosen columns, conditions, order, and a part of them at a time."""
    with sources.opened(file) as conn:
        name = sources.chosen(conn, file, table)
        shown = [_known(conn, name, column) for column in columns] or sources.columns(conn, name)
        clause, values = _where(conn, name, where)
        order = f" order by {quoted(_known(conn, name, order_by))}{' desc' if descending else ''}" if order_by else ""
        total = conn.execute(f"select count(*) from {quoted(name)}{clause}", values).fetchone()[0]
        query = f"select {', '.join(map(quoted, shown))} from {quoted(name)}{clause}{order} limit ? offset ?"
        rows = [[_shown(value) for value in row] for row in conn.execute(query, [*values, limit, offset])]
    left = max(0, total - offset - len(rows))
    return Rows(name, shown, rows, total, f"{left} more rows follow; ask with a larger offset." if left else "")


@pack.tool(side_effect="read_only", idempotent=True)
def summarise(
    file: File,
    table: Table = "",
    group_by: Annotated[list[str], Field("columns; empty: one group of all rows", max_length=10)] = [],
    measures: Annotated[list[Measure], Field("what is computed", min_length=1, max_length=20)] = [Measure("count")],
    where: Where = [],
    limit: Annotated[int, Field("the most groups", least=1, most=1000)] = 100,
) -> Summary:
    """Computes counts, sums, averages and extremes over the rows of a table, by group."""
    with sources.opened(file) as conn:
        name = sources.chosen(conn, file, table)
        groups = [_known(conn, name, column) for column in group_by]
        computed = [_measure(conn, name, measure) for measure in measures]
        clause, values = _where(conn, name, where)
        by = f" group by {', '.join(map(quoted, groups))}" if groups else ""
        chosen = ", ".join([*map(quoted, groups), *computed])
        order = f" order by count(*) desc{''.join(', ' + quoted(group) for group in groups)}"
        query = f"select {chosen} from {quoted(name)}{clause}{by}{order} limit ?"
        rows = [list(map(_shown, row)) for row in conn.execute(query, [*values, limit + 1])]
    cut = f"There are more than {limit} groups; only the largest are here." if len(rows) > limit else ""
    width = len(groups)
    found = [Group(row[:width], row[width:]) for row in rows[:limit]]
    return Summary(name, groups, [f"{m.kind} {m.column}".strip() for m in measures], found, cut)


def _known(conn: sqlite3.Connection, table: str, column: str) -> str:
    """The column, if the table has it: an unknown name in quotes would be a text to SQLite. Raises ToolError."""
    known = sources.columns(conn, table)
    if column not in known:
        raise ToolError(f"{table} has no column {column}.", f"It has {', '.join(known[:50])}.")
    return column


def _measure(conn: sqlite3.Connection, table: str, measure: Measure) -> str:
    if measure.kind == "count":
        return f"count({quoted(_known(conn, table, measure.column))})" if measure.column else "count(*)"
    if not measure.column:
        raise ToolError(f"{measure.kind} needs a column.")
    function = {"sum": "sum", "average": "avg", "least": "min", "most": "max"}[measure.kind]
    return f"{function}({quoted(_known(conn, table, measure.column))})"


def _where(conn: sqlite3.Connection, table: str, conditions: list[Condition]) -> tuple[str, list[Any]]:
    """(clause, values): names in quotes, values as parameters, operators of our own list."""
    parts, values = [], []
    for condition in conditions:
        name = quoted(_known(conn, table, condition.column))
        if condition.value is None:
            if condition.operator not in ("=", "!="):
                raise ToolError(f"Nothing is {condition.operator} null.", "Compare with = or !=.")
            parts.append(f"{name} is {'not ' if condition.operator == '!=' else ''}null")
            continue
        operator = OPERATORS[condition.operator]
        if operator == "instr":
            parts.append(f"instr(lower({name}), lower(?)) > 0")
            values.append(str(condition.value))
        elif (number := sources.as_number(condition.value)) is not None:
            # As it was shown: a number that JSON does not hold is named by its digits, and a text of digits stays one.
            parts.append(
                f"case when typeof({name}) in ('integer', 'real') then {name} {operator} ? else {name} {operator} ? end"
            )
            values += [number, condition.value]
        else:
            parts.append(f"{name} {operator} ?")
            values.append(condition.value)
    return (f" where {' and '.join(parts)}" if parts else ""), values


def _shown(value: Any) -> Any:
    """A value as JSON holds it; a long text is cut, visibly."""
    if isinstance(value, bytes):
        return f"[{len(value)} bytes]"
    if isinstance(value, str) and len(value) > MOST_CHARACTERS:
        return f"{value[:MOST_CHARACTERS]}… [{len(value)} characters]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    if isinstance(value, int) and abs(value) > sources.SAFE:
        return str(value)  # a reader that has doubles only would change its last digits
    return value
