"""An approval as its readers see it: everything but the arguments, which `service` opens for those who may see them."""

from __future__ import annotations

from typing import Any

from worka import identity
from worka.approvals import rules
from worka.approvals.people import Audience
from worka.approvals.rules import Ask
from worka.kernel.clock import now
from worka.kernel.context import Context

Row = dict[str, Any]


def stepped_up(ctx: Context) -> bool:
    """Whether the second factor was given in this session, or with this request, a short while ago. None is no."""
    return identity.factors.is_stepped_up(ctx)


def moved_on(told: Row) -> str:
    """What whoever would decide an approval under changed rules reads."""
    return f"Since it was asked for, policy has changed: {told['because']}. It is being superseded."


def shown(ctx: Context, row: Row, votes: list[Row], people: Audience) -> Row:
    """An approval as lists show it: everything but the arguments."""
    at = now()
    ask = Ask.of(row, votes)
    may = people.eligibility(ask, ctx, at)
    keys = (
        "id", "workspace_id", "state", "reason", "since", "verb", "boundary", "action", "title", "effect", "digest",
        "rules", "quorum", "decision_id", "policy_version", "card", "blocks", "created_at", "expires_at", "decided_at",
        "consumed_at", "consumed_by", "trace_id", "due_at", "reminders", "escalated_at", "escalated_to", "bypass_id",
        "moved", "led_by",
    )  # fmt: skip
    is_open = row["state"] == "open"
    # Of an open one by who could decide it now: a kill switch or a policy has moved nothing in its row.
    reason = rules.open_reason(ask, people.in_person(ask, at)) if is_open else row["reason"]
    return {
        **{key: row[key] for key in keys},
        "reason": reason,
        "subject": {"type": row["subject_type"], "id": row["subject_id"]},
        "requester": _person(people, row["requester_kind"], row["requester_id"]),
        "originating_person": _person(people, "person", row["originating_person"]),
        "votes": [
            {
                "person": _person(people, "person", vote["person_id"]),
                "on_behalf_of": _person(people, "person", vote["on_behalf_of"]),
                "decision": vote["decision"],
                "comment": vote["comment"],
                "at": vote["at"],
                "stepped_up_at": vote["stepped_up_at"],
                "stepped_up_by": vote["stepped_up_by"],
            }
            for vote in votes
        ],
        "missing": rules.missing(ask) if is_open else [],
        "eligibility": {
            "eligible": may.eligible,
            "because": may.because,
            "verb": may.verb if may.eligible else None,
            "on_behalf_of": _person(people, "person", may.behalf),
            "needed": may.eligible and may.needed,
            "step_up": may.eligible and rules.wants_stepup(ask, may.verb) and not stepped_up(ctx),
            "lacks_factor": people.lacks_factor(ask, ctx.principal.id, may),
        },
        "who_could": people.who_could(ask, at) if is_open else [],
        "absent_groups": people.absent(ask) if is_open else [],
    }


def _person(people: Audience, kind: str, principal_id: str | None) -> dict[str, Any] | None:
    if principal_id is None:
        return None
    return {"kind": kind, "id": principal_id, "name": people.name(principal_id)}
