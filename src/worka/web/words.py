"""How things are said: states as icon, word and tone; times; which page an id has. Pure presentation, no decisions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from markupsafe import Markup, escape

from worka.approvals.rules import parse_rule
from worka.kernel import ids
from worka.kernel.clock import ago, now


class Status(NamedTuple):
    """A state as a person sees it: an icon's name, a word, a tone (ok, wait, run, bad, warn, off, unknown)."""

    icon: str
    word: str
    tone: str


_TONES: Final[dict[str, tuple[str, str]]] = {
    "ok": (
        "check",
        "succeeded kept approved attached moved allowed allow active released registered healthy ok published built probed"
        " done satisfied trusted sent listed in_force",
    ),
    "wait": (
        "hourglass",
        "waiting open proposed ask awaiting_approval awaiting_connection awaiting_consent awaiting_dependency planned requested rotating"
        " confirm_needed",
    ),
    "run": ("dot", "running updating trying deploying pushing"),
    "bad": ("cross", "failed rejected denied deny revoked broken quarantined down destroyed refused"),
    "warn": ("warn", "stalled retrying held expired degraded superseded suspended missing stale disabled untrusted"),
    "off": (
        "minus",
        "queued gone cancelled paused deferred withdrawn detached not_reached not_used draft consumed skipped removed"
        " unsigned unlisted",
    ),
    "unknown": ("question", "unknown"),
}
_BY_STATE: Final = {state: (icon, tone) for tone, (icon, states) in _TONES.items() for state in states.split()}
_OWN_ICON: Final = {"queued": "queue", "paused": "pause", "retrying": "retry", "cancelled": "slash", "running": "play"}

# Lanes of the attention page and of changes: the order in which they are shown, and what they are called.
ATTENTION: Final = {
    "approvals": ("Waiting for a decision", "Nothing runs past these until a person decides."),
    "services": ("Degraded parts of the platform", "Processes that are silent or report trouble."),
    "tasks": ("Stuck or failing work", "Tasks that stopped, stalled, or keep retrying."),
    "packs": ("Failing packs", "Calls that failed in the last day, by pack and reason."),
    "capability": ("Capability on hold", "Packs and connections that wait or are held."),
    "waiting": ("Work that waits for a decision", "It goes on by itself once somebody has decided."),
    "secrets": ("Secrets and consents", "Expiring, broken or revoked."),
    "sharing": ("Newly reachable from outside", "Things that became public."),
    "evidence": ("Audit and backup", "The ledger or a backup needs a look."),
}
CHANGES: Final = {
    "work": "Work",
    "capability": "Capability",
    "access": "Access",
    "secrets": "Secrets",
    "policy": "Policy",
    "sharing": "Sharing",
    "services": "Services",
    "config": "Configuration",
}
_PAGES: Final = {
    "task": "tasks",
    "apr": "approvals",
    "inv": "invocations",
    "rel": "releases",
    "view": "views",
    "dec": "decisions",
    "whk": "webhooks",
    "dlv": "deliveries",
    "att": "attachments",
    "wdr": "withdrawals",
    "sec": "secrets",
    "conn": "connections",
}
KIND_OF_ID: Final = {
    "task": "task", "apr": "approval", "byp": "bypass", "inv": "invocation", "view": "view", "dec": "decision", "att": "attachment",
    "conn": "connection", "proc": "process", "rel": "release", "mov": "move", "pub": "publication", "sec": "secret", "step": "step",
    "egr": "egress row", "epr": "proposal", "wch": "change", "srd": "reading", "kdn": "destruction of keys",
    "wait": "wait", "ws": "workspace", "whk": "webhook", "dlv": "delivery", "wdr": "withdrawal", "vul": "finding",
}  # fmt: skip
_EXPLAINED: Final = {"byp", "egr", "epr", "kdn", "mov", "proc", "pub", "srd", "step", "wait", "wch"}
_KINDS: Final = {
    "person": "person",
    "team_member": "team member",
    "service_account": "service account",
    "attachment": "pack",
    "platform": "Worka",
    "device": "device",
}


def status(state: str | None) -> Status:
    """The icon, word and tone of a state. A state nobody told us about keeps its own word, in a neutral tone."""
    state = state or "unknown"
    icon, tone = _BY_STATE.get(state, ("minus", "off"))
    return Status(_OWN_ICON.get(state, icon), spoken(state).capitalize(), tone)


def spoken(code: Any) -> str:
    """`waiting_for_approval` → `waiting for approval`."""
    return str(code or "").replace("_", " ").strip()


def told(title: str, headline: str) -> tuple[str, str]:
    """A headline as (what it is about, what is said about it): `Pay 7 failed: x` → (`Pay 7`, `Failed: x`)."""
    for start in (f"“{title}” ", f"{title} "):
        if title and headline.startswith(start):
            line = headline[len(start) :]
            return title, line[:1].upper() + line[1:]
    return headline, ""


def brief(text: Any) -> str:
    """A text in which hashes are cut to what a person compares."""
    return re.sub(r"\b(?:sha256:)?([0-9a-f]{12})[0-9a-f]{28,52}\b", r"\1…", str(text or ""))


