"""A finished run as JSON, as text, as a plot, and as a part of README.md."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.rounds import Found, Row

_START, _END = "<!-- {name}: made by benchmarks/run -->", "<!-- /{name} -->"


def result(row: Row, found: Found, *, smoke: bool, commit: str, at: datetime) -> dict[str, Any]:
    """Everything that is kept of a run."""
    scenarios = []
    for scenario in found.scenarios:
        ours = scenario.contestants[0]
        table = []
        for who in scenario.contestants:
            rounds = found.of(scenario.name, who)
            entry: dict[str, Any] = {
                "who": who,
                "calls": sum(len(r.times) + r.errors for r in rounds),
                "p50_ms": round(found.p50(scenario.name, who), 3),
                "p99_ms": round(found.p99(scenario.name, who), 3),
                "per_second": round(found.rate(scenario.name, who), 1),
                "errors": found.errors(scenario.name, who),
                "first_error": next((r.first_error for r in rounds if r.first_error), ""),
                "cpu_seconds": _sum([r.cpu_seconds for r in rounds]),
                "client_cpu_seconds": round(sum(r.client_cpu_seconds for r in rounds), 2),
                "rounds_p50_ms": [round(r.p50, 3) for r in rounds],
                "rounds_per_second": [round(r.rate, 1) for r in rounds],
            }
            if who != ours:
                ratios = found.ratios(scenario.name, who)
                entry["ratio"] = round(found.ratio(scenario.name, who), 3)
                entry["worst_round"] = round(max(ratios) if scenario.by == "p50" else min(ratios), 3)
                entry["rounds_ratio"] = [round(ratio, 3) for ratio in ratios]
                entry["win"] = None if found.clean(scenario.name, who) else "no comparison: there were errors"
            table.append(entry)
        scenarios.append(
            {"name": scenario.name, "title": scenario.title, "by": scenario.by, "unit": scenario.unit, "table": table}
        )
    return {
        "row": row.number,
        "name": row.name,
        "title": row.title,
        "date": at.strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit,
        "machine": machine.facts(),
        "floor_ms": found.floor,
        "contestants": row.peers,
        "scenarios": scenarios,
        "bars": [
            {"bar": b.words, "limit": b.limit, "found": b.found, "met": b.met, "floor": b.floor, "note": b.note}
            for b in row.bars(found)
        ],
        "extras": found.extras[-1] if found.extras else {},
        "our_errors": sum(found.errors(s.name, s.contestants[0]) for s in found.scenarios),
        "smoke": smoke,
    }


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 2) if known else None


_MET = {True: "met", False: "NOT met", None: "not measured"}


def _tables(data: dict[str, Any], line: str = "| ") -> list[str]:
    out = []
    for scenario in data["scenarios"]:
        rows = [["", "p50 ms", "p99 ms", "per second", "ours / it", "worst round", "errors", "CPU s"]]
        for entry in scenario["table"]:
            ratio = "" if "ratio" not in entry else f"{entry['ratio']:.3f}"
            if entry.get("win"):
                ratio += " (no win: errors)"
            cpu = "" if entry["cpu_seconds"] is None else f"{entry['cpu_seconds']:.1f}"
            rows.append(
                [
                    entry["who"],
                    f"{entry['p50_ms']:.3f}",
                    f"{entry['p99_ms']:.3f}",
                    f"{entry['per_second']:.0f}",
                    ratio,
                    "" if "worst_round" not in entry else f"{entry['worst_round']:.3f}",
                    str(entry["errors"]),
                    cpu,
                ]
            )
        out += ["", f"**{scenario['title']}** (ratios of {scenario['by']})", "", *_table(rows)]
    bars = [["bar", "limit", "found", "", "this machine's floor"]]
    for bar in data["bars"]:
        found = bar["found"] if isinstance(bar["found"], str) else f"{bar['found']:.3f}"
        bars.append(
            [
                bar["bar"],
                bar["limit"],
                found,
                _MET[bar["met"]] + (f"; {bar['note']}" if bar["note"] else ""),
                bar["floor"],
            ]
        )
    return [*out, "", *_table(bars)]


def _table(rows: list[list[str]]) -> list[str]:
    head, *rest = rows
    return ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rest]]


def _floors(data: dict[str, Any]) -> str:
    return "; ".join(f"{machine.FLOOR_WORDS[name]} {value:.3f} ms" for name, value in data["floor_ms"].items())


def _body(data: dict[str, Any]) -> list[str]:
    lines = [f"{data['date']}, commit {data['commit']}; {machine.line(data['machine'])}.", f"Floors: {_floors(data)}."]
    lines += _tables(data)
    extras = {key: value for key, value in data["extras"].items() if not isinstance(value, dict | list)}
    if extras:
        lines += ["", *(f"- {key}: {value}" for key, value in extras.items())]
    if data["our_errors"]:
        lines += ["", f"VOID: {data['our_errors']} errors on our side."]
    return lines


def text(data: dict[str, Any]) -> str:
    """For the terminal."""
    return "\n".join([f"Row {data['row']}: {data['title']}", "", *_body(data)])


def write(data: dict[str, Any], folder: Path) -> None:
    """`NAME.json`, `NAME.svg`, and the row's part of README.md."""
    name = data["name"]
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    (folder / f"{name}.svg").write_text(svg(data))
    readme = folder.parent / "README.md"
    start, end = _START.format(name=name), _END.format(name=name)
    who = [f"- *{key}*: {words}" for key, words in data["contestants"].items()]
    part = [start, *_body(data), "", *who, "", f"![{name}](results/{name}.svg)", end]
    pattern = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    readme.write_text(pattern.sub(lambda _: "\n".join(part), readme.read_text()))


