"""The shipped access set, made from the matrix: one permit per role and permission, and what no policy may widen.

Every version lies in `floors/`, so that a decision is evaluated again with the set of its day; a test holds the matrix to
the newest of them.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

from worka.authorization.cedar import Policies, entity_type, load
from worka.authorization.matrix import table
from worka.kernel.actions import OTHER, PERMISSIONS

# Statements that no role can express. Their text belongs to the floor's version like the matrix does.
_FIXED = """
@id("team-member-uses-listed-tools-only") @reason("This tool is not in the AI team member's list.")
@remedy("Someone with the permission manage_team_members (owner, admin) can add the tool to its list.")
forbid(principal is Worka::TeamMember, action in Worka::Action::"permission.invoke", resource)
unless { (resource has name) && principal.may_use.contains(resource.name) };

@id("disabled-principal") @reason("This principal is disabled or does not exist any more.")
forbid(principal, action, resource) unless { principal.enabled };

@id("only-an-owner-makes-owners") @reason("Only an owner may give or take the role of owner.")
forbid(principal, action in Worka::Action::"permission.administer", resource)
when { context has role && context.role == "owner" } unless { principal.roles.contains("owner") };

@id("pack-uses-what-it-declares")
permit(principal is Worka::Attachment, action in Worka::Action::"permission.invoke", resource)
when { (resource has name) && principal.may_use.contains(resource.name) };

@id("packs-use-what-they-declare-only")
@reason("A pack calls the tools and host services that its manifest declares, through its broker socket, and nothing else.")
@remedy("Declare the tool or the host service in a new release of the pack, and attach that.")
forbid(principal is Worka::Attachment, action, resource)
unless {
  action in Worka::Action::"permission.invoke" && (resource has name) && principal.may_use.contains(resource.name)
};
"""


def current() -> int:
    """The number of the floor in force."""
    return int(table()["version"])


def version() -> str:
    """`floor.<n>`, as it stands in every decision."""
    return f"floor.{current()}"


def made() -> str:
    """The floor as the matrix makes it. Ids: `<role>.<permission>`, so that a decision names what allowed it."""
    data = table()
    kinds = data["kinds"]
    lines = []
    for permission in PERMISSIONS + OTHER:
        able = " || ".join(
            f"principal is Worka::{entity_type(kind)}" for kind, most in kinds.items() if permission in most
        )
        for section in ("roles", "extra"):
            for role, held in data[section].items():
                if permission in held and able:
                    lines.append(
                        f'@id("{role}.{permission}") permit(principal, action in'
                        f' Worka::Action::"permission.{permission}", resource)'
                        f' when {{ ({able}) && principal.roles.contains("{role}") }};'
                    )
    return "\n".join(lines) + _FIXED


@lru_cache(maxsize=8)
def text(number: int | None = None) -> str:
    """The floor of a version as Cedar text; without one, the floor in force, which the matrix makes. Raises LookupError for
    one that this build does not have."""
    if number is None or number == current():
        return made()
    try:
        return resources.files("worka.authorization").joinpath("floors", f"{number}.cedar").read_text()
    except FileNotFoundError as error:
        raise LookupError(f"access floor.{number} is not in this build") from error


@lru_cache(maxsize=8)
def policies(number: int | None = None) -> Policies:
    """The floor of a version, parsed. Its ids begin with `access/floor/`. Raises LookupError."""
    return load(text(number), "access/floor")
