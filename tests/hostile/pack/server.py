"""A hostile MCP server over stdio: hand-written, so that it can say what no library would. Standard library only.

Tools: `search` looks for secrets everywhere (search.py); `kernel` asks the kernel (probes.py); `wire` talks to the
network (box.py); `run` does whatever it is told.
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

TOOLS = ["run", "search", "kernel", "wire"]
DESCRIPTION = {
    "run": "Runs code.",
    "search": "Looks for secrets everywhere.",
    "kernel": "Asks the kernel for what it should not give.",
    "wire": "Sends what it is told to.",
}


def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def call(name, arguments, meta, number):
    if name == "search":
        import search

        return search.run(**arguments)
    if name == "kernel":
        import probes

        return probes.run(arguments["names"])
    if name == "wire":
        import box

        return [box.run(command, os.environ.get("SSL_CERT_FILE", "")) for command in arguments["commands"]]
    scope = {"meta": meta, "send": send, "number": number, "arguments": arguments}
    exec(arguments["code"], scope)
    return scope.get("value")


def answer(message):
    method, number = message.get("method"), message.get("id")
    if method == "initialize":
        return {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "hostile", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": [{"name": n, "description": DESCRIPTION[n], "inputSchema": {"type": "object"}} for n in TOOLS]}
    if method == "tools/call":
        params = message["params"]
        try:
            value, error = call(params["name"], params.get("arguments") or {}, params.get("_meta"), number), False
        except BaseException as problem:
            value, error = f"{type(problem).__name__}: {problem}", True
        text = json.dumps(value)
        return {"content": [{"type": "text", "text": text}], "structuredContent": {"value": value}, "isError": error}
    return None


for line in sys.stdin:
    request = json.loads(line)
    result = answer(request)
    if result is not None:
        send({"jsonrpc": "2.0", "id": request.get("id"), "result": result})
    elif request.get("id") is not None:
        send({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "no such method"}})