def svg(data: dict[str, Any]) -> str:
    """Bars of p50 with a whisker to p99, on one logarithmic axis for each scenario; the rounds as dots."""
    import math

    left, wide, high = 230, 620, 26
    parts: list[str] = []
    y = 30
    for scenario in data["scenarios"]:
        values = [v for e in scenario["table"] for v in (e["p50_ms"], e["p99_ms"], *e["rounds_p50_ms"]) if v > 0]
        if not values:
            continue
        low, top = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
        top = max(top, low + 1)

        def x(value: float, low: int = low, top: int = top) -> float:
            return left + wide * (math.log10(max(value, 10**low)) - low) / (top - low)

        parts.append(f'<text x="10" y="{y}" class="t">{html.escape(scenario["title"])}</text>')
        y += 12
        bottom = y + high * len(scenario["table"])
        for power in range(low, top + 1):
            at = x(10**power)
            parts.append(f'<line x1="{at:.1f}" y1="{y}" x2="{at:.1f}" y2="{bottom}" class="g"/>')
            parts.append(f'<text x="{at:.1f}" y="{bottom + 14}" class="a">{10**power:g} ms</text>')
        for place, entry in enumerate(scenario["table"]):
            middle = y + high * place + high / 2
            kind = "ours" if place == 0 else "peer"
            parts.append(f'<text x="{left - 8}" y="{middle + 4:.1f}" class="w">{html.escape(entry["who"])}</text>')
            if entry["p50_ms"] <= 0:
                continue
            end, far = x(entry["p50_ms"]), x(entry["p99_ms"])
            parts.append(
                f'<rect x="{left}" y="{middle - 7:.1f}" width="{max(end - left, 1):.1f}" height="14" class="{kind}"/>'
                f'<line x1="{end:.1f}" y1="{middle:.1f}" x2="{far:.1f}" y2="{middle:.1f}" class="p"/>'
            )
            parts += [
                f'<circle cx="{x(v):.1f}" cy="{middle:.1f}" r="2" class="d"/>' for v in entry["rounds_p50_ms"] if v > 0
            ]
            parts.append(
                f'<text x="{max(end, far) + 6:.1f}" y="{middle + 4:.1f}" class="v">{entry["p50_ms"]:.3g} ms, '
                f"p99 {entry['p99_ms']:.3g}, {entry['per_second']:.0f}/s, {entry['errors']} errors</text>"
            )
        y = bottom + 44
    style = (
        "text{font:12px sans-serif;fill:#222}.t{font-weight:bold}.a{text-anchor:middle;fill:#666}.w{text-anchor:end}"
        ".v{fill:#444}.g{stroke:#ddd}.p{stroke:#222;stroke-width:2}.ours{fill:#2f6f4f}.peer{fill:#9aa5b1}.d{fill:#c2410c}"
    )
    note = f"{data['date']}, commit {data['commit']}. Bars: p50; line: to p99; dots: the rounds."
    parts.append(f'<text x="10" y="{y - 10}" class="v">{html.escape(note)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="1160" height="{y}" viewBox="0 0 1160 {y}">'
        f"<style>{style}</style><rect width='100%' height='100%' fill='white'/>" + "".join(parts) + "</svg>\n"
    )
