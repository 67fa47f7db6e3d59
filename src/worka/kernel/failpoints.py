"""Named failpoints at every commit and effect of the road (decisions.md 28).

`WORKA_FAILPOINT=name` kills this process with SIGKILL when it reaches the name; only with `WORKA_TESTING=1`, refused
otherwise at start. `WORKA_FAILPOINT_FILE` names a file that is created first: a failpoint fires once per file, so that a
restarted process goes on, and a test can prove that the fault hit. `WORKA_FAILPOINT_DIR` arms them while a system runs:
a file of the failpoint's name in that folder kills the first process that reaches it, once. `WORKA_FAILPOINT_SIGNAL=STOP`,
or the word `STOP` in that file, stops the process there with SIGSTOP instead: it goes on when it gets SIGCONT.
"""

from __future__ import annotations

import os
import signal

CATALOGUE: dict[str, str] = {
    "approval.bypass.before_commit": "the bypass is written or moved, not yet committed",
    "approval.bypassed.before_commit": "a bypass let the approval through, not yet committed",
    "approval.consumed.before_commit": "the approval is marked used, not yet committed",
    "approval.decided.after_commit": "the decision and the resumption are committed, nobody was told yet",
    "approval.decided.before_commit": "the decision and the resumption are written, not yet committed",
    "approval.delegation.before_commit": "the delegation is written or ended, not yet committed",
    "approval.escalated.before_commit": "more people may decide, and the word of it is written, not yet committed",
    "approval.group.before_commit": "the group is written, not yet committed",
    "approval.reminded.before_commit": "the reminder is written, not yet committed",
    "approval.requested.before_commit": "the approval and the typed wait are written, not yet committed",
    "approval.settings.before_commit": "when approvals remind, escalate and expire is written, not yet committed",
    "approval.superseded.before_commit": "what policy asks no more is superseded and its task resumed, not yet committed",
    "audit.flushed.before_commit": "the audit rows are written, not yet committed",
    "audit.sealed.before_write": "the checkpoint is signed, not yet in the object store",
    "attachment.definition.after_commit": "what was decided on a changed definition is committed; its sessions were not let go yet",
    "attachment.definition.before_commit": "a changed definition is accepted or refused, not yet committed",
    "attachment.mode.after_commit": "the attachment follows or is pinned; nothing was answered",
    "attachment.mode.before_commit": "the attachment follows or is pinned, not yet committed",
    "attachment.move.after_commit": "the next state of a move is committed; nothing was answered, and its job did not run",
    "attachment.move.before_commit": "the next state of a move is written, not yet committed",
    "attachment.move.tried": "the new release was tried in the sandbox; the move is not committed",
    "attachment.moved.after_commit": "the attachment is of the new release; its old sessions were not let go yet",
    "attachment.created.after_commit": "the attachment is made, taken away or released; nothing was answered, and nothing of it let go",
    "attachment.created.before_commit": "the attachment is written, not yet committed",
    "broker.egress.before_commit": "the egress row is written, not yet committed; nothing was dialled",
    "broker.egress.before_dial": "the egress row is committed; nothing was dialled",
    "broker.egress.after_answer": "the outside answered; the pack has not seen it",
    "connection.changed.before_commit": "a change of a connection, its client or its consent is written, not yet committed",
    "connection.consent.used.after_commit": "the provider's answer is used up; its code was not sent yet",
    "connection.ended.before_commit": "the end of a connection and its receipt are written, not yet committed",
    "connection.renewal.after_answer": "the provider gave new tokens; none of them is kept yet",
    "connection.renewal.after_claim": "the claim of a renewal is committed; the provider was not asked",
    "connection.renewal.before_commit": "the claim of a renewal is written, not yet committed",
    "connection.tokens.before_commit": "the tokens that a provider gave are written, not yet committed",
    "connection.created.before_commit": "the connection is written, not yet committed",
    "egress.policy.before_commit": "the policy on destinations, or a change of it that waits, is written, not yet committed",
    "egress.proposal.before_commit": "a proposal to widen or narrow what a pack reaches is made or decided, not yet committed",
    "identity.account.before_commit": "a service account is made or ended, or has a new token, not yet committed",
    "identity.factor.before_commit": "a second factor is set, given, renewed or taken away, not yet committed",
    "limit.set.before_commit": "the limit is written, not yet committed",
    "delivery.claimed.after_commit": "a delivery is claimed for a try; nothing was sent",
    "delivery.queued.before_commit": "the deliveries of a message are written, not yet committed",
    "delivery.settled.before_commit": "the receiver answered; what came of the try is written, not yet committed",
    "kill.moved.before_commit": "the kill switch is set, lifted on trial or lifted, not yet committed",
    "notification.chosen.before_commit": "what somebody wants to be told by mail is written, not yet committed",
    "pack.advisories.after_commit": "advisories, hits and proposals are committed; nothing was answered",
    "pack.advisories.before_commit": "advisories, hits and proposals are written, not yet committed",
    "pack.invocation.after_effect": "the pack answered; the outcome is not committed",
    "pack.invocation.after_intent": "the intent is committed; the pack was not called",
    "pack.invocation.intent.before_commit": "the intent is written, not yet committed",
    "pack.invocation.outcome.before_commit": "the outcome is written, not yet committed",
    "pack.withdrawn.after_commit": "the receipt and the states are committed; the calls under way were not ended",
    "pack.withdrawn.before_commit": "the receipt and the states that it moved are written, not yet committed",
    "policy.approved.before_commit": "the approval of a change and its version are written, not yet committed",
    "policy.break_glass.before_commit": "the break-glass, or its end, is written, not yet committed",
    "policy.proposed.before_commit": "the proposed change and its approval are written, not yet committed",
    "policy.saved.before_commit": "the version is written, not yet committed",
    "registry.artifact.after_commit": "the artifact is on record; its release did not go on",
    "registry.artifact.before_commit": "the artifact lies in the layout; its record is written, not yet committed",
    "registry.changed.after_commit": "a key, signature, review, listing, destination or policy is committed; nothing was answered",
    "registry.changed.before_commit": "a key, signature, review, listing, destination or policy is written, not yet committed",
    "registry.publication.after_push": "the artifact lies at its destination; that is not recorded",
    "registry.publication.after_commit": "a publication's next state is committed; nothing was answered, and its job did not run",
    "registry.publication.before_commit": "a publication's next state is written, not yet committed",
    "registry.trust_root.after_commit": "the next trust root is in force; nothing was answered",
    "registry.trust_root.before_commit": "the next trust root is written, not yet committed",
    "release.stage.after_commit": "a stage of the registration is committed; the next one did not begin",
    "release.stage.before_commit": "a stage of the registration is written, not yet committed",
    "step.intent.before_commit": "the step's intent is written, not yet committed",
    "step.outcome.before_commit": "the step's outcome is written, not yet committed",
    "task.claimed.after_commit": "the task is claimed; no step ran",
    "task.created.after_commit": "the task is committed; its answer was not sent",
    "task.created.before_commit": "the task is written, not yet committed",
    "task.finished.before_commit": "the task's end is written, not yet committed",
    "task.resumed.before_commit": "the next segment is enqueued, not yet committed",
    "task.waiting.before_commit": "the typed wait is written, not yet committed",
    "treasury.changed.before_commit": "a secret's dates or end, or a question about one, is written, not yet committed",
    "treasury.keys_destroyed.before_commit": "the tenant's data keys are gone, or it was refused, not yet committed",
    "treasury.lease.before_commit": "the lease is written, not yet committed",
    "treasury.master_rotated.after_commit": "every key is under the next master key, which is not in force yet",
    "treasury.overlap.before_commit": "one of two values of a rotation is wiped, not yet committed",
    "treasury.read.before_commit": "the reading is marked as done, not yet committed; nobody saw the value",
    "treasury.reading.before_commit": "the reading is open or closed, not yet committed",
    "treasury.resealed.before_commit": "a batch of values is sealed under the new data key, not yet committed",
    "treasury.rewrapped.before_commit": "a tenant's keys are wrapped under the next master key, not yet committed",
    "treasury.rotated.before_commit": "the new value is written and the old one wiped or kept, not yet committed",
    "treasury.sealed.before_commit": "the treasury is sealed or unsealed, not yet committed",
    "treasury.warned.before_commit": "the word of a secret that ends is written, not yet committed",
    "workspace.invitation.before_commit": "an invitation is taken back or renewed, not yet committed",
    "view.published.before_commit": "the revision is written, not yet committed",
    "way.change.before_commit": "where a name leads is asked about, recorded after a consent or not, not yet committed",
    "webhook.changed.before_commit": "the webhook is added, changed, rotated or removed, not yet committed",
}


