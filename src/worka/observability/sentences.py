"""How each event is said: who did what to what, in that order. Pure.

The type alone does not tell who did and who was done to: in `approval.decision.refused` the one who acts is the one who was
refused, in `broker.egress.allowed` the one who was let out. So every type has its own words here, and a test compares this
table with the catalogue of events. `{who}` is the one who acted (with the person behind them), `{name}` the subject's name
in quotation marks with a space before it, or nothing where it has none; `{seat}` the one in whose place a delegate voted.
"""

from __future__ import annotations

from typing import Any, Final

from worka.kernel import actions

SAID: Final[dict[str, str]] = {
    "access.denied": "{who} was refused{what}{name}",
    "approval.approved": "{who} gave the last approval that{name} needed",
    "approval.bypass.moved": "{who} moved the bypass of approvals{name}{why}",
    "approval.bypass.opened": "{who} asked for a bypass of approvals{name}",
    "approval.bypassed": "{who} went on without an approval, by a bypass:{name}",
    "approval.decision.refused": "{who} was refused a decision on approval{name}{why}",
    "approval.delegation.created": "{who} delegated approvals:{name}",
    "approval.delegation.ended": "{who} ended a delegation of approvals:{name}",
    "approval.escalated": "{who} asked more people for the approval{name}",
    "approval.expired": "{who} let approval{name} expire",
    "approval.group.changed": "{who} changed group{name}",
    "approval.group.created": "{who} made group{name}",
    "approval.group.deleted": "{who} deleted group{name}",
    "approval.rejected": "{who} rejected{name}",
    "approval.reminded": "{who} reminded people of approval{name}",
    "approval.requested": "{who} asked for an approval of{name}",
    "approval.settings.changed": "{who} changed when approvals remind, escalate and expire",
    "approval.superseded": "{who} put something else in the place of approval{name}{why}",
    "approval.used": "{who} began what was approved:{name}",
    "approval.vote.recorded": "{who} decided on approval{name}{seat}",
    "approval.withdrawn": "{who} withdrew approval{name}",
    "audit.ledger.exported": "{who} exported the ledger",
    "audit.ledger.verified": "{who} had the ledger verified",
    "broker.answer.withheld": "{who} was not given the answer of{name}{why}",
    "broker.circuit.closed": "{who} was answered by{name} again, and it is asked as before",
    "broker.circuit.opened": "{who} met too many failures of{name}, and it is not asked for a while",
    "broker.egress.allowed": "{who} was let out to{name}",
    "broker.egress.denied": "{who} did not get out to{name}{why}",
    "connection.activated": "{who} put connection{name} into service",
    "connection.awaiting_consent": "{who} let connection{name} wait for the provider",
    "connection.broken": "{who} found connection{name} broken",
    "connection.consent.begun": "{who} went to the provider to consent for connection{name}",
    "connection.consent.refused": "{who} was refused a consent for connection{name}{why}",
    "connection.created": "{who} asked for connection{name}",
    "connection.credential.accepted": "{who} saw the provider take the credential of connection{name} again",
    "connection.credential.refused": "{who} was refused by the provider with the credential of connection{name}",
    "connection.expired": "{who} let connection{name} expire",
    "connection.provider.told": "{who} told the provider that the tokens of connection{name} are over, or tried to",
    "connection.rejected": "{who} rejected connection{name}",
    "connection.renewal.begun": "{who} asked the provider for a new credential of connection{name}",
    "connection.renewal.failed": "{who} got no new credential of connection{name}",
    "connection.renewed": "{who} renewed the credential of connection{name}",
    "connection.revoked": "{who} ended connection{name}{why}",
    "connection.warned": "{who} found that the credential of connection{name} ends soon",
    "egress.policy.closed": "{who} closed the proposed{name}",
    "egress.policy.proposed": "{who} proposed the{name}",
    "egress.policy.saved": "{who} put into force:{name}",
    "identity.person.created": "{who} made the account of{name}",
    "identity.recovery_codes.renewed": "{who} renewed the recovery codes of{name}",
    "identity.second_factor.ended": "{who} took away the second factor of{name}",
    "identity.second_factor.refused": "{who} was refused: a code of the second factor of{name} did not fit",
    "identity.second_factor.reset": "{who} took away the lost second factor of{name}",
    "identity.second_factor.set": "{who} set the second factor of{name}",
    "identity.service_account.created": "{who} made service account{name}",
    "identity.service_account.ended": "{who} ended service account{name}",
    "identity.session.closed": "{who} signed out",
    "identity.session.opened": "{who} signed in",
    "identity.session.stepped_up": "{who} gave the second factor",
    "identity.sign_in.refused": "{who} was refused a sign-in",
    "identity.sign_in_link.created": "{who} made a one-time sign-in for{name}",
    "identity.team_member.changed": "{who} changed AI team member{name}",
    "identity.team_member.created": "{who} added AI team member{name}",
    "identity.token.created": "{who} made API token{name}",
    "identity.token.revoked": "{who} revoked API token{name}",
    "kill.lifted": "{who} lifted the{name}",
    "kill.moved": "{who} moved the{name}",
    "kill.set": "{who} set the{name}",
    "limit.set": "{who} set the{name}",
    "network.exception.created": "{who} made the network exception{name}",
    "network.exception.removed": "{who} removed the network exception{name}",
    "upstream.trust.created": "{who} recorded how the certificate of an outside name is checked{name}",
    "upstream.trust.removed": "{who} took back how the certificate of an outside name is checked{name}",
    "way.change.closed": "{who} closed the proposed way of{name}",
    "way.change.proposed": "{who} proposed where a name leads:{name}",
    "notification.delivery.ended": "{who} ended the delivery of{name}",
    "pack.advisories.imported": "{who} handed in known vulnerabilities",
    "pack.attachment.created": "{who} put pack{name} into service",
    "pack.attachment.detached": "{who} detached pack{name}",
    "pack.attachment.follows": "{who} lets pack{name} follow new releases",
    "pack.attachment.held": "{who} held pack{name} back",
    "pack.attachment.moved": "{who} moved the attachment of pack{name}",
    "pack.attachment.pinned": "{who} pinned pack{name} to its release",
    "pack.attachment.requested": "{who} asked to attach pack{name}",
    "pack.definition.accepted": "{who} accepted a changed definition of pack{name}",
    "pack.definition.refused": "{who} refused a changed definition of pack{name}",
    "pack.finding.moved": "{who} moved the known vulnerability of{name}",
    "pack.invocation.finished": "{who} finished the call of{name}",
    "pack.invocation.started": "{who} began the call of{name}",
    "pack.move.changed": "{who} took the move of pack{name} further",
    "pack.move.planned": "{who} planned a move of pack{name} to another release",
    "pack.release.moved": "{who} moved release{name}",
    "pack.release.registered": "{who} registered release{name}",
    "pack.sessions.ended": "{who} ended what ran because of{name}",
    "pack.withdrawn": "{who} took away or gave back{name}",
    "pack.proposal.decided": "{who} decided on what was proposed for pack{name}",
    "pack.proposal.made": "{who} proposed what pack{name} may reach",
    "policy.break_glass.ended": "{who} ended the{name}",
    "policy.break_glass.opened": "{who} opened the{name}",
    "policy.change.closed": "{who} closed the{name}",
    "policy.change.proposed": "{who} proposed the{name}",
    "policy.version.saved": "{who} put into force:{name}",
    "provider.restricted": "{who} restricted which outside systems the tenant may connect{why}",
    "provider_client.registered": "{who} registered the client at{name}",
    "provider_client.removed": "{who} took back the client at{name}",
    "registry.artifact.kept": "{who} kept the artifact of{name}",
    "registry.destination.moved": "{who} moved the destination{name}",
    "registry.envelope.kept": "{who} kept an unverified envelope about{name}",
    "registry.key.made": "{who} made a signing key of{name}",
    "registry.listing.moved": "{who} moved the listing of{name}",
    "registry.policy.set": "{who} set the{name}",
    "registry.publication.moved": "{who} moved the publication of{name}",
    "registry.release.reviewed": "{who} reviewed{name}",
    "registry.release.signed": "{who} signed{name}",
    "registry.signatures.carried": "{who} brought newer signatures of{name}",
    "registry.signatures.wanted": "{who} had newer signatures brought of{name}",
    "registry.trust_root.set": "{who} set the trust root{name}",
    "tenant.created": "{who} made tenant{name}",
    "treasury.grant.created": "{who} granted the use of secret{name}",
    "treasury.grant.revoked": "{who} took back a grant of secret{name}",
    "treasury.key.rewrapped": "{who} wrapped the tenant's keys under another master key",
    "treasury.key.rotated": "{who} gave the tenant a new data key",
    "treasury.keys.destruction_asked": "{who} asked for the destruction of the tenant's data keys{why}",
    "treasury.keys.destruction_ended": "{who} decided about the destruction of the tenant's data keys{why}",
    "treasury.lease.closed": "{who} was done with a secret",
    "treasury.lease.refused": "{who} was refused the use of a secret{name}{why}",
    "treasury.secret.brought": "{who} put secret{name} from a provider into the treasury",
    "treasury.secret.created": "{who} put secret{name} into the treasury",
    "treasury.secret.dated": "{who} set when secret{name} ends or is due",
    "treasury.secret.destroyed": "{who} destroyed the values of secret{name}{why}",
    "treasury.secret.leased": "{who} was lent secret{name} for one call",
    "treasury.secret.overlap_ended": "{who} ended the overlap of secret{name}",
    "treasury.secret.reading": "{who} moved a reading of secret{name}{why}",
    "treasury.secret.revoked": "{who} revoked secret{name}",
    "treasury.secret.rotated": "{who} gave secret{name} a new value",
    "treasury.secret.signed": "{who} signed with secret{name}",
    "treasury.secret.used": "{who} opened secret{name} for a call of the platform's own",
    "treasury.secret.warned": "{who} found that secret{name} has to have a new value",
    "treasury.master_key.rotated": "{who} rotated the master key",
    "treasury.sealed": "{who} sealed or unsealed the treasury{why}",
    "view.document.created": "{who} made view{name}",
    "view.document.revised": "{who} wrote view{name} anew",
    "webhook.changed": "{who} changed webhook{name}",
    "webhook.created": "{who} made webhook{name}",
    "webhook.removed": "{who} removed webhook{name}",
    "webhook.replayed": "{who} sent deliveries of webhook{name} again",
    "webhook.secret.rotated": "{who} gave webhook{name} a new secret",
    "webhook.tested": "{who} tested webhook{name}",
    "workflow.definition.saved": "{who} saved workflow{name}",
    "workflow.step.finished": "{who} finished step{name}",
    "workflow.step.refused": "{who} was too late with step{name}: its task was over",
    "workflow.step.started": "{who} started step{name}",
    "workflow.task.claimed": "{who} took up task{name}",
    "workflow.task.finished": "{who} ended task{name}",
    "workflow.task.held": "{who} put task{name} in line: a limit leaves it no place",
    "workflow.task.reoffered": "{who} offered task{name} again",
    "workflow.task.resumed": "{who} resumed task{name}",
    "workflow.task.retrying": "{who} will try task{name} again",
    "workflow.task.started": "{who} started task{name}",
    "workflow.task.unknown": "{who} does not know what became of task{name}",
    "workflow.task.waiting": "{who} set task{name} to wait",
    "workspace.created": "{who} made workspace{name}",
    "workspace.invitation.held": "{who} let nobody in by an invitation{why}",
    "workspace.invitation.renewed": "{who} renewed an invitation",
    "workspace.invitation.withdrawn": "{who} withdrew an invitation",
    "workspace.member.added": "{who} added member{name}",
    "workspace.member.changed": "{who} changed member{name}",
    "workspace.member.invited": "{who} invited a person",
    "workspace.member.removed": "{who} removed member{name}",
}


