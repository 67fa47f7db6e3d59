"""How results are printed: for people on a terminal, or `--output json|ndjson|yaml`."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import yaml
from rich import markup
from rich.console import Console
from rich.table import Table

# What is piped on is not folded at eighty columns: an id must stay one word.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 4000)
talk = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 4000)
# What a terminal obeys, and what makes text look like other text: controls, C1 controls, marks of direction, no width.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
MARKS = {"ok": "[green]✓[/]", "failed": "[red]✗[/]", "not_reached": "[dim]·[/]", "unknown": "[yellow]?[/]"}


def visible(text: str) -> str:
    """Text of strangers (packs, outside systems) for a terminal: what would not be seen is written out as `\\u001b`."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape(text: str) -> str:
    """The text as it may stand in our markup."""
    return markup.escape(visible(text))


def data(value: Any, form: str) -> bool:
    """Prints machine output; False when a person should be shown something instead."""
    if form == "json":
        print(visible(json.dumps(value, indent=2, ensure_ascii=False)))
    elif form == "ndjson":
        for item in value["items"] if isinstance(value, dict) and "items" in value else [value]:
            print(visible(json.dumps(item, ensure_ascii=False)))
    elif form == "yaml":
        shown = yaml.safe_dump(value, allow_unicode=True, sort_keys=False)
        # YAML has its own way to write out what would not be seen, and then writes every other letter out as well.
        print(shown if visible(shown) == shown else yaml.safe_dump(value, sort_keys=False), end="")
    else:
        return False
    return True


def text(words: str) -> None:
    """Prints text as it is, but for what would not be seen."""
    out.print(visible(words), markup=False)


def table(items: list[dict[str, Any]], columns: list[str], empty: str) -> None:
    """A table of some columns; `empty` is said when there is nothing."""
    if not items:
        talk.print(f"[dim]{empty}[/]")
        return
    view = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        name = column.split(".")[-1]
        # Ids are there to be copied: whatever else is folded, they are not.
        whole = name == "id" or name.endswith(("_id", "ref"))
        view.add_column(name.replace("_", " "), overflow="fold", no_wrap=whole)
    for item in items:
        view.add_row(*(escape(_short(_dig(item, column))) for column in columns))
    out.print(view)


def record(item: dict[str, Any], skip: tuple[str, ...] = ()) -> None:
    """One thing, a line a field."""
    for key, value in item.items():
        if key not in skip and value not in (None, "", [], {}):
            out.print(f"[dim]{escape(key.replace('_', ' ')):>20}[/]  {escape(_short(value, 2000))}")


def card(approval: dict[str, Any]) -> None:
    """An approval as the console's card shows it: what exactly, what for, who may, what is missing."""
    out.print(f"[bold]{escape(approval['title'])}[/]  [dim]{approval['id']}[/]")
    out.print(f"  {approval['state']}: {escape(approval['reason'])}, since {approval['since']}")
    out.print(f"  effect    {escape(approval['effect'])}")
    asked = approval.get("requester") or {}
    behind = (approval.get("originating_person") or {}).get("name")
    out.print(
        f"  asked by  {escape(str(asked.get('name')))}{escape(f' for {behind}') if behind else ''} at {approval['created_at']}"
    )
    for blocked in approval.get("blocks") or []:
        out.print(f"  blocks    {blocked['kind']} {escape(blocked['name'])} ({blocked['id']})")
    for name, value in (approval.get("arguments") or {}).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        lines = text.splitlines() or [""]
        out.print(f"  [dim]argument[/]  {escape(name)}: {escape(_short(lines[0]))}")
        for line in lines[1:12]:
            out.print(f"            [dim]│[/] {escape(_short(line))}")
        if len(lines) > 12:
            out.print(f"            [dim]│ … {len(lines) - 12} more lines: --output json shows all[/]")
    out.print(f"  digest    {approval['digest']}")
    for vote in approval.get("votes") or []:
        said = f": {vote['comment']}" if vote.get("comment") else ""
        out.print(f"  voted     {escape(vote['person']['name'])} {vote['decision']} at {vote['at']}{escape(said)}")
    if approval["state"] == "open":
        missing = "; ".join(approval.get("missing") or [])
        out.print(f"  missing   {escape(missing)} by {approval.get('expires_at') or '(no deadline)'}")
        out.print(f"  who can   {escape(', '.join(approval.get('who_could') or []) or 'nobody at present')}")
        may = approval["eligibility"]
        out.print(f"  you {'can' if may['eligible'] else 'cannot'}: {escape(may['because'])}")
        if may["eligible"]:
            out.print(f"  → worka approvals approve {approval['id']}   or: worka approvals reject {approval['id']}")


