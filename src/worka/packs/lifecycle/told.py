"""What an operator is told of a running tool, question by question: whose, from which source, which release, attached and
approved by whom, what it may do, who uses it, and what breaks without it. Pure: words over what was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from worka.packs.lifecycle import picture

Row = Mapping[str, Any]
QUESTIONS = {
    "owner": "Whose is it?",
    "source": "From which source?",
    "release": "Which release?",
    "attached": "Who attached it?",
    "approved": "Who approved that?",
    "may": "What may it do?",
    "users": "Which workspaces use it?",
    "breaks": "What breaks if it is revoked?",
}
"""In the order in which they are answered."""


def answers(found: Row, release: Row, users: Sequence[Row], reach: Row) -> list[dict[str, Any]]:
    """[{key, question, answer, refs: [{id, name, workspace_id}]}], one for each of QUESTIONS. `found`: the lineage; `release`:
    its row; `users` and `reach`: as their reader sees them."""
    made, attachment = found["release"], found["attachment"]
    home = made["workspace_id"]
    here = attachment["workspace_id"]
    given = {
        "owner": (
            f"{found['source']['publisher']}; registered by {made['registered_by_name']} {_at(made['registered_at'])}",
            [],
        ),
        "source": (_source(found), []),
        "release": (
            f"{made['pack']} {made['version']}, digest {(made['digest'] or '')[:12]}, {made['state']}",
            [_ref(made["id"], f"{made['pack']} {made['version']}", home)],
        ),
        "attached": (
            f"{attachment['attached_by_name']} {_at(attachment['attached_at'])}, to"
            f" {attachment['workspace'] or attachment['workspace_id']}, {_mode(attachment)}"
            + (
                f"; it is {str(attachment['state']).replace('_', ' ')} now" if attachment["state"] != "attached" else ""
            ),
            [_ref(attachment["id"], "the attachment", here)],
        ),
        "approved": (
            approved(found["approval"]),
            [_ref(found["approval"]["id"], "the approval", here)] if found["approval"] else [],
        ),
        "may": (may(found["tool"], made["pack"], release), []),
        "users": (
            _users(users, reach),
            [
                _ref(row["id"], f"its attachment in {row['workspace'] or row['workspace_id']}", row["workspace_id"])
                for row in users
            ],
        ),
        "breaks": (breaks(reach), []),
    }
    return [
        {"key": key, "question": words, "answer": f"{given[key][0].rstrip('.')}.", "refs": given[key][1]}
        for key, words in QUESTIONS.items()
    ]


def _ref(subject: str, name: str, workspace_id: str) -> dict[str, Any]:
    return {"id": subject, "name": name, "workspace_id": workspace_id}


def _at(moment: Any) -> str:
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"on {at.day} {at:%b %Y, %H:%M}"


def _mode(attachment: Row) -> str:
    return "following new releases" if attachment["mode"] == "tracking" else "pinned"


def declared(source: Any) -> str:
    """The source as its manifest names it, in a line; empty where it names none."""
    if isinstance(source, Mapping):
        return ", ".join(f"{key} {value}" for key, value in sorted(source.items()))
    return str(source or "")


def _source(found: Row) -> str:
    source = found["source"]
    named = declared(source["declared"]) or "Its manifest names no source"
    handed = f"what was handed in has the hash {str(source['contents'])[:12]}" if source["contents"] else ""
    package = source["package"] or {}
    of = f"{package.get('ecosystem')} package {package.get('name')} {package.get('version')}" if package else ""
    return "; ".join(part for part in (named, of if source["ecosystem"] != "path" else "", handed) if part)


def approved(approval: Row | None) -> str:
    """Who consented, and when."""
    if approval is None:
        return "Nobody had to: policy asked nobody"
    agreed = [f"{vote['name']} {_at(vote['at'])}" for vote in approval["votes"] if vote["decision"] == "approve"]
    if agreed:
        return ", and ".join(agreed)
    return "It went by a bypass" if approval["bypass_id"] else f"Nobody yet: the approval is {approval['state']}"


EFFECTS = {
    "read_only": "reads only",
    "write": "writes",
    "external_side_effect": "acts on outside systems",
    "destructive": "may destroy",
}


def may(tool: str | None, pack: str, release: Row) -> str:
    """What a tool, or each of them, may do, and what its pack may reach and use."""
    manifest = release["manifest"]
    chosen = [row for row in release["tools"] if tool in (None, f"{pack}.{row['name']}")]
    does = ", ".join(f"{row['name']} {EFFECTS.get(row['side_effect'], row['side_effect'])}" for row in chosen)
    rules = [{"host": item} if isinstance(item, str) else item for item in manifest.get("outbound_domains") or []]
    reach = ", ".join(f"{rule['host']}:{rule.get('port') or 443}" for rule in rules)
    uses = [str(item["provider"]) for item in manifest.get("connections") or []]
    needs = [item["pack"] if isinstance(item, Mapping) else item for item in manifest.get("dependencies") or []]
    files = [str(item["name"]) for item in (manifest.get("runtime") or {}).get("mounts") or []]
    parts = [
        does or "It offers no tool",
        f"it may reach {reach}" if reach else "it has no network",
        f"with the connection {', '.join(uses)}" if uses else "",
        f"it reads the files {', '.join(files)}" if files else "",
        f"it calls {', '.join(needs)}" if needs else "",
        f"it uses {', '.join(manifest['host_services'])}" if manifest.get("host_services") else "",
    ]
    return "; ".join(part for part in parts if part)


def _users(users: Sequence[Row], reach: Row) -> str:
    named = _listed(f"{row['workspace'] or row['workspace_id']} ({row['version']})" for row in users)
    elsewhere = (reach.get("elsewhere") or {}).get("workspaces") or 0
    beside = f"; beside that {picture.counted('workspaces', elsewhere)} that you do not see" if elsewhere else ""
    return f"{named or 'None that you see'}{beside}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def breaks(reach: Row) -> str:
    """What would stop, and when: what is revoked goes on where it runs, what is quarantined does not."""
    found = picture.counts(reach)
    elsewhere = sum(count for kind, count in (reach.get("elsewhere") or {}).items() if kind != "workspaces")
    beside = f", and {elsewhere} more in workspaces that you do not see" if elsewhere else ""
    if not found and not beside:
        return "Nothing hangs on it"
    return f"Revoked, it is attached nowhere new and what runs goes on; quarantined, {', '.join(found) or 'nothing here'}{beside} would break"