def sentence(event: dict[str, Any]) -> str:
    """`Ada for Bo started task “Release notes”`. A type that is not in the table is said by its own words."""
    who = event["actor_name"] or event["actor_id"]
    behalf = f" for {event['on_behalf_name']}" if event.get("on_behalf_name") else ""
    name = f" “{event['subject_name']}”" if event["subject_name"] else ""
    return _said(event, f"{who}{behalf}", name).rstrip(" :")


def around(event: dict[str, Any]) -> tuple[str, str]:
    """What the sentence says between who acted and the name of the subject, and after that name: for a page on which
    both are links."""
    before, named, after = _said(event, "", "\0").partition("\0")
    return (before.strip(), after.strip()) if named else (f"{before.strip()}:", "")


def _said(event: dict[str, Any], who: str, name: str) -> str:
    noun, verb = event["type"].rsplit(".", 2)[-2:]
    said = SAID.get(event["type"], "{who} " + f"{verb} {noun}".replace("_", " ") + "{name}")
    data = event.get("data") or {}
    because = data.get("because") or str(data.get("reason", "")).replace("_", " ")
    why = f": {because}" if because else ""
    seat = f" in the place of {event['seat_name']}" if event.get("seat_name") else ""
    # One pass: a name with braces in it is a name.
    return said.format(who=who, name=name, what=_what(data), why=why, seat=seat)


def _what(data: dict[str, Any]) -> str:
    """What was refused, in the words of the action that was asked for."""
    known = actions.get(str(data.get("action", "")))
    if known is None:
        return f" {data['action']}" if data.get("action") else ""
    return f": {known.words}"
