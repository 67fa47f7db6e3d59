"""What can be asked for in governance."""

from __future__ import annotations

from worka.kernel.actions import Action, register

DECISION_VIEW = "decision.view"
POLICY_SAVE = "policy.save"
POLICY_VIEW = "policy.view"

register(
    Action(
        DECISION_VIEW,
        "audit",
        "decision",
        "See a decision with the rules that matched and their inputs.",
        records=False,
    ),
    Action(POLICY_SAVE, "own", "policy", "Save a version of the tenant's policy (an owner of all its workspaces)."),
    Action(POLICY_VIEW, "view", "workspace", "Read the policy in force and its versions.", records=False),
)
