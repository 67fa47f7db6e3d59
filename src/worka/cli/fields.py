"""What the API calls a field (`/body/role`), as whoever typed the command knows it (`--role`, `EMAIL`)."""

from __future__ import annotations

from typing import Any

import typer


def spoken(body: dict[str, Any], app: typer.Typer, words: list[str]) -> dict[str, Any]:
    """The problem, its fields named as the options and arguments of the command that these words called."""
    if not body.get("fields"):
        return body
    command: Any = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word, command)
    detail = str(body.get("detail", ""))
    for item in body["fields"]:
        detail = detail.replace(f"{item['field']}: ", f"{name(str(item['field']), command.params)}: ", 1)
    return {**body, "detail": detail}


def name(pointer: str, params: list[Any]) -> str:
    """The option or argument that fills this field; one that the command does not let choose: its own words."""
    parts = [part for part in pointer.split("/") if part]
    inner = parts[1:] if parts and parts[0] in ("body", "query", "path") else parts
    if not inner:
        return "what was sent"
    for param in params:
        flags = [flag for flag in param.opts if flag.startswith("--")]
        if inner[0] in {param.name, *(flag[2:].replace("-", "_") for flag in flags)}:
            return flags[0] if flags else str(param.metavar or param.name).upper()
    return " ".join(inner).replace("_", " ")
