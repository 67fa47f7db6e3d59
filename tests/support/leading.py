"""Recording where a name leads that a credential goes to: the stage's second person agrees."""

from __future__ import annotations

from typing import Any, Literal

from worka.cli.demo import Demo

Row = dict[str, Any]


def recorded(stage: Demo, kind: Literal["network-exceptions", "upstream-trusts"], body: Row) -> Row:
    """The record that it became, with the approver's consent where a credential goes to the name."""
    owner = stage.owner
    found: Row = owner.post(owner.ws(f"/{kind}"), body)
    if found.get("state") != "open":
        return found
    stage.approve(found["approval_id"], "the test needs it")
    made = owner.get(f"/v1/way-changes/{found['id']}")["made_id"]
    assert made is not None, "it was agreed to, and is not recorded"
    (row,) = [row for row in owner.pages(owner.ws(f"/{kind}")) if row["id"] == made]
    return row
