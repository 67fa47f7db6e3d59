"""The direct peer: FastMCP's HTTP server with one tool, as its documentation starts it; or its proxy of a URL."""

import sys

from fastmcp import FastMCP


def main() -> None:
    """`PORT [UPSTREAM]`."""
    if len(sys.argv) > 2:
        from fastmcp.server import create_proxy

        server = create_proxy(sys.argv[2], name="proxy")
    else:
        server = FastMCP("echo")

        @server.tool
        def echo(text: str) -> str:
            """Says what it is told."""
            return text

    server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), show_banner=False, log_level="error")


main()
