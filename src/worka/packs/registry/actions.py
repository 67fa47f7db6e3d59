"""What can be asked for in the registry."""

from __future__ import annotations

from worka.kernel.actions import Action, register

DESTINATION_CREATE = "destination.create"
DESTINATION_REMOVE = "destination.remove"
LISTING_WITHDRAW = "listing.withdraw"
PUBLISH = "release.publish"
REGISTRY_POLICY_SET = "registry_policy.set"
REGISTRY_POLICY_SET_WIDE = "registry_policy.set_wide"
REVIEW = "release.review"
SIGN = "release.sign"
TRUST_ROOT_SET = "trust_root.set"
TRUST_ROOT_VIEW = "trust_root.view"

register(
    Action(DESTINATION_CREATE, "manage_connections", "pack", "Name a registry that releases may be published to."),
    Action(DESTINATION_REMOVE, "manage_connections", "pack", "Take a registry away from the destinations."),
    Action(LISTING_WITHDRAW, "administer", "pack", "Take a release from the marketplace."),
    Action(PUBLISH, "administer", "pack", "Publish a release.", waits=True),
    Action(
        REGISTRY_POLICY_SET, "own", "workspace", "Set what may be published where from one workspace, and how widely."
    ),
    Action(REGISTRY_POLICY_SET_WIDE, "own", "tenant", "The same for the whole tenant (an owner of all of it)."),
    Action(REVIEW, "administer", "pack", "Say that a release was looked at."),
    Action(SIGN, "administer", "pack", "Sign a release as its publisher, or make the publisher's key."),
    Action(TRUST_ROOT_SET, "operate", "tenant", "Set which keys the deployment trusts to vouch for publishers."),
    Action(TRUST_ROOT_VIEW, "operate", "tenant", "Read the history of the deployment's trust roots.", records=False),
)
