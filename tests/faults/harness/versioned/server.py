"""An MCP server over stdio with the standard library alone. It says which version it is, and what it can read."""

import json
import os
import sys
import time

VERSION = None
TEXT = {"type": "string"}
TOOLS = [
    {
        "name": "version",
        "description": "Says its version.",
        "inputSchema": {"type": "object", "properties": {"marker": TEXT, "pause": {"type": "number"}}},
    }
]


def version(marker="", pause=0):
    time.sleep(pause)
    mounted = sorted(os.listdir("/repo")) if os.path.isdir("/repo") else []
    return {"version": VERSION, "marker": marker, "mounted": mounted}


for line in sys.stdin:
    message = json.loads(line)
    method, number = message.get("method"), message.get("id")
    if number is None:
        continue
    answer = {"jsonrpc": "2.0", "id": number}
    if method == "initialize":
        answer["result"] = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "versioned", "version": VERSION},
        }
    elif method == "tools/list":
        answer["result"] = {"tools": TOOLS}
    elif method == "tools/call":
        value = version(**message["params"]["arguments"])
        answer["result"] = {
            "content": [{"type": "text", "text": json.dumps(value)}],
            "structuredContent": value,
            "isError": False,
        }
    else:
        answer["error"] = {"code": -32601, "message": "no such method"}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
