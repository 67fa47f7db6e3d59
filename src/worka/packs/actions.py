"""What can be asked for in packs."""

from __future__ import annotations

from worka.kernel.actions import Action, register

ATTACH = Action("pack.attach", "change", "pack", "Attach a release of a pack to a workspace.", waits=True)
DETACH = Action("pack.detach", "change", "attachment", "Take a pack from a workspace.")
FOLLOW = Action("attachment.follow", "administer", "attachment", "Let an attachment move to newer releases by itself.")
HOST_SERVICE = Action("host_service.use", "invoke", "host_service", "Use a host service, as a pack that declares it.")
INVOCATION_VIEW = Action(
    "invocation.view", "view", "invocation", "Read invocations and their explanation.", records=False
)
INVOKE = Action("tool.invoke", "invoke", "tool", "Call a tool of an attached pack.", waits=True)
PIN = Action("attachment.pin", "change", "attachment", "Keep an attachment on the release that it has.")
PROPOSE = Action(
    "egress_proposal.create", "change", "workspace", "Propose that what a pack was refused be let through."
)
PROPOSAL_DECIDE = Action(
    "egress_proposal.decide", "administer", "workspace", "Accept or reject a proposal of what packs reach."
)
QUARANTINE = Action("pack.quarantine", "administer", "pack", "Stop everything that runs a release, at once.")
LIFT = Action("pack.lift", "administer", "pack", "Let what was quarantined serve again.")
REGISTER = Action("pack.register", "change", "pack", "Register a release: build it and probe it in the sandbox.")
RELEASE_HELD = Action("attachment.resolve", "administer", "attachment", "Accept a changed tool definition, or detach.")
REVOKE = Action("pack.revoke", "administer", "pack", "Let no new attachment of a release be made.")
UPDATE = Action(
    "pack.update", "change", "pack", "Move an attachment to another release of its pack; this may widen it.", waits=True
)
VIEW = Action("pack.view", "view", "pack", "Read releases, attachments and tools.", records=False)

ADVISORY_IMPORT = Action(
    "advisory.import",
    "administer",
    "tenant",
    "Hand in known vulnerabilities, and check all releases of the tenant against them.",
)
register(
    ADVISORY_IMPORT, ATTACH, DETACH, FOLLOW, HOST_SERVICE, INVOCATION_VIEW, INVOKE, LIFT, PIN, PROPOSAL_DECIDE,
    PROPOSE, QUARANTINE, REGISTER,
    RELEASE_HELD, REVOKE, UPDATE, VIEW,
)  # fmt: skip
