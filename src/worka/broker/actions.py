"""What can be asked for at the broker's doors."""

from __future__ import annotations

from worka.kernel.actions import Action, register

EGRESS_POLICY_SET = "egress_policy.set"
EGRESS_POLICY_SET_WIDE = "egress_policy.set_wide"
EGRESS_POLICY_VIEW = "egress_policy.view"
NETWORK_EXCEPTION_CREATE = "network_exception.create"
NETWORK_EXCEPTION_REMOVE = "network_exception.remove"
NETWORK_EXCEPTION_VIEW = "network_exception.view"
EGRESS_VIEW = "egress.view"
EGRESS_LOG_VIEW = "egress.log.view"
PLATFORM_SEND = "platform.send"
UPSTREAM_TRUST_CREATE = "upstream_trust.create"
UPSTREAM_TRUST_REMOVE = "upstream_trust.remove"
UPSTREAM_TRUST_VIEW = "upstream_trust.view"

register(
    Action(EGRESS_VIEW, "view", "workspace", "See what packs of the workspace sent out, or tried to.", records=False),
    Action(
        EGRESS_LOG_VIEW,
        "change",
        "workspace",
        "Read the broker's raw failure lines, which name inside addresses.",
        records=False,
    ),
    Action(EGRESS_POLICY_SET, "own", "workspace", "Set what the workspace's policy says of destinations.", waits=True),
    Action(
        EGRESS_POLICY_SET_WIDE,
        "own",
        "tenant",
        "Set what policy says of destinations in the whole tenant (an owner of all its workspaces).",
        waits=True,
    ),
    Action(EGRESS_POLICY_VIEW, "view", "workspace", "See what policy says of destinations.", records=False),
    Action(
        NETWORK_EXCEPTION_CREATE,
        "administer",
        "network_exception",
        "Let packs reach an inside address by a name.",
        waits=True,
    ),
    Action(NETWORK_EXCEPTION_REMOVE, "administer", "network_exception", "Take such an exception back."),
    Action(
        PLATFORM_SEND,
        "invoke",
        "workspace",
        "Send one of the platform's own calls (a webhook, an e-mail) to a destination that a recorded rule names: asked of"
        " policy by the broker.",
    ),
    Action(NETWORK_EXCEPTION_VIEW, "view", "workspace", "See the workspace's network exceptions.", records=False),
    Action(
        UPSTREAM_TRUST_CREATE,
        "administer",
        "upstream_trust",
        "Record how the certificate of an outside name is checked, and which of ours it is shown.",
        waits=True,
    ),
    Action(UPSTREAM_TRUST_REMOVE, "administer", "upstream_trust", "Take such a record back."),
    Action(UPSTREAM_TRUST_VIEW, "view", "workspace", "See the workspace's records of upstream trust.", records=False),
)
