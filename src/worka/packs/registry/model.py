"""States of publications (contracts.md 6 has those of releases and attachments, which are records of their own)."""

from __future__ import annotations

from worka.kernel.states import State, StateMachine, machine

FAILURES = (
    "artifact_damaged",
    "broker_unavailable",
    "publication_lost",
    "publication_not_allowed",
    "publication_superseded",
    "publication_withdrawn",
    "registry_answered_late",
    "registry_lied",
    "registry_refused",
    "registry_redirected",
    "registry_unreachable",
    "registry_wants_token",
    "release_not_publishable",
    "treasury_sealed",
)
"""Why a publication fails. Each can be tried again."""

PUBLICATION = machine(
    StateMachine(
        name="publication",
        states=[
            State("awaiting_approval", reasons=("waiting_for_approver",)),
            State("queued", reasons=("publication_waiting",)),
            State("pushing", reasons=("publication_under_way",)),
            State("published", terminal=True, reasons=("publication_done",)),
            State("failed", reasons=FAILURES),
            State("refused", terminal=True, reasons=("publication_rejected", "publication_superseded")),
        ],
        transitions=[
            ("awaiting_approval", "queued"),
            ("awaiting_approval", "refused"),
            ("queued", "pushing"),
            ("queued", "failed"),
            ("pushing", "published"),
            ("pushing", "failed"),
            ("failed", "queued"),
        ],
    )
)
VISIBILITIES = ("private", "shared", "public")
"""From the narrowest: this tenant; the tenants that are named; every tenant of the deployment."""
