"""The shipped access set, made from the matrix: one permit per role and permission, and what no policy may widen."""

from __future__ import annotations

from functools import lru_cache

from worka.authorization.cedar import Policies, entity_type, load
from worka.authorization.matrix import table
from worka.kernel.actions import OTHER, PERMISSIONS

# Statements that no role can express. Their text belongs to the floor's version like the matrix does.
_FIXED = """
@id("team-member-uses-listed-tools-only") @reason("This tool is not in the AI team member's list.")
forbid(principal is Worka::TeamMember, action in Worka::Action::"permission.invoke", resource)
unless { (resource has name) && principal.may_use.contains(resource.name) };

@id("disabled-principal") @reason("This principal is disabled or does not exist any more.")
forbid(principal, action, resource) unless { principal.enabled };

@id("only-an-owner-makes-owners") @reason("Only an owner may give or take the role of owner.")
forbid(principal, action in Worka::Action::"permission.administer", resource)
when { context has role && context.role == "owner" } unless { principal.roles.contains("owner") };

@id("packs-use-the-broker-only") @reason("A pack acts through its broker socket only.")
forbid(principal is Worka::Attachment, action, resource);
"""


def version() -> str:
    """`floor.<n>`, as it stands in every decision."""
    return f"floor.{table()['version']}"


@lru_cache(maxsize=1)
def text() -> str:
    """The floor as Cedar text. Ids: `<role>.<permission>`, so that a decision names what allowed it."""
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


@lru_cache(maxsize=1)
def policies() -> Policies:
    """The floor, parsed. Its ids begin with `access/floor/`."""
    return load(text(), "access/floor")
