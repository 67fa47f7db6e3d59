"""States of a proposal. Accepted, what follows is the release's, the move's or the change's own story."""

from __future__ import annotations

from worka.kernel.states import State, StateMachine, machine

PROPOSAL = machine(
    StateMachine(
        name="egress_proposal",
        states=[
            State("open", reasons=("waiting_for_decision",)),
            State("accepted", terminal=True, reasons=("made_into_release", "made_into_policy")),
            State("rejected", terminal=True, reasons=("proposal_rejected",)),
            State(
                "superseded", terminal=True, reasons=("allowed_meanwhile", "attachment_removed", "manifest_changed"),
            ),
        ],
        transitions=[("open", "accepted"), ("open", "rejected"), ("open", "superseded")],
    )
)  # fmt: skip