def check_environment() -> None:
    """Refuses to start with a failpoint set outside tests, or with an unknown one."""
    name = os.environ.get("WORKA_FAILPOINT")
    armed = "WORKA_FAILPOINT_DIR" in os.environ
    if name is None and not armed:
        return
    if os.environ.get("WORKA_TESTING") != "1":
        raise SystemExit("WORKA_FAILPOINT is set outside tests: unset it (it kills the process on purpose).")
    if name is not None and name not in CATALOGUE:
        raise SystemExit(f"WORKA_FAILPOINT={name} is not in the catalogue of failpoints.")


def hit(name: str) -> None:
    """Dies here, without clean-up (or stops), when this failpoint is armed. Costs one dictionary look-up otherwise."""
    if os.environ.get("WORKA_TESTING") != "1":
        return
    folder = os.environ.get("WORKA_FAILPOINT_DIR")
    how = os.environ.get("WORKA_FAILPOINT_SIGNAL", "KILL")
    if folder is not None:
        proof = os.path.join(folder, name + ".hit")
        try:
            # The rename disarms it for everyone, and stays as the proof that the fault hit.
            os.rename(os.path.join(folder, name), proof)
            with open(proof, encoding="ascii") as file:
                how = file.read().strip() or how
        except OSError:
            return
    elif os.environ.get("WORKA_FAILPOINT") != name or not _first():
        return
    os.kill(os.getpid(), signal.SIGSTOP if how == "STOP" else signal.SIGKILL)


def _first() -> bool:
    proof = os.environ.get("WORKA_FAILPOINT_FILE")
    if not proof:
        return True
    try:
        os.close(os.open(proof, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    return True
