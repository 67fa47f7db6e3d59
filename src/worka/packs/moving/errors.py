"""Problems of moving from release to release.

Problem
├── Invalid: OtherPack, DefinitionUnusable
├── NotFound: MoveNotFound
└── Conflict: MoveUnderWay, NotNewer, NothingNewer, NothingBefore, ModeAlready, DefinitionMoved, MoveOver,
             NothingHeld
"""

from __future__ import annotations

from worka.kernel import errors


class OtherPack(errors.Invalid):
    code, title = "not_the_same_pack", "These are releases of two packs"
    default_remedy = "Name two releases of one pack: `worka pack list` has them."


class DefinitionUnusable(errors.Invalid):
    code, title = "definition_unusable", "The definition that the server lists now cannot be served"
    default_remedy = "Refuse it, or detach the pack: the tool stays off until another release is attached."


class MoveNotFound(errors.NotFound):
    code, title = "move_not_found", "There is no such move here"
    default_remedy = "List those of an attachment with `worka pack attachment show ATTACHMENT_ID`."


class NothingHeld(errors.Conflict):
    code, title = "nothing_held", "No changed definition of this name waits for a decision"
    default_remedy = "See what waits with `worka pack held show ATTACHMENT_ID`."


class MoveUnderWay(errors.Conflict):
    code, title = "move_under_way", "The attachment is being moved just now"
    default_remedy = "Wait for it: `worka why MOVE_ID` says where it stands."


class NotNewer(errors.Conflict):
    code, title = "not_newer", "This release is not newer than the one that is attached"
    default_remedy = "To go back to the release before the last move: `worka pack attachment back ATTACHMENT_ID`."


class NothingNewer(errors.Conflict):
    code, title = "nothing_newer", "There is no newer release to move to"
    default_remedy = "See the releases with `worka pack list`; register a newer one first."


class NothingBefore(errors.Conflict):
    code, title = "nothing_before", "There is no release to go back to"
    default_remedy = "The attachment was never moved; to use another release, detach it and attach that one."


class ModeAlready(errors.Conflict):
    code, title = "mode_already", "The attachment is in this mode already"
    default_remedy = "Nothing to do."


class DefinitionMoved(errors.Conflict):
    code, title = "definition_moved", "The server lists another definition than the one that was decided on"
    default_remedy = "Look at it again: `worka pack held show ATTACHMENT_ID`."


class MoveOver(errors.Conflict):
    code, title = "move_over", "The move has ended"
    default_remedy = "See how: `worka why MOVE_ID`."
