"""What the API takes and gives for packs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from worka.kernel.http import Body
from worka.packs.model import WHOLE_SERVER
from worka.packs.moving import definitions

Row = dict[str, Any]


class RegisterRelease(Body):
    """Body of POST /v1/workspaces/{workspace_id}/releases. `files`: path -> base64, for a `path` package."""

    manifest: dict[str, Any]
    lock: str = Field(default="", max_length=2_000_000)
    files: dict[str, str] = Field(default_factory=dict)
    place: Literal["worka/aip.json", "aip.json"] = "worka/aip.json"


class AttachRelease(Body):
    """Body of POST /v1/workspaces/{workspace_id}/attachments. `mounts`: name -> path of a git repository on this
    machine."""

    release_id: str
    mode: Literal["pinned", "tracking"] = "pinned"
    mounts: dict[str, str] = Field(default_factory=dict)


class GivenReason(Body):
    """A reason that a person gives; it stands in the changes and in the ledger."""

    reason: str = Field(default="", max_length=500)


class ToolCall(Body):
    """Body of POST /v1/workspaces/{workspace_id}/tools/{tool}/call."""

    arguments: dict[str, Any] = Field(default_factory=dict)


_RELEASE = (
    "id",
    "workspace_id",
    "publisher",
    "name",
    "version",
    "state",
    "reason",
    "since",
    "failed_stage",
    "error",
    "tries",
    "next_try",
    "digest",
    "tree_digest",
    "server_pin",
    "packages",
    "created_by",
    "created_at",
)
_ATTACHMENT = (
    "id",
    "workspace_id",
    "release_id",
    "pack",
    "mode",
    "state",
    "reason",
    "since",
    "uid",
    "held",
    "approval_id",
    "digest",
    "created_by",
    "created_at",
)
_INVOCATION_HIDDEN = frozenset({"tenant_id", "result_sealed"})


def release(row: Row) -> Row:
    """A release as the API shows it."""
    return {
        **{key: row[key] for key in _RELEASE},
        "pack": f"{row['publisher']}.{row['name']}",
        "manifest": row["manifest"],
        "warnings": row["source"].get("warnings", []),
        "tools": [{key: value for key, value in tool.items()} for tool in row["tools"]],
        "entry": row["entry"],
        "probe": row["probe"],
    }


def attachment(row: Row) -> Row:
    """An attachment as the API shows it; where a clone lies on our disk is nobody's business."""
    return {
        **{key: row[key] for key in _ATTACHMENT},
        "mounts": [{key: value for key, value in mount.items() if key != "clone"} for mount in row["mounts"]],
    }


def invocation(row: Row) -> Row:
    """An invocation as the API shows it, without its result."""
    return {key: value for key, value in row.items() if key not in _INVOCATION_HIDDEN}


def tools(rows: list[Row]) -> list[Row]:
    """What a workspace's packs offer: `publisher.pack.tool`, its schemas, its class, and whether it is held."""
    found = []
    for row in rows:
        for released in row["tools"]:
            tool = definitions.served(row, released)
            found.append(
                {
                    "name": f"{row['pack']}.{tool['name']}",
                    "untrusted": True,
                    "description": tool["description"],
                    "input_schema": tool["input_schema"],
                    "output_schema": tool["output_schema"],
                    "side_effect": tool["side_effect"],
                    "idempotent": tool["idempotent"],
                    "pin": tool["pin"],
                    "held": bool({tool["name"], WHOLE_SERVER} & set(row["held"] or {}))
                    or definitions.refused(row, tool["name"]),
                    "attachment_id": row["attachment_id"],
                    "release_id": row["release_id"],
                    "version": row["version"],
                    "pack": row["pack"],
                    "pack_name": row["display_name"],
                }
            )
    return found
