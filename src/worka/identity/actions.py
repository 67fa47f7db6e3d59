"""What can be asked for in identity."""

from __future__ import annotations

from worka.kernel.actions import Action, register

PERSON_RESET_FACTOR = "person.reset_second_factor"
TEAM_MEMBER_CHANGE = "team_member.change"
TEAM_MEMBER_CREATE = "team_member.create"
TEAM_MEMBER_VIEW = "team_member.view"
TOKEN_CREATE = "token.create"  # noqa: S105 - the name of an action
TOKEN_ISSUE = "token.issue"  # noqa: S105
TOKEN_REVOKE = "token.revoke"  # noqa: S105

register(
    Action(PERSON_RESET_FACTOR, "operate", "tenant", "Take the second factor from somebody who lost it."),
    Action(
        TEAM_MEMBER_CHANGE, "manage_team_members", "team_member", "Change an AI team member, its tools, or pause it."
    ),
    Action(TEAM_MEMBER_CREATE, "manage_team_members", "workspace", "Add an AI team member."),
    Action(TEAM_MEMBER_VIEW, "view", "workspace", "See the AI team members and their tools.", records=False),
    Action(TOKEN_CREATE, "change", "workspace", "Make an API token for oneself."),
    Action(TOKEN_ISSUE, "manage_team_members", "workspace", "Make an API token for an AI team member."),
    Action(TOKEN_REVOKE, "manage_team_members", "token", "Revoke the API token of an AI team member."),
)
