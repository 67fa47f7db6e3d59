"""The small pack without the MCP SDK, for tests whose matter is not the server: the same text, and a module that speaks for it.

The SDK is half of what such a test costs: its files are installed, compiled and sealed for each release anew, and imported
for each session. What the SDK itself does here is seen in test_registration.py and by the packs of this repository.
"""

from __future__ import annotations

from tests.packs.test_registration import SERVER

SDK = "from mcp.server.mcpserver import MCPServer"
MODULE = '''
"""As much of MCP over standard streams as a tool of texts needs, with the SDK's names."""

import inspect
import json
import sys


class MCPServer:
    def __init__(self, name, version):
        self.told = {"name": name, "version": version}
        self.tools = {}

    def tool(self, description, structured_output):
        assert structured_output is False

        def taken(function):
            names = list(inspect.signature(function).parameters)
            fields = {name: {"title": name.title(), "type": "string"} for name in names}
            schema = {"properties": fields, "required": names, "title": f"{function.__name__}Arguments", "type": "object"}
            listed = {"name": function.__name__, "description": description, "inputSchema": schema}
            self.tools[function.__name__] = (listed, function)
            return function

        return taken

    def called(self, name, arguments):
        try:
            text, wrong = str(self.tools[name][1](**arguments)), False
        except Exception as problem:
            text, wrong = f"Error executing tool {name}: {problem}", True
        return {"content": [{"type": "text", "text": text}], "isError": wrong}

    def run(self, way):
        assert way == "stdio"
        for line in sys.stdin:
            message = json.loads(line)
            number, params = message.get("id"), message.get("params", {})
            if number is None:
                continue
            answer = {"jsonrpc": "2.0", "id": number}
            match message["method"]:
                case "initialize":
                    answer["result"] = {
                        "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": self.told
                    }
                case "tools/list":
                    answer["result"] = {"tools": [listed for listed, _ in self.tools.values()]}
                case "tools/call":
                    answer["result"] = self.called(params["name"], params.get("arguments", {}))
                case "ping":
                    answer["result"] = {}
                case other:
                    answer["error"] = {"code": -32601, "message": f"no {other}"}
            sys.stdout.write(json.dumps(answer) + "\\n")
            sys.stdout.flush()
'''


def tree(server: str = SERVER) -> dict[str, bytes]:
    """The files of a server that is written for the SDK; it needs no lock."""
    assert SDK in server
    return {"server.py": server.replace(SDK, "from plain import MCPServer").encode(), "plain.py": MODULE.encode()}
