"""How results are printed: for people on a terminal, or `--output json|ndjson|yaml`."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from rich import markup
from rich.console import Console
from rich.table import Table

from worka.kernel import letters

# What is piped on is not folded at eighty columns: an id must stay one word.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 4000)
talk = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 4000)
# A time of an answer, in UTC: people read the second, machines (`--output json`) the rest of it.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
MARKS = {"ok": "[green]✓[/]", "failed": "[red]✗[/]", "not_reached": "[dim]·[/]", "unknown": "[yellow]?[/]"}


def visible(text: str) -> str:
    """Text of strangers (packs, outside systems) for a terminal: what would not be seen is written out as `\\u001b`."""
    return letters.visible(text)


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
        import yaml

        shown = yaml.safe_dump(value, allow_unicode=True, sort_keys=False)
        # YAML has its own way to write out what would not be seen, and then writes every other letter out as well.
        print(shown if visible(shown) == shown else yaml.safe_dump(value, sort_keys=False), end="")
    else:
        return False
    return True


def text(words: str) -> None:
    """Prints text as it is, but for what would not be seen."""
    out.print(visible(words), markup=False)


def table(items: list[dict[str, Any]], columns: list[str], empty: str, called: dict[str, str] | None = None) -> None:
    """A table of some columns; `empty` is said when there is nothing, `called` names columns otherwise than their field."""
    if not items:
        talk.print(f"[dim]{empty}[/]")
        return
    view = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        name = column.split(".")[-1]
        # Ids are there to be copied: whatever else is folded, they are not.
        whole = name == "id" or name.endswith(("_id", "ref"))
        view.add_column((called or {}).get(column) or name.replace("_", " "), overflow="fold", no_wrap=whole)
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
    _what_is_decided(approval)
    out.print(f"  digest    {approval['digest']}")
    for vote in approval.get("votes") or []:
        said = f": {vote['comment']}" if vote.get("comment") else ""
        behind = (vote.get("on_behalf_of") or {}).get("name")
        name = escape(vote["person"]["name"] + (f" (for {behind})" if behind else ""))
        how = {"totp": " with a code", "recovery_code": " with a recovery code"}.get(
            vote.get("stepped_up_by") or "", ""
        )
        how += " of the second factor" if how else ""
        out.print(f"  voted     {name} {vote['decision']} at {vote['at']}{how}{escape(said)}")
    if approval.get("bypass_id"):
        out.print(f"  bypassed  nobody decided this one: {approval['bypass_id']} let it through")
    if approval.get("escalated_at"):
        out.print(f"  escalated at {approval['escalated_at']}: {escape(approval['escalated_to'])} may take any seat")
    if approval.get("moved"):
        out.print(f"  policy    {escape(approval['moved']['because'])} ({escape(approval['moved']['policy_version'])})")
    if approval.get("superseded_by"):
        out.print(f"  → worka approvals show {approval['superseded_by']}   took its place")
    if approval["state"] == "open":
        missing = "; ".join(approval.get("missing") or [])
        out.print(f"  missing   {escape(missing)} by {approval.get('expires_at') or '(no deadline)'}")
        out.print(f"  who can   {escape(', '.join(approval.get('who_could') or []) or 'nobody at present')}")
        may = approval["eligibility"]
        can = "could" if may.get("lacks_factor") else "can" if may["eligible"] else "cannot"
        out.print(f"  you {can}: {escape(may['because'])}")
        if may.get("lacks_factor"):
            out.print("  once a second factor is set up, which its rule wants: you have none")
            out.print("  → worka me second-factor set-up")
        elif may["eligible"] and may["step_up"]:
            out.print("  you need a fresh second factor in the session that decides")
        if may["eligible"]:
            out.print(f"  → worka approvals approve {approval['id']}   or: worka approvals reject {approval['id']}")


def _what_is_decided(approval: dict[str, Any]) -> None:
    """The exact arguments of a call; of a change of policy its note, what goes and comes, and the whole new text."""
    card, arguments = approval.get("card") or {}, approval.get("arguments")
    if card.get("note"):
        out.print(f"  note      {escape(str(card['note']))}")
    if card.get("difference"):
        out.print(f"  changes   what goes (-) and comes (+), over version {card.get('base_version')}")
        _lines(card["difference"])
        if card.get("difference_cut"):
            out.print(f"            [dim]│ … {card['difference_cut']} more lines; the text has them all[/]")
    if approval.get("arguments_hidden"):
        out.print(f"  [dim]exactly   {escape(approval['arguments_hidden'])}[/]")
    elif isinstance(arguments, str):
        # Whoever approves a text answers for all of it: nothing of it is cut.
        lines = arguments.splitlines()
        out.print(
            f"  text      {f'{len(lines)} lines, whole' if lines else 'empty: nothing of it would hold any more'}"
        )
        _lines(lines)
    elif arguments:
        for name, value in (arguments if isinstance(arguments, dict) else {"": arguments}).items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines = text.splitlines() or [""]
            out.print(f"  [dim]argument[/]  {escape(name)}: {escape(_short(lines[0]))}")
            _lines([_short(line) for line in lines[1:12]])
            if len(lines) > 12:
                out.print(f"            [dim]│ … {len(lines) - 12} more lines: --output json shows all[/]")


def _lines(lines: list[str]) -> None:
    for line in lines:
        out.print(f"            [dim]│[/] {escape(line)}", soft_wrap=True)


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
    wait = body.get("retry_after")
    if wait and not re.search(rf"\b{wait} s(econds?)?\b", f"{body.get('detail')} {body.get('remedy')}"):
        talk.print(f"  [bold]again[/] in {escape(str(wait))} second{'' if wait == 1 else 's'}")
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
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return f"{value[:10]} {value[11:19]}Z"
    text = value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if most <= 120:  # a cell of a table: one line
        text = text.partition("\n")[0]
    return text if len(text) <= most else text[: most - 1] + "…"
