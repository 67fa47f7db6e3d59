"""What hangs on a thing, and what it reaches, as an SVG picture. Pure; every word in it is escaped, and no style or script
is in it, so that it can stand in a page under any policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, ROW, TOP, MOST = 860, 26, 64, 12
"""Lines of one column; of more, the last says how many."""


def svg(reach: Mapping[str, Any]) -> str:
    """The picture of `reach.of_…`'s answer: on the left what it reaches, on the right what breaks without it."""
    left = [f"{item['host']}:{item['port']}" if item.get("port") else item["host"] for item in reach["reaches"]]
    left += [f"secret: {row['name']}" for row in reach.get("secrets") or ()]
    right = [
        f"{word}: {row.get('workspace') or row.get('name') or row['pack']}"
        for key, word in _SIDES
        for row in reach[key]
    ]
    columns = [_cut(left) or ["nothing outside"], _cut(right) or ["nothing"]]
    height = TOP + ROW * max(len(column) for column in columns) + 24
    middle = TOP + (height - TOP - 24) // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(said(reach), quote=True)}"'
        ' font-family="inherit" font-size="13" fill="currentColor">',
        f"<title>{escape(said(reach))}</title>",
        '<text x="8" y="28" font-weight="600">It can reach</text>',
        f'<text x="{WIDTH - 330}" y="28" font-weight="600">Breaks without it</text>',
    ]
    for side, lines in enumerate(columns):
        for number, text in enumerate(lines):
            y = TOP + number * ROW
            x = 8 if side == 0 else WIDTH - 330
            edge = 262 if side == 0 else WIDTH - 338
            hub = WIDTH // 2 - 110 if side == 0 else WIDTH // 2 + 60
            parts.append(
                f'<path d="M{edge} {y - 4} L{hub} {middle}" stroke="currentColor" stroke-opacity="0.35" fill="none"/>'
            )
            parts.append(f'<text x="{x}" y="{y}">{escape(_short(text, 38 if side == 0 else 46))}</text>')
    name = _short(str(reach["name"]), 22)
    parts += [
        f'<rect x="{WIDTH // 2 - 110}" y="{middle - 22}" width="170" height="44" rx="8" fill="none" stroke="currentColor" stroke-width="2"/>',
        f'<text x="{WIDTH // 2 - 25}" y="{middle + 5}" text-anchor="middle" font-weight="600">{escape(name)}</text>',
        "</svg>",
    ]
    return "".join(parts)


_SIDES = (
    ("attachments", "workspace"),
    ("tasks", "task"),
    ("calls", "call"),
    ("workflows", "workflow"),
    ("views", "view"),
    ("connections", "connection"),
    ("dependents", "pack"),
)


def said(reach: Mapping[str, Any]) -> str:
    """The same in a sentence."""
    outside = " and ".join(
        counted(key, len(reach[name]))
        for key, name in (("destinations", "reaches"), ("secrets", "secrets"))
        if reach.get(name)
    )
    outside = outside or ("no credential of ours" if reach["kind"] == "destination" else "nothing outside")
    return f"{reach['name']} can reach {outside}; without it {', '.join(counts(reach)) or 'nothing'} would break."


def counts(reach: Mapping[str, Any]) -> list[str]:
    """How much breaks, kind by kind: `1 attachment`, `3 tasks`."""
    return [counted(key, len(reach[key])) for key, _ in _SIDES if reach[key]]


def counted(things: str, number: int) -> str:
    """`1 attachment`, `2 attachments`, of the plural."""
    return f"{number} {things.removesuffix('s') if number == 1 else things}"


def _cut(lines: Sequence[str]) -> list[str]:
    return list(lines) if len(lines) <= MOST else [*lines[: MOST - 1], f"and {len(lines) - MOST + 1} more"]


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
