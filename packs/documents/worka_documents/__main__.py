"""`python -m worka_documents`: the MCP server over stdio."""

from worka_documents.tools import pack

pack.serve()
