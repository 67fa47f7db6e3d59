"""What the door itself answers with."""

from __future__ import annotations

from typing import Any, Literal

from worka.kernel.http import Answer


class Alive(Answer):
    """This process answers."""

    status: Literal["ok"]


class Check(Answer):
    """A part that this door needs."""

    state: Literal["healthy", "down"]
    detail: str | None = None
    remedy: str | None = None


class Ready(Answer):
    """Whether the parts that this door needs are there."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, Check] | None = None


class Platform(Answer):
    """Which build answers; the second half is for those who are signed in."""

    version: str
    build: str
    home_id: str
    up_seconds: float | None = None
    processes: dict[str, Any] | None = None
    checks: dict[str, Check] | None = None
