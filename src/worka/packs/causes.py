"""Why a release, an attachment or an invocation is as it is: every reason code of packs, for people who look one up."""

from __future__ import annotations

from worka.kernel.reasons import Reason, register

_CHECKS = {
    "pack": "`worka invocation why ID`: the failing leg, the last lines of standard error, the exit code or the signal.",
    "sandbox": "`worka invocation why ID` shows the isolation in force; `worka doctor` tries the sandbox for real.",
    "platform": "`worka doctor` names what is down; log/host.log and log/worker.log under WORKA_HOME have the moment.",
    "broker": "`worka invocation why ID`: the egress rows with rule, host and port; `worka doctor` walks the way out.",
    "upstream": "`worka invocation why ID`: the egress row with the outside's status; then the outside system itself.",
    "capacity": "`worka invocation why ID`; the sessions in use are in the host's status (log/host.log).",
}


def _pack(code: str, layer: str, meaning: str, causes: str, remedy: str, check: str = "") -> Reason:
    return Reason(code, "packs", layer, meaning, causes, check or _CHECKS.get(layer, _CHECKS["pack"]), remedy)


_OF_RELEASE = "`worka why rel_…`: the stage, the error with its output tail, and how declared and listed tools differ."
_OF_ATTACHMENT = "`worka why att_…`: everything it waits for with who can clear it, and how held definitions differ."


def _release(code: str, layer: str, meaning: str, causes: str, remedy: str) -> Reason:
    return Reason(code, "packs", layer, meaning, causes, _OF_RELEASE, remedy)


def _attachment(code: str, layer: str, meaning: str, causes: str, remedy: str) -> Reason:
    return Reason(code, "packs", layer, meaning, causes, _OF_ATTACHMENT, remedy)


def _move(code: str, meaning: str, causes: str, remedy: str) -> Reason:
    check = "`worka why mov_…`: from which release to which, what differs, what it waits for, and what went wrong."
    return Reason(code, "packs", "publication", meaning, causes, check, remedy)


