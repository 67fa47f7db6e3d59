"""States of releases, attachments and invocations (contracts.md 6)."""

from __future__ import annotations

from itertools import pairwise

from worka.kernel.states import State, StateMachine, machine

RELEASE_ROAD = ("draft", "built", "published", "registered", "probed", "released")

RELEASE = machine(
    StateMachine(
        name="release",
        states=[
            State("draft", reasons=("waiting_for_build",)),
            State("built", reasons=("waiting_for_publication",)),
            State("published", reasons=("waiting_for_identity",)),
            State("registered", reasons=("waiting_for_probe",)),
            State("probed", reasons=("waiting_for_release",)),
            State("released", reasons=("release_in_service",)),
            State(
                "failed",
                reasons=(
                    "build_failed",
                    "identity_refused",
                    "probe_failed",
                    "tools_differ",
                    "host_unavailable",
                ),
            ),
            State("quarantined", reasons=("release_quarantined",)),
            State("revoked", reasons=("release_revoked",)),
        ],
        transitions=[
            *pairwise(RELEASE_ROAD),
            *((state, "failed") for state in RELEASE_ROAD[:-1]),
            *(("failed", state) for state in RELEASE_ROAD[:-1]),
            ("released", "revoked"),
            ("released", "quarantined"),
            ("quarantined", "released"),
            ("quarantined", "revoked"),
            ("revoked", "quarantined"),
        ],
    )
)

ATTACHMENT = machine(
    StateMachine(
        name="attachment",
        states=[
            State(
                "requested",
                reasons=("attachment_being_prepared",),
                later="it is asked for and moved on in one commit, so nobody meets it",
            ),
            State("awaiting_approval", reasons=("waiting_for_approver",)),
            State("awaiting_connection", reasons=("waiting_for_connection",)),
            State("attached", reasons=("attachment_in_service",)),
            State("awaiting_dependency", reasons=("waiting_for_dependency",)),
            State("updating", reasons=("attachment_updating",)),
            State("held", reasons=("tool_definition_changed",)),
            State("suspended", reasons=("release_quarantined",)),
            State(
                "detached",
                terminal=True,
                reasons=("attachment_rejected", "attachment_superseded", "release_revoked", "attachment_removed"),
            ),
        ],
        transitions=[
            ("requested", "awaiting_approval"),
            ("requested", "awaiting_connection"),
            ("requested", "attached"),
            ("awaiting_approval", "awaiting_connection"),
            ("requested", "awaiting_dependency"),
            ("awaiting_approval", "awaiting_dependency"),
            ("awaiting_connection", "awaiting_dependency"),
            ("awaiting_dependency", "awaiting_connection"),
            ("awaiting_dependency", "attached"),
            ("awaiting_dependency", "detached"),
            ("awaiting_approval", "attached"),
            ("awaiting_approval", "detached"),
            ("awaiting_connection", "attached"),
            ("awaiting_connection", "detached"),
            ("requested", "detached"),
            ("attached", "updating"),
            ("held", "updating"),
            ("updating", "attached"),
            ("updating", "held"),
            ("updating", "suspended"),
            ("updating", "detached"),
            ("attached", "held"),
            ("held", "held"),
            ("held", "attached"),
            ("held", "detached"),
            ("attached", "suspended"),
            ("held", "suspended"),
            ("suspended", "attached"),
            ("suspended", "held"),
            ("suspended", "detached"),
            ("attached", "detached"),
        ],
    )
)

INVOCATION = machine(
    StateMachine(
        name="invocation",
        states=[
            State("running", reasons=("call_under_way",)),
            # Never stored: what a running call is called once nobody who waits for its answer gives a sign of life, or once
            # it has outlived its own time.
            State("stalled", reasons=("caller_silent", "call_overdue")),
            State("unknown", terminal=True, reasons=("outcome_lost", "effect_uncertain")),
            State("succeeded", terminal=True),
            State("failed", terminal=True),
        ],
        transitions=[
            ("running", "succeeded"),
            ("running", "failed"),
            ("running", "unknown"),
            ("running", "stalled"),
            ("stalled", "running"),
            ("stalled", "succeeded"),
            ("stalled", "failed"),
            ("stalled", "unknown"),
        ],
    )
)

SERVING = frozenset({"attached", "held", "updating"})
"""States of an attachment in which (unchanged) tools are served. While it is being moved, those of the release it has."""
WHOLE_SERVER = "server instructions"
"""The name under which an attachment is held when what changed concerns every tool."""
