"""Outcomes of an invocation: one shape for success and for every failure, which are told apart here."""

from __future__ import annotations

import base64
import signal as signals
from dataclasses import dataclass
from typing import Any

import mcp_types as types

LAYERS = {
    "sandbox_unavailable": "sandbox",
    "digest_mismatch": "sandbox",
    "isolation_too_weak": "sandbox",
    "broker_unavailable": "broker",
    "broker_lost": "broker",
    "invocation_foreign": "broker",
    "egress_not_recorded": "broker",
    "secret_unavailable": "broker",
    "no_free_session": "capacity",
    "session_dropped": "capacity",
    "ended_by_revocation": "publication",
    "killed": "governance",
}


@dataclass(frozen=True)
class Ending:
    """Why a session is over. `reason` is a reason code of the runtime."""

    reason: str
    message: str
    exit_code: int | None = None
    signal: int | None = None
    remedy: str = ""


class CallFailed(Exception):
    """A call or a start did not work out; carries the Ending."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.message)
        self.ending = ending


def from_exit(report: dict[str, Any], *, limits: dict[str, Any], during: str) -> Ending:
    """The Ending behind the launcher's report."""
    exited, number = report.get("exited"), report.get("signal")
    if report.get("oom"):
        return Ending(
            "pack_out_of_memory", f"The pack used more than its {limits.get('memory_mb')} MiB {during}.", exited, number
        )
    if report.get("refused"):
        return Ending(str(report["refused"]), str(report.get("message")), remedy=str(report.get("remedy") or ""))
    if not report.get("set_up", True):
        return Ending(
            "sandbox_unavailable",
            f"The sandbox could not be set up (bubblewrap ended with {exited}).",
            exited,
            number,
            "worka doctor says which part is missing: user namespaces, or a flag of bubblewrap.",
        )
    if report.get("lost"):
        return Ending(
            "sandbox_unavailable", f"The launcher went away {during}, and took the pack with it.", None, number
        )
    if number is not None:
        try:
            name = signals.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        extra = f" after its {limits.get('cpu_seconds')} s of processor time" if name in ("SIGXCPU", "SIGKILL") else ""
        return Ending(
            "pack_signalled",
            f"The pack was ended by {name}{extra if name == 'SIGXCPU' else ''} {during}.",
            None,
            number,
        )
    return Ending("pack_crashed", f"The pack ended with exit code {exited} {during}.", exited, None)


def failed(ending: Ending, **more: Any) -> dict[str, Any]:
    """The outcome of a failed call."""
    return {
        **_empty(),
        "status": "failed",
        "layer": LAYERS.get(ending.reason, "pack"),
        "reason": ending.reason,
        "message": ending.message,
        "exit_code": ending.exit_code,
        "signal": ending.signal,
        **({"remedy": ending.remedy} if ending.remedy else {}),
        **more,
    }


def answered(result: types.CallToolResult, **more: Any) -> dict[str, Any]:
    """The outcome of a call that the server answered: structured content preferred, text beside it."""
    try:
        text = "\n".join(_text(block) for block in result.content)
    except ValueError as error:
        return failed(Ending("malformed_output", f"The pack's answer holds data that is no base64: {error}."), **more)
    structured = result.structured_content
    tool_error = bool(result.is_error)
    return {
        **_empty(),
        "status": "tool_error" if tool_error else "ok",
        "layer": "pack" if tool_error else None,
        "reason": "tool_error" if tool_error else None,
        "message": text[:2000] if tool_error else "",
        "structured": structured,
        "text": text,
        "is_structured": structured is not None,
        **more,
    }


def _empty() -> dict[str, Any]:
    return {
        "status": "failed", "layer": None, "reason": None, "message": "", "structured": None, "text": "",
        "is_structured": False, "stderr_tail": "", "stray_stdout": None, "exit_code": None, "signal": None,
        "isolation": {}, "session": None, "handshake_ms": None, "call_ms": None, "held": None,
        "egress": None, "denied": None,
    }  # fmt: skip


def _text(block: Any) -> str:
    """What a person or a next tool can read of a content block; binary parts are named, not carried. Raises ValueError
    for data that is none."""
    if isinstance(block, types.TextContent):
        return block.text
    if isinstance(block, types.EmbeddedResource) and isinstance(block.resource, types.TextResourceContents):
        return block.resource.text
    if isinstance(block, types.ResourceLink):
        return str(block.uri)
    part = block.resource if isinstance(block, types.EmbeddedResource) else block
    data = part.blob if isinstance(part, types.BlobResourceContents) else getattr(part, "data", "")
    kind = getattr(part, "mime_type", None) or getattr(block, "type", "content")
    return f"[{kind}, {len(base64.b64decode(data))} bytes]"
