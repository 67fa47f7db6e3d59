"""The echo of the benchmarks: JSON-RPC lines on stdio, the standard library alone. Its cost is not what is measured."""

import json
import sys

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOL = {"name": "echo", "description": "Says what it is told.", "inputSchema": SCHEMA}


def answer(method: str, params: dict) -> dict | None:
    """The result of a request, None for one that is not known."""
    if method == "initialize":
        about = {"name": "echo", "version": "1"}
        return {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}
    if method == "tools/list":
        return {"tools": [TOOL]}
    if method == "tools/call":
        text = params["arguments"]["text"]
        return {"content": [{"type": "text", "text": text}], "structuredContent": {"result": text}, "isError": False}
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    result = answer(message["method"], message.get("params") or {})
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    reply |= {"result": result} if result is not None else {"error": {"code": -32601, "message": "no such method"}}
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()