def ticked(text: Any) -> Markup:
    """A text in which what stands between backticks is shown as code, not as backticks. The text itself is escaped."""
    parts = str(text or "").split("`")
    if len(parts) % 2 == 0:
        return escape(str(text or ""))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def rule(text: str) -> str:
    """`approve:2` → who has to agree, in words."""
    try:
        return parse_rule(text).words
    except ValueError:
        return text


def kind_of_principal(kind: str | None) -> str:
    """The glossary's word for a kind of principal."""
    return _KINDS.get(kind or "", spoken(kind))


def moment(value: Any) -> datetime | None:
    """A time from a datetime or an ISO 8601 text; None when there is none."""
    if isinstance(value, str) and value:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def relative(value: Any, at: datetime | None = None) -> str:
    """`3 h ago`, `in 20 min`, `just now`."""
    when = moment(value)
    if when is None:
        return ""
    seconds = ((at or now()) - when).total_seconds()
    if abs(seconds) < 5:
        return "just now"
    # The same rounding as the explanations' own words: one age is not told in two ways on one page.
    text = ago(abs(seconds))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def duration(seconds: Any) -> str:
    """A length of time with the one unit that matters."""
    if not isinstance(seconds, int | float):
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    for size, unit, limit in ((1, "s", 90), (60, "min", 90), (3600, "h", 48)):
        if seconds < size * limit:
            whole = seconds / size
            return f"{whole:.1f} {unit}" if unit == "s" and whole < 10 and whole % 1 else f"{whole:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def absolute(value: Any) -> str:
    """`23 Nov 2026, 11:05:07 UTC`."""
    when = moment(value)
    return f"{when.day} {when:%b %Y, %H:%M:%S} UTC" if when else ""


def clock_time(value: Any) -> str:
    """`11:05:07` today, with the day otherwise."""
    when = moment(value)
    if when is None:
        return ""
    return f"{when:%H:%M:%S}" if when.date() == now().date() else f"{when.day} {when:%b %H:%M}"


def day(value: Any) -> str:
    """`Today`, `Yesterday`, `21 November 2026` (UTC)."""
    when = moment(value)
    if when is None:
        return ""
    ago = (now().date() - when.date()).days
    return {0: "Today", 1: "Yesterday"}.get(ago, f"{when.day} {when:%B %Y}")


def href(subject: str | None, workspace_id: str | None) -> str:
    """The page of a thing, by the prefix of its id; empty when it has none."""
    if not subject or not workspace_id or not ids.check(subject):
        return ""
    prefix = ids.prefix_of(subject)
    if prefix in _PAGES:
        return f"/w/{workspace_id}/{_PAGES[prefix]}/{subject}"
    if prefix in _EXPLAINED:
        return f"/w/{workspace_id}/why/{subject}"
    return f"/w/{subject}/attention" if prefix == "ws" else ""


def elsewhere(subject: str, workspace_id: str, place: str) -> str:
    """The page to which an id in the address of `place` belongs, when that is another one; empty when it is this one, or
    none. Whether there is such a thing, and for whom, that page says."""
    target = href(subject, workspace_id)
    prefix = ids.prefix_of(subject)
    return target if target and prefix != "ws" and _PAGES.get(prefix) != place else ""


def short(value: Any, keep: int = 12) -> str:
    """The beginning of a digest or the telling end of an id."""
    text = str(value or "")
    if ids.check(text):
        head, _, tail = text.partition("_")
        return f"{head}_…{tail[-6:]}"
    text = re.sub(r"^sha256:", "", text)
    return text if len(text) <= keep else f"{text[:keep]}…"


def difference(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Field by field, what a change did: [{field, before, after, kind: added|removed|changed|same}]."""
    old, new = dict(before or {}), dict(after or {})
    rows = []
    for field in [*old, *(key for key in new if key not in old)]:
        left, right = old.get(field), new.get(field)
        if field not in old:
            kind = "added"
        elif field not in new:
            kind = "removed"
        else:
            kind = "same" if left == right else "changed"
        rows.append({"field": field, "before": left, "after": right, "kind": kind})
    return rows


def is_digest(value: Any) -> bool:
    """Whether a text is a hash, which a person compares but does not read."""
    return isinstance(value, str) and re.fullmatch(r"(sha256:)?[0-9a-f]{40,64}", value) is not None


def lines(value: Any) -> list[str] | None:
    """A list or a mapping of plain values as lines that a person reads; None when it is deeper, or nothing of that."""
    if isinstance(value, Mapping):
        if any(isinstance(item, list | dict) for item in value.values()):
            return None
        return [f"{spoken(key)}: {_plain(item)}" for key, item in value.items()]
    if not isinstance(value, list) or not value:
        return None
    if not any(isinstance(item, list | dict) for item in value):
        return [_plain(item) for item in value]
    found = []
    for item in value:
        if not isinstance(item, dict) or any(isinstance(part, list | dict) for part in item.values()):
            return None
        # Of a list of records: what tells them apart. Hashes are on the raw view.
        parts = [_plain(part) for part in item.values() if part not in (None, "") and not is_digest(part)]
        found.append(" · ".join(parts))
    return found


def _plain(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = spoken(value) if isinstance(value, str) and re.fullmatch(r"[a-z]+(_[a-z]+)+", value) else str(value)
    return short(text, 20) if is_digest(text) or ids.check(text) else text
