"""Who is meant by a word that somebody typed: an id, an e-mail address, or a name. One rule for every command.

People choose what they are called, also in the form of an address. So what holds an "@" is compared with addresses alone, or
who calls themselves by another's address would be taken for them; and of several who are called alike nobody is chosen.
"""

from __future__ import annotations

import re
from typing import Any

from worka.cli.client import Client, Failed

Row = dict[str, Any]
ID = re.compile(r"[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26}")
_SHOWN = 10


def someone(api: Client, wanted: str, *, people: bool = False) -> str:
    """The id of the member that is meant; `people`: of persons alone. Raises Failed when that is not clear."""
    if re.fullmatch(r"per_[0-9a-z]{26}", wanted) if people else ID.fullmatch(wanted):
        return wanted
    if wanted == "me":
        return str(api.get("/v1/me")["id"])
    rows = [
        row for row in api.get(api.ws("/members"))["items"] if not people or row["principal_kind"] == "person"
    ]  # fmt: skip
    fitting = meant(rows, wanted)
    if len(fitting) == 1:
        return str(fitting[0]["principal_id"])
    raise _unclear(wanted, rows, fitting, people)


def meant(rows: list[Row], wanted: str) -> list[Row]:
    """Those of the members whom the word may mean. Pure."""
    if "@" in wanted:
        address = wanted.strip().lower()
        return [row for row in rows if (row.get("email") or "").lower() == address]
    return [row for row in rows if row.get("name") == wanted]


def named(rows: list[Row], wanted: str) -> list[Row]:
    """Those things (AI team members, service accounts) of this id; where there is none, of this name: what is called like
    another's id is not taken for it. Pure."""
    return [row for row in rows if row["id"] == wanted] or [row for row in rows if row["name"] == wanted]


def _unclear(wanted: str, rows: list[Row], fitting: list[Row], people: bool) -> Failed:
    if fitting:
        detail = f"{wanted[:80]!r} may be any of {len(fitting)} in this workspace: {_list(fitting)}"
    elif "@" in wanted:
        detail = f"nobody of this workspace has the e-mail address {wanted[:80]!r}"
        if called := [row for row in rows if row.get("name") == wanted]:
            detail += f"; {_list(called)} only calls itself so, and anybody may"
    else:
        detail = f"{wanted[:80]!r} is nobody of this workspace; there are {_list(rows) or 'none'}"
    return Failed(
        {
            "code": "person_not_clear" if people else "principal_required",
            "title": ("Several people are called so" if fitting else "Nobody here is called so")
            if people
            else "Name the principal",
            "detail": detail,
            "remedy": "Pass an id, or a person's e-mail address; `worka member list` names who is here.",
        },
        2 if fitting else 3,
    )


def _list(rows: list[Row]) -> str:
    shown = [f"{row['name']} ({row['principal_id']}{', ' + row['email'] if row.get('email') else ''})" for row in rows]
    return ", ".join(shown[:_SHOWN]) + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")
