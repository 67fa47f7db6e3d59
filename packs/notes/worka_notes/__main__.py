"""`python -m worka_notes`: the MCP server over stdio."""

from worka_notes.server import server

server.run("stdio")
