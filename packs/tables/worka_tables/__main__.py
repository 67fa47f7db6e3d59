"""`python -m worka_tables`: the MCP server over stdio."""

from worka_tables.tools import pack

pack.serve()
