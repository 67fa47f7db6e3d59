"""What a pack's set-up and its end say: our own failure, or bubblewrap's `child-pid` and `exit-code` (see bwrap(1)). Pure."""

from __future__ import annotations

import json
import os
from typing import Any

from worka.packs.sandbox import gvisor, tiers


def lines(said: bytes) -> list[dict[str, Any]]:
    """The JSON objects in what the child said; bubblewrap spreads one over several lines."""
    found, decoder, text = [], json.JSONDecoder(), said.decode(errors="replace")
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            break
        if isinstance(value, dict):
            found.append(value)
        at = text.find("{", end)
    return found


def failure(said: bytes) -> dict[str, Any] | None:
    """Why it did not get as far as bubblewrap, or a container engine's runtime could not start it."""
    for line in lines(said):
        if "failed" in line:
            return line
        if line.get("level") in ("error", "fatal") and "msg" in line:
            return {"failed": "sandbox_unavailable", "message": f"runc: {line['msg']}", "remedy": "worka doctor"}
    return None


def ending(code: int, said: bytes, *, started: bool, killed: bool, driver: str = tiers.FILTERED) -> dict[str, Any]:
    """{exited, signal, set_up} of a wait status; `killed`: by us, or by the kernel for its memory. gVisor's runtime says
    nothing but its exit code; a container engine's says what it could not do, which is read before this."""
    exited: int | None = os.waitstatus_to_exitcode(code)
    number: int | None = None
    if exited is not None and (exited < 0 or exited > 128):
        # bubblewrap turns a signal of the pack into 128 + n, as shells do.
        number, exited = (-exited if exited < 0 else exited - 128), None
    # Whoever kills bubblewrap itself keeps it from saying how the pack ended: that is a signal, not a failed set-up.
    shot = started and number is not None
    told = {
        tiers.FILTERED: any("exit-code" in line for line in lines(said)),
        tiers.KERNEL: exited != gvisor.FAILED,
        tiers.CONTAINER: True,
    }[driver]
    set_up = told or killed or shot
    return {"exited": exited, "signal": number, "set_up": set_up}
