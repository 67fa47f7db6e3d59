"""Kill switches: which of those that are on stops a request, and in which words. Pure.

A kill switch stops what acts. Looking, and everything that only takes away (revoke, remove, detach, cancel, reject, lift),
goes on, or nobody could clear up behind it; a stopped member does nothing at all. One way out is left: an owner whom
somebody stopped who was none (before they were an owner, say) sees the switches and lifts those that no owner set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from worka.authorization.cedar import Request
from worka.governance.rules import Gate
from worka.kernel import actions
from worka.kernel.reasons import Reason, register

KINDS = ("release", "secret", "destination", "member", "workspace", "tenant")
PREFIX = "kill/"
REASON = "killed"
LOOK_SECONDS = 0.05
"""How long a look that found no kill switch may be gone by, for what repeats itself (broker/recording.py)."""
SETTLE_SECONDS = 2 * LOOK_SECONDS
"""How long after its commit a kill switch is answered for: no look that it was not in holds any more then."""
# What takes away or decides about others' wishes; and what governs: a kill must not stop its own lifting.
_GOES_ON = ("view", "read", "observe", "revoke", "remove", "ungrant", "detach", "quarantine", "cancel", "withdraw")
_GOVERNS = ("approval.", "audit.", "decision.", "kill.", "policy.")

register(
    Reason(
        REASON,
        "governance",
        "governance",
        "A kill switch stops this: a release, secret, destination, member, workspace or tenant.",
        causes="Somebody pulled it, with a reason; it holds in every process, from the next call on.",
        check="worka kill show ID: who, when, why, what it touched, and who may lift it.",
        remedy="An owner lifts it, first on trial for one workspace or member, then for all: worka kill lift ID.",
    )
)
Kill = Mapping[str, Any]


def gate(action: str, asked: list[Request], on: Iterable[Kill]) -> Gate | None:
    """The refusal of the first kill switch that stops this request; None when none does."""
    for kill in on:
        if _stops(action, asked, kill):
            return Gate("deny", (f"{PREFIX}{kill['id']}",), (said(kill),), (), remedy(kill))
    return None


def of_members(members: Iterable[str], workspace: str | None, on: Iterable[Kill]) -> Gate | None:
    """The refusal by a kill switch on one of these members."""
    found = matching([kill for kill in on if kill["kind"] == "member"], workspace=workspace, members=members)
    return None if found is None else Gate("deny", (f"{PREFIX}{found['id']}",), (said(found),), (), remedy(found))


def _stops(action: str, asked: list[Request], kill: Kill) -> bool:
    first = asked[0]
    who = {request.id for request in asked}
    facts = first.context
    if kill["kind"] == "member":
        if _way_out(action, asked, kill):
            return False
        return (
            matching([kill], workspace=first.workspace_id, members=who, releases=(), secrets=(), destinations=())
            is not None
        )
    if not acts(action):
        return False
    destinations = [facts[name] for name in ("destination", "endpoint", "host") if name in facts]
    secrets = [facts["secret"]] if "secret" in facts else []
    return (
        matching(
            [kill],
            workspace=first.workspace_id,
            members=who,
            releases=[facts["release"]] if "release" in facts else (),
            secrets=[*secrets, *([first.resource_id] if first.resource_type == "secret" else [])],
            destinations=destinations,
        )
        is not None
    )


def setter(kill: Kill) -> str:
    """Who set it: `owner` of where it holds, the deployment's `operator`, or somebody else, as a `manager`."""
    return "operator" if kill["by_operator"] else "owner" if kill["by_owner"] else "manager"


def _way_out(action: str, asked: list[Request], kill: Kill) -> bool:
    """Whether a stopped member may do this all the same: an owner, about what somebody set who is no owner."""
    if setter(kill) != "manager" or not all("owner" in request.roles for request in asked):
        return False
    return action == "kill.view" or (action == "kill.set" and asked[0].context.get("source") == "manager")


def acts(action: str) -> bool:
    """Whether a kill switch stops this kind of action at all."""
    known = actions.get(action)
    if known is not None and known.permission in ("view", "audit", "operate"):
        return False
    return not action.startswith(_GOVERNS) and action.partition(".")[2] not in _GOES_ON


def matching(
    on: Iterable[Kill],
    *,
    workspace: str | None,
    members: Iterable[str] = (),
    releases: Iterable[str] = (),
    secrets: Iterable[str] = (),
    destinations: Iterable[str] = (),
) -> Kill | None:
    """The first kill switch that one of these is the subject of, where and for whom it holds. A destination is `host` or
    `host:port`; a switch on a host stops every port of it, and a leading `*.` every name below it."""
    who, of, keys, places = set(members), set(releases), set(secrets), [item.lower() for item in destinations]
    for kill in on:
        if kill["workspace_id"] is not None and kill["workspace_id"] != workspace:
            continue
        exempt = set(kill["exempt"] or ())
        if workspace in exempt or who & exempt:
            continue
        subject = kill["subject"]
        hits = {
            "tenant": True,
            "workspace": workspace == subject,
            "member": subject in who,
            "release": subject in of,
            "secret": subject in keys,
            "destination": kill["kind"] == "destination" and any(covers(subject, place) for place in places),
        }
        if hits[kill["kind"]]:
            return kill
    return None


def covers(subject: str, destination: str) -> bool:
    """Whether a switch on `subject` stops this destination."""
    host, _, port = subject.lower().partition(":")
    there, _, at = destination.partition(":")
    if port and at and port != at:
        return False
    return there.endswith(host[1:]) if host.startswith("*.") else there == host


def said(kill: Kill) -> str:
    """Who stopped what, when and why, in a sentence."""
    what = "The whole tenant" if kill["kind"] == "tenant" else f"The {kill['kind']} {kill['subject']}"
    moment = str(kill["at"])[:16].replace("T", " ")
    return f"{what} was stopped by {kill['set_by_name'] or kill['set_by']} at {moment}: {kill['reason']}"


def remedy(kill: Kill) -> str:
    """Who can lift it, and how."""
    if kill["by_operator"]:
        return f"Only the deployment's operator can lift it: {kill['id']}"
    wide = kill["workspace_id"] is None
    whom = "An owner of all workspaces of the tenant" if wide else "An owner or admin of the workspace"
    return f"{whom} can lift it: worka kill lift {kill['id']}"
