"""The pack host: builds environments, keeps warm sessions, and speaks MCP with what the sandbox runs.

It owns `home/envs` and every pack process, through the launcher. It has no database and no way out: it is handed a
session spec, and hands back an outcome in which failures are told apart.
"""

from __future__ import annotations
