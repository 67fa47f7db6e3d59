"""`python -m worka_changes`: the MCP server over stdio."""

from worka_changes.tools import pack

pack.serve()
