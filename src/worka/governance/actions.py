"""What can be asked for in governance."""

from __future__ import annotations

from worka.kernel.actions import Action, register

ACCESS_EXPLAIN = "access.explain"
DECISION_VIEW = "decision.view"
KILL_DEPLOY = "kill.deploy"
KILL_SET = "kill.set"
KILL_SET_WIDE = "kill.set_wide"
KILL_VIEW = "kill.view"
POLICY_DEPLOY = "policy.deploy"
POLICY_SAVE = "policy.save"
POLICY_SAVE_HERE = "policy.save_here"
POLICY_TRY = "policy.try"
POLICY_TRY_HERE = "policy.try_here"
POLICY_VIEW = "policy.view"
PUBLICATION_REVIEW = "publication.review"

register(
    Action(ACCESS_EXPLAIN, "audit", "workspace", "Ask what somebody else may do, and by which rules.", records=False),
    Action(
        DECISION_VIEW,
        "audit",
        "decision",
        "See a decision with the rules that matched and their inputs.",
        records=False,
    ),
    Action(KILL_DEPLOY, "operate", "tenant", "Set or lift a kill switch of the deployment over a tenant."),
    Action(KILL_SET, "administer", "workspace", "Set or lift a kill switch in one workspace."),
    Action(KILL_SET_WIDE, "own", "tenant", "Set or lift a kill switch in the whole tenant (an owner of all of it)."),
    Action(KILL_VIEW, "view", "workspace", "See the kill switches, and what they touch.", records=False),
    Action(POLICY_DEPLOY, "operate", "tenant", "Save a version of the deployment's policy, which binds every tenant."),
    Action(
        POLICY_SAVE,
        "own",
        "policy",
        "Save a version of the tenant's policy (an owner of all its workspaces).",
        waits=True,
    ),
    Action(
        POLICY_SAVE_HERE, "own", "workspace", "Save a version of one workspace's policy (an owner of it).", waits=True
    ),
    Action(POLICY_TRY, "own", "policy", "Dry-run a policy over every recorded decision of the tenant.", records=False),
    Action(
        POLICY_TRY_HERE,
        "audit",
        "workspace",
        "Dry-run a policy, or a change of role, over a workspace's recorded decisions.",
        records=False,
    ),
    Action(
        PUBLICATION_REVIEW,
        "publish_shared_views",
        "workspace",
        "Review what is to be shown to people outside (asked of roles; there is nothing to publish to yet).",
        records=False,
    ),
    Action(POLICY_VIEW, "view", "workspace", "Read the policy in force and its versions.", records=False),
)