def explanation(why: dict[str, Any]) -> None:
    """An Explanation, in the words that console and API use."""
    out.print(f"[bold]{escape(why['headline'])}[/]")
    out.print(
        f"  [dim]{escape(why['subject'])} · {why['state']} · {why['reason']} · since {why['since']} · {why['layer']} ({why['incident_class']})[/]"
    )
    for leg in why.get("road", []):
        out.print(f"  {MARKS.get(leg['state'], '·')} {escape(leg['name'])}  [dim]{_under(leg.get('detail'))}[/]")
    for wait in why.get("waiting_on", []):
        deadline = f", until {wait['deadline']}" if wait.get("deadline") else ", [yellow]no deadline[/]"
        out.print(
            f"  waiting on {wait['kind']} [bold]{escape(wait['name'])}[/] ({wait['ref']}) since {wait['since']}{deadline}"
        )
        who = ", or ".join(wait.get("who") or []) or "nobody can at present"
        out.print(
            f"    who can clear it: {escape(who)}; you {'can' if wait.get('you_can') else 'cannot'}: {escape(wait.get('because') or '')}"
        )
    if why.get("last_error"):
        error = why["last_error"]
        out.print(
            f"  [red]last error[/] {escape(error['code'])}: {_under(error['message'])} (attempt {error['attempt']})"
        )
    for change in why.get("changed_just_before", []):
        out.print(
            f"  changed just before: {change['at']} {escape(change['who'])} {escape(change['what'])} ({change['ref']})"
        )
    for link in why.get("evidence", []):
        out.print(f"  [dim]evidence {escape(link['kind'])}: {escape(link['ref'])} {_under(link.get('label'))}[/]")
    for step in why.get("next", []):
        mark = "→" if step["allowed"] else "[dim]✗[/]"
        note = "" if step["allowed"] else f" [dim]({escape(step.get('because') or '')})[/]"
        out.print(f"  {mark} {escape(step['label'].rstrip('.'))}: {escape(step['command'])}{note}")
    out.print(f"  [dim]{why['certainty']}, as of {why['observed_at']}[/]")


def _under(text: str | None) -> str:
    """Of a text of several lines all but the first stand a little to the right of it."""
    return escape((text or "").strip().replace("\n", "\n      "))


def problem(body: dict[str, Any]) -> None:
    """A problem with its remedy, on stderr."""
    talk.print(
        f"[red]✗[/] {escape(str(body.get('title') or body.get('code') or 'failed'))}: {escape(str(body.get('detail', '')))}"
    )
    if body.get("remedy"):
        talk.print(f"  [bold]remedy[/] {escape(str(body['remedy']))}")
    facts = [f"{key} {body[key]}" for key in ("decision_id", "approval_id", "request_id") if body.get(key)]
    if facts:
        talk.print(f"  [dim]{escape(' · '.join(facts))}[/]")


def _dig(item: Any, path: str) -> Any:
    for part in path.split("."):
        item = item.get(part) if isinstance(item, dict) else None
    return item


def _short(value: Any, most: int = 120) -> str:
    if value is None:
        return ""
    text = value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if most <= 120:  # a cell of a table: one line
        text = text.partition("\n")[0]
    return text if len(text) <= most else text[: most - 1] + "…"
