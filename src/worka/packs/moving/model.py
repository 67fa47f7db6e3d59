"""States of a move: an attachment on its way from one release of its pack to another (contracts.md 6, `updating`)."""

from __future__ import annotations

from worka.kernel.states import State, StateMachine, machine

WAITING = ("awaiting_approval", "awaiting_connection", "awaiting_dependency")
OPEN = ("planned", *WAITING, "trying")
"""States in which a move is under way. One attachment has at most one such move: the database says so."""

MOVE = machine(
    StateMachine(
        name="attachment_move",
        states=[
            State("planned", reasons=("move_planned",)),
            State("awaiting_approval", reasons=("waiting_for_approver",)),
            State("awaiting_connection", reasons=("waiting_for_connection",)),
            State("awaiting_dependency", reasons=("waiting_for_dependency",)),
            State("trying", reasons=("move_being_tried",)),
            State("moved", terminal=True, reasons=("move_done",)),
            State(
                "failed",
                terminal=True,
                reasons=(
                    "probe_failed", "tools_differ", "digest_mismatch", "sandbox_unavailable", "isolation_too_weak",
                    "host_unavailable",
                ),
            ),
            State(
                "refused",
                terminal=True,
                reasons=(
                    "move_rejected", "move_denied", "move_superseded", "move_needs_a_person", "release_revoked",
                    "release_quarantined",
                ),
            ),
            State(
                "superseded",
                terminal=True,
                reasons=("newer_move", "move_withdrawn", "attachment_pinned", "attachment_removed", "attachment_changed"),
            ),
        ],
        transitions=[
            *(("planned", state) for state in (*WAITING, "trying", "refused", "superseded")),
            *((wait, state) for wait in WAITING for state in (*WAITING, "trying", "refused", "superseded") if wait != state),
            *(("trying", state) for state in ("moved", "failed", "refused", "superseded", *WAITING[1:])),
        ],
    )
)  # fmt: skip