REASONS = (
    _release(
        "waiting_for_build",
        "publication",
        "The release is about to be built from its lock.",
        "A registration was asked for just now.",
        "Wait; if it stays, see that the worker and the host run (`worka doctor`).",
    ),
    _release(
        "waiting_for_publication",
        "publication",
        "The environment is built; its digest is about to be recorded.",
        "The stage before it ended just now.",
        "Wait; if it stays, see that the worker and the host run (`worka doctor`).",
    ),
    _release(
        "waiting_for_identity",
        "publication",
        "The digest is recorded; the pack's identity is about to be claimed.",
        "The stage before it ended just now.",
        "Wait; if it stays, see that the worker and the host run (`worka doctor`).",
    ),
    _release(
        "waiting_for_probe",
        "publication",
        "The server is about to be started in the sandbox, without network, to list its tools.",
        "The stage before it ended just now.",
        "Wait; if it stays, see that the worker and the host run (`worka doctor`).",
    ),
    _release(
        "waiting_for_release",
        "publication",
        "The tools are known and compared; the release is about to be offered.",
        "The stage before it ended just now.",
        "Wait; if it stays, see that the worker and the host run (`worka doctor`).",
    ),
    _release(
        "release_in_service",
        "publication",
        "The release is built, probed and compared with its manifest, and can be attached.",
        "It was built, probed and compared with its manifest.",
        "Nothing to do: attach it where it is needed.",
    ),
    _release(
        "release_revoked",
        "publication",
        "No new attachment of this release is made; existing ones run.",
        "Someone who administers the workspace revoked it, for a flaw or for a better version.",
        "Attach another release; existing attachments of this one go on until they are detached.",
    ),
    _release(
        "release_quarantined",
        "publication",
        "Nothing of this release runs: its attachments are suspended, its sessions were ended at once.",
        "Someone who administers the workspace quarantined it.",
        "See who and why in the changes; attach another release.",
    ),
    _release(
        "build_failed",
        "publication",
        "The environment could not be built.",
        "A hash that does not match, a package without a wheel, an index that does not answer.",
        "Read the error; correct the lock and register again.",
    ),
    _release(
        "identity_refused",
        "publication",
        "The publisher's name belongs to another workspace of this tenant.",
        "Another workspace of this tenant registered under the publisher's name first, or came back with a restore.",
        "Register under a publisher name of your own, or in the workspace that holds the name.",
    ),
    _release(
        "probe_failed",
        "publication",
        "The server did not list its tools in the sandbox.",
        "It crashed, needs network or a mount to start, or wrote no MCP.",
        "Read the output tail in the error; try the server alone.",
    ),
    _release(
        "tools_differ",
        "publication",
        "The server lists other tools than the manifest declares.",
        "The manifest was written for another version.",
        'Compare the difference in the error; correct the manifest, or write "discover".',
    ),
    _pack(
        "host_unavailable",
        "platform",
        "The pack host, which starts packs and talks to them, did not answer.",
        "It is not running, or was restarted during the call.",
        "`worka doctor` names what is down.",
    ),
    _attachment(
        "attachment_being_prepared",
        "publication",
        "The attachment is written, and what it still needs is being looked at.",
        "It was asked for just now, or a newer release takes the old one's place.",
        "Wait; if it stays, see that the worker and the host run (`worka doctor`).",
    ),
    _attachment(
        "attachment_updating",
        "publication",
        "Another release of the pack is being tried in the sandbox; until it takes over, the one that is attached serves.",
        "A move was asked for, or the attachment follows new releases and there is one.",
        "Wait; if it stays, see that the worker and the host run (`worka doctor`).",
    ),
    _attachment(
        "waiting_for_dependency",
        "publication",
        "A pack that this one declares it calls is not attached here, or does not have the tools that it needs.",
        "It was never attached, was detached, or is attached in a release without these tools.",
        "Attach the pack that is named; this one goes on by itself.",
    ),
    _move(
        "move_planned",
        "A newer release is there, and whether the attachment may move to it is about to be decided.",
        "The attachment follows new releases, and one was released just now.",
        "Wait; if it stays, see that the worker runs (`worka doctor`).",
    ),
    _move(
        "move_being_tried",
        "The new release is being started in the sandbox, as this attachment would run it, and its tools are compared.",
        "What had to be agreed to is agreed to.",
        "Wait; if it stays, see that the worker and the host run (`worka doctor`).",
    ),
    _move(
        "move_done",
        "The attachment runs the new release.",
        "The new release was tried in the sandbox, and took over in one commit.",
        "Nothing to do. `worka pack attachment back ATTACHMENT_ID` goes back to the release before it.",
    ),
    _move(
        "move_rejected",
        "The approval of the move was not given; the attachment stays as it is.",
        "It was rejected, expired or was withdrawn.",
        "Ask again with `worka pack attachment update`, with what the approver missed, or pin the attachment.",
    ),
    _move(
        "move_denied",
        "Policy, or the rights of whoever it would be done for, do not allow the move; the attachment stays as it is.",
        "Whoever lets the attachment follow lost the right, or a rule refuses the new release here.",
        "Somebody who may moves it with `worka pack attachment update`, or lets it follow anew.",
    ),
    _move(
        "move_superseded",
        "What was approved is no longer what would be done, or who asked may not ask any more.",
        "The attachment was moved otherwise, policy asks by other rules now, or who asked lost the right.",
        "Ask again with `worka pack attachment update`.",
    ),
    _move(
        "move_needs_a_person",
        "The new release reads files that somebody has to choose, so it does not move by itself.",
        "Its manifest declares a mount that the attached release does not have.",
        "Name the path: `worka pack attachment update ATTACHMENT_ID --mount NAME=PATH`.",
    ),
    _move(
        "newer_move",
        "Another move took the place of this one.",
        "A newer release came, or somebody asked for another one, before this one was made.",
        "Nothing to do: see the move that took its place.",
    ),
    _move(
        "move_withdrawn",
        "Somebody took the move back before it was made.",
        "It was not wanted any more.",
        "Ask again with `worka pack attachment update` if it is.",
    ),
    _move(
        "attachment_pinned",
        "The attachment was pinned before the move was made.",
        "Somebody keeps it on the release that it has.",
        "Nothing to do; `worka pack attachment follow` lets it follow again.",
    ),
    _move(
        "attachment_changed",
        "The attachment was suspended or moved otherwise before the move was made.",
        "Its release was quarantined, or another move was made.",
        "See how the attachment is, and ask again.",
    ),
    _attachment(
        "waiting_for_connection",
        "connection",
        "A connection that the pack needs is not there or not active.",
        "Nobody connected the provider yet, or its approval is open.",
        "Connect the provider for the named endpoint; the attachment goes on by itself.",
    ),
    _attachment(
        "attachment_in_service",
        "publication",
        "The attachment serves calls of this workspace.",
        "It was asked for, and what it needed was given.",
        "Nothing to do: it is as it should be. Detach the pack when it is not needed any more.",
    ),
    _attachment(
        "attachment_rejected",
        "approval",
        "The approval to attach was not given.",
        "It was rejected, expired or was withdrawn.",
        "Ask again, with what the approver missed.",
    ),
    _attachment(
        "attachment_superseded",
        "approval",
        "What was approved is no longer what policy, rights or the request say.",
        "Who asked lost the right meanwhile, policy asks by other rules now, or the request changed.",
        "Ask again.",
    ),
    _attachment(
        "attachment_removed",
        "publication",
        "Someone detached the pack: its grants ended in the same commit, its sessions and clones right after it.",
        "It was not needed any more, or not wanted.",
        "Attach it again if it was taken away by mistake; its approvals and grants are asked for anew.",
    ),
    _pack(
        "call_under_way",
        "pack",
        "The tool was called and has not answered yet.",
        "The work takes its time, the pack waits for the outside, or it hangs: until the deadline these look alike.",
        "Wait: the call is ended at its deadline, which the wait shows. Cancel the task if its result is not wanted.",
    ),
    _pack(
        "caller_silent",
        "platform",
        "The process that waits for the answer gives no sign of life, so nobody knows whether the call still runs.",
        "The worker that carries the call was killed, stopped, or cut off from the database.",
        "A living worker takes the task over and ends this call as unknown; with none alive, start one.",
        "`worka doctor` names what is down; the process that the explanation names has its last sign of life.",
    ),
    _pack(
        "call_overdue",
        "platform",
        "The call has outlived its own time, and nobody has recorded how it ended.",
        "The process that waited for the answer was killed, or the host that ends calls at their deadline was.",
        "See what is down; a repeat under the same key ends it as unknown, or asks anew where that is safe.",
        "`worka doctor` names what is down; log/host.log and log/serve.log under WORKA_HOME have the moment.",
    ),
    _pack(
        "call_succeeded",
        "pack",
        "The tool answered, and the answer was taken.",
        "The call went the whole road, from the decision to the outside and back.",
        "Nothing to do.",
    ),
    _pack(
        "outcome_lost",
        "platform",
        "The process that waited for the answer died; nobody recorded the outcome.",
        "The worker or the server that waited for the answer was killed between the call and its record, or lost the database.",
        "Look at the outside system by the idempotency key; then retry or give up.",
    ),
    _pack(
        "effect_uncertain",
        "pack",
        "The call failed after a writing request had left; the effect may be there.",
        "A crash or time-out after the request.",
        "Look at the outside system by the idempotency key.",
    ),
    _pack(
        "output_invalid",
        "pack",
        "The answer does not fit the tool's output schema.",
        "A defect of the pack, or an output_schema in its manifest that was written for another version of the server.",
        "Report it to the publisher; attach another release.",
    ),
    _pack(
        "upstream_error",
        "upstream",
        "The outside system answered with an error.",
        "A wrong argument, a missing right, or an outage there.",
        "Read the status in the egress row: 401 and 403 concern the credential or its"
        " rights, 404 the arguments, 429 the pace, 5xx the outside system itself.",
    ),
)
RUNTIME_REASONS = (
    _pack(
        "sandbox_unavailable",
        "sandbox",
        "There is no working sandbox, so the pack was not started.",
        "The launcher is down, or user namespaces are off.",
        "`worka doctor` names the missing part; a pack never runs without it.",
    ),
    _pack(
        "broker_unavailable",
        "broker",
        "The broker did not open the session's network, so the pack was not started.",
        "The broker is not running, or was restarted.",
        "`worka doctor` names what is down; then call again.",
    ),
    _pack(
        "broker_lost",
        "broker",
        "The broker ended while the call ran.",
        "The broker was killed or restarted.",
        "The egress rows show what had left; a call that is safe to repeat is repeated with the same key.",
    ),
    _pack(
        "no_free_session",
        "capacity",
        "Every session that this attachment, this tenant or the whole machine may hold is busy.",
        "Many calls at once, or calls that hang.",
        "Call again later; the operator can raise packs.sessions_per_attachment, packs.sessions_per_tenant or packs.sessions.",
    ),
    _pack(
        "waiting_for_session",
        "capacity",
        "The call waits for a place: as many calls run as this attachment, this tenant or the whole machine may run at once.",
        "Many calls at once, or calls that hang.",
        "Wait: it runs when its turn comes, and fails at its deadline without having been sent.",
    ),
    _pack(
        "session_dropped",
        "capacity",
        "The attachment was detached, suspended or moved while the call waited for a place; nothing was sent.",
        "Somebody detached the pack, quarantined its release, or moved the attachment to another release.",
        "`worka why att_…` says what became of the attachment; call again if it serves.",
    ),
    _pack(
        "ended_by_revocation",
        "publication",
        "The release was revoked while the call ran: sessions that were started before that end, with the calls in them.",
        "Somebody revoked the release; the message says who, when and why.",
        "Call again: the attachment serves on, in a new session. Better, move it to a release that is not revoked.",
    ),
    _pack(
        "isolation_too_weak",
        "sandbox",
        "More isolation is required than this machine can give, so the pack was not started.",
        "The deployment (packs.isolation), the tenant or the workspace (the limit pack_exposure) requires a tier that lacks a part here.",
        "Install what the message names (`runsc` for a kernel of its own), or let who set the requirement loosen it.",
    ),
    _pack(
        "digest_mismatch",
        "sandbox",
        "The installed files are not those of the release; the pack was not started.",
        "Someone or something changed the environment.",
        "Register the release again; find out who changed the files.",
    ),
    _pack(
        "handshake_failed",
        "pack",
        "The server started but did not complete the MCP handshake.",
        "It crashed at start, or speaks another protocol.",
        "Read the output tail: the server's last words stand there. Start the server by hand"
        " with the same arguments; what it misses (a file, a variable, a network) belongs"
        " into the manifest.",
    ),
    _pack(
        "pack_crashed",
        "pack",
        "The server ended by itself during the call.",
        "A defect of the pack, an unhandled error of its own, or a limit that it met before the sandbox did.",
        "Report the error in its last lines to the publisher, or attach another release.",
    ),
    _pack(
        "pack_signalled",
        "pack",
        "The server was ended by a signal during the call.",
        "A limit of the sandbox, or a defect in native code.",
        "Raise the limit that it met in the manifest, or report it to the publisher.",
    ),
    _pack(
        "pack_out_of_memory",
        "pack",
        "The server needed more memory than it may have.",
        "A large input or answer held in memory at once, or a leak in a session that was kept warm.",
        "Raise limits.memory in the manifest, or send less.",
    ),
    _pack(
        "pack_timeout",
        "pack",
        "The server did not answer before the deadline.",
        "It hangs, or waits for something outside.",
        "See the egress rows; raise limits.timeout in the manifest.",
    ),
    _pack(
        "malformed_output",
        "pack",
        "The server wrote something that is no MCP message.",
        "A print to stdout, or a broken library.",
        "See the quoted line; report it to the publisher.",
    ),
    _pack(
        "oversize_output",
        "pack",
        "The answer was larger than it may be.",
        "A question without a limit, a log or a listing that grew, or a page that was taken whole.",
        "Ask for less, or raise limits.output in the manifest.",
    ),
    _pack(
        "tool_definition_changed",
        "pack",
        "The server lists this tool with another definition than the one that was approved.",
        "The server chooses its tools at run time, or was changed.",
        "Compare the difference; accept it or detach the pack.",
    ),
    _pack(
        "tool_not_listed",
        "pack",
        "The server does not list the tool under the name that was registered; it was not called.",
        "The server renamed its tools, or chooses their names at run time from its environment, an argument or a date.",
        "Compare the registered names with those that the server lists now: the attachment's difference has both.",
    ),
    _pack(
        "host_refused",
        "sandbox",
        "The pack host did not take the call, for a cause of its own that has no page yet.",
        "A session that cannot be described to it, or a defect of the platform; the message begins with the host's code.",
        "Read log/host.log under WORKA_HOME at the time of the call, and report it.",
    ),
    _pack(
        "tool_error",
        "pack",
        "The tool itself answered that it could not do what was asked.",
        "An argument that names something that is not there, a missing right at the outside, or a state in which it cannot be done.",
        "Read the tool's message and correct the arguments, or what they speak of; the call can then be made again.",
    ),
    _pack(
        "protocol_error",
        "pack",
        "The server refused the request at the protocol.",
        "A tool that it does not know, or arguments that it refuses.",
        "Read the message: it is the server's own. Compare the tool's name and its input schema with what was sent.",
    ),
)
register(*REASONS)
register(*RUNTIME_REASONS)
