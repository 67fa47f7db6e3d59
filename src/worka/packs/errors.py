"""Problems of packs.

Problem
├── Invalid: ManifestInvalid, LockInvalid, InputInvalid, MountInvalid, KeyReused, ArchiveRefused, FolderUnreadable,
│   TargetRefused
├── NotFound: ReleaseNotFound, AttachmentNotFound, InvocationNotFound, ToolNotFound
├── of moving from release to release: packs/moving/errors.py
└── Conflict: VersionTaken, ReleaseNotUsable, AttachmentNotUsable, AlreadyAttached, ToolHeld, KeyInUse, OutcomeUnknown
"""

from __future__ import annotations

from worka.kernel import errors


class ManifestInvalid(errors.Invalid):
    """`errors` and `warnings` are lists of {pointer, message, fix}."""

    code, title = "manifest_invalid", "The manifest is not valid"
    default_remedy = "Correct the fields named in `errors`; the schema is docs/reference/aip.v1.json."

    def __init__(
        self, detail: str = "", *, errors: list[dict[str, str]], warnings: list[dict[str, str]] | None = None
    ) -> None:
        first = errors[0] if errors else {"pointer": "", "message": "", "fix": ""}
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(
            detail or f"{first['pointer'] or 'manifest'}: {first['message']}; {first['fix']}{more}",
            errors=errors,
            warnings=warnings or [],
        )


class LockInvalid(errors.Invalid):
    code, title = "lock_invalid", "The lock does not pin every package by hash"
    default_remedy = "Make it with `uv pip compile --generate-hashes --no-header --no-annotate` and send it as `lock`."


class ArchiveRefused(errors.Invalid):
    code, title = "archive_refused", "The archive is not one that Worka takes"
    default_remedy = "Make it with `worka pack build`: plain files only, each once, none outside of the pack."


class FolderUnreadable(errors.Invalid):
    code, title = "pack_folder_unreadable", "The pack's folder cannot be read"
    default_remedy = "Name a folder that holds worka/aip.json; `worka pack init` makes one."


class TargetRefused(errors.Invalid):
    code, title = "pack_target_refused", "The file cannot be written there"
    default_remedy = (
        "Remove the link, or what stands in the file's place; only plain files in plain folders are replaced."
    )


class InputInvalid(errors.Invalid):
    code, title = "tool_input_invalid", "The arguments do not fit the tool's input schema"
    default_remedy = "Correct the fields named here; `worka -o json tool list` shows the schema."


class MountInvalid(errors.Invalid):
    code, title = "mount_invalid", "A mount cannot be bound"
    default_remedy = "Give every mount of the manifest the path of a git repository that the Worka user can read."


class ReleaseNotFound(errors.NotFound):
    code, title = "release_not_found", "There is no such release here"
    default_remedy = "List them with `worka pack list`."


class AttachmentNotFound(errors.NotFound):
    code, title = "attachment_not_found", "There is no such attachment here"
    default_remedy = "List them with `worka pack list`."


class InvocationNotFound(errors.NotFound):
    code, title = "invocation_not_found", "There is no such invocation here"
    default_remedy = "List them with GET /v1/workspaces/{workspace_id}/invocations."


class ToolNotFound(errors.NotFound):
    code, title = "tool_not_found", "No attached pack of this workspace has this tool"
    default_remedy = "List what is there with `worka tool list`, or attach the pack."


class VersionTaken(errors.Conflict):
    code, title = "version_taken", "This version was registered with other contents"
    default_remedy = "Raise the version in the manifest and register again: a version never changes its contents."


class ReleaseNotUsable(errors.Conflict):
    code, title = "release_not_usable", "This release cannot be attached"
    default_remedy = "Read `worka why RELEASE_ID`, or attach another release."


class AlreadyAttached(errors.Conflict):
    code, title = "already_attached", "This pack is attached to the workspace already"
    default_remedy = (
        "Use the attachment that is there; `worka pack attachment update ATTACHMENT_ID` moves it to another release."
    )


class AttachmentNotUsable(errors.Conflict):
    code, title = "attachment_not_usable", "The attachment does not serve calls now"
    default_remedy = "Read `worka why ATTACHMENT_ID`: it names who must act."


class ToolHeld(errors.Conflict):
    code, title = "tool_held", "The tool's definition changed and waits for a decision"
    default_remedy = "Read `worka why ATTACHMENT_ID`: it shows the difference."


class KeyInUse(errors.Conflict):
    code, title = "call_in_flight", "A call with this idempotency key is under way"
    default_remedy = "Wait for it; GET the invocation named here."


class KeyReused(errors.Invalid):
    code, title = "idempotency_key_reused", "This idempotency key was used for another call"
    default_remedy = "Use a new key for a new call."


class OutcomeUnknown(errors.Conflict):
    code, title = "outcome_unknown", "Nobody knows whether the earlier call had its effect"
    default_remedy = "Look at the outside system, then repeat with a new key if the effect is missing."
