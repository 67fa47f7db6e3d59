"""Problems of the lifecycle of packs.

Problem
├── Invalid: FeedInvalid, ReasonMissing
├── NotFound: WithdrawalNotFound, PackNotFound, NothingThere
└── Conflict: NameTaken, ToolShadowed, PackWithdrawn, NotWithdrawn
"""

from __future__ import annotations

from worka.kernel import errors


class FeedInvalid(errors.Invalid):
    code, title = "feed_invalid", "The feed of advisories cannot be read"
    default_remedy = "Send OSV documents: each with id, modified and affected. Nothing of this feed was taken."


class ReasonMissing(errors.Invalid):
    code, title = "reason_missing", "This needs a reason"
    default_remedy = "Say why: whoever is stopped by it reads it."


class WithdrawalNotFound(errors.NotFound):
    code, title = "withdrawal_not_found", "There is no such withdrawal here"
    default_remedy = "List them with `worka pack withdrawals`."


class PackNotFound(errors.NotFound):
    code, title = "pack_not_found", "There is no such pack here"
    default_remedy = "List what is registered with `worka pack list`; a pack is named publisher.name."


class NothingThere(errors.NotFound):
    code, title = "nothing_there", "There is nothing here that this could be traced from"
    default_remedy = "Name an attachment, an invocation, or a tool as publisher.pack.tool of an attached pack."


class NameTaken(errors.Conflict):
    code, title = "name_confusable", "The name may be taken for another one"
    default_remedy = "Choose a publisher or a name that nobody can take for the one named here."


class ToolShadowed(errors.Conflict):
    code, title = "tool_shadowed", "A tool of this pack may be taken for one that is attached"
    default_remedy = "Detach the other pack first, or attach a pack whose tools have names of their own."


class PackWithdrawn(errors.Conflict):
    code, title = "pack_withdrawn", "The whole pack was taken away"
    default_remedy = "Read who took it away and why: `worka pack withdrawals`."


class NotWithdrawn(errors.Conflict):
    code, title = "not_withdrawn", "There is nothing to lift"
    default_remedy = "Only what is quarantined is lifted; a revoked release stays revoked: register another version."
