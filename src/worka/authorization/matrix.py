"""The role matrix: `matrix.toml`, read once, and pure answers from it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from typing import Any

from worka.kernel import actions
from worka.kernel.actions import OTHER, PERMISSIONS

ROLES = ("owner", "admin", "member", "viewer")


@lru_cache(maxsize=1)
def table() -> dict[str, Any]:
    """The file as data. Raises ValueError if it names a permission that the kernel does not know."""
    data = tomllib.loads(resources.files("worka.authorization").joinpath("matrix.toml").read_text())
    known = set(PERMISSIONS) | set(OTHER)
    for section in ("roles", "extra", "kinds"):
        for name, held in data[section].items():
            if unknown := set(held) - known:
                raise ValueError(f"matrix.toml: {section}.{name} names {sorted(unknown)}, which are no permissions")
    return data


def holders(permission: str) -> list[str]:
    """The roles, and the two extras, that hold a permission."""
    data = table()
    return [name for section in ("roles", "extra") for name, held in data[section].items() if permission in held]


def permissions_of(kind: str, roles: Iterable[str]) -> set[str]:
    """What a principal of this kind holds through these roles (the shipped floor, before tenant policy)."""
    data = table()
    given: set[str] = set()
    for role in roles:
        given |= set(data["roles"].get(role, ())) | set(data["extra"].get(role, ()))
    return given & set(data["kinds"].get(kind, ()))


def shown() -> dict[str, Any]:
    """The matrix as people read it: {permissions: [{name, words, roles, core, actions}], version}. `actions`: what the permission
    is needed for, each action under one."""
    data = table()
    return {
        "version": data["version"],
        "permissions": [
            {
                "name": name,
                "words": data["words"][name],
                "roles": holders(name),
                "core": name in PERMISSIONS,
                "actions": [action.name for action in actions.all_actions() if action.permission == name],
            }
            for name in PERMISSIONS + OTHER
        ],
    }
