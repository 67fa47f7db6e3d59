"""An MCP server over stdio with the standard library alone: it starts fast, and does harm when it is asked to."""

import json
import os
import sys
import time
import urllib.error
import urllib.request

TEXT = {"type": "string"}
WRITE = {
    "type": "object",
    "properties": {"marker": TEXT, "text": TEXT, "pause": {"type": "number"}},
    "required": ["marker", "text"],
}
TOOLS = [
    {
        "name": "note",
        "description": "Says what it is given, after a pause.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": TEXT, "pause": {"type": "number"}},
            "required": ["text"],
        },
    },
    {"name": "post", "description": "Posts a note at the tracker, once for one key.", "inputSchema": WRITE},
    {"name": "publish", "description": "Publishes a note at the tracker, once for one key.", "inputSchema": WRITE},
    {
        "name": "misbehave",
        "description": "Hangs, eats memory, forks, floods its log, or fills its disk.",
        "inputSchema": {"type": "object", "properties": {"how": TEXT}, "required": ["how"]},
    },
]


def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def post(marker, text, pause=0):
    """Puts a note at the tracker; the broker adds the credential and the key."""
    time.sleep(pause)
    body = json.dumps({"repository": marker, "title": marker, "markdown": text}).encode()
    request = urllib.request.Request(
        "https://tracker.worka.test/api/notes",
        data=body,
        method="POST",
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        found = json.loads(answer.read())
    return {"effect_id": found["effect_id"], "url": found["url"]}


def note(text, pause=0):
    time.sleep(pause)
    return {"text": text}


def misbehave(how):
    """Each kind of harm, until somebody ends this process."""
    if how == "hang":
        while True:
            time.sleep(60)
    if how == "crash":
        os._exit(3)
    if how == "memory":
        kept = []
        while True:
            kept.append(bytearray(os.urandom(4096)) * 1024)
    if how == "fork":
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.001)
    if how == "log":
        line = b"the same line again, and again, and again " * 200 + b"\n"
        until = time.monotonic() + 60
        while time.monotonic() < until:
            os.write(2, line)
    if how == "stdout":
        while True:
            os.write(1, b'{"jsonrpc": "2.0", "method": "notifications/flood", "params": {"x": "' + b"y" * 65536)
    if how == "disk":
        written = 0
        try:
            with open("/tmp/ballast", "wb") as file:
                while True:
                    written += file.write(b"x" * 65536)
                    file.flush()
        except OSError as error:
            raise RuntimeError(f"disk full after {written} bytes: {error.strerror}") from error
    raise ValueError(how)


RUN = {"note": note, "post": post, "publish": post, "misbehave": misbehave}


def call(params):
    try:
        value = RUN[params["name"]](**params["arguments"])
    except urllib.error.HTTPError as error:
        return {"content": [{"type": "text", "text": f"{error.code} {error.read()[:300]!r}"}], "isError": True}
    except Exception as error:
        return {"content": [{"type": "text", "text": f"{type(error).__name__}: {error}"}], "isError": True}
    return {"content": [{"type": "text", "text": json.dumps(value)}], "structuredContent": value, "isError": False}


for line in sys.stdin:
    message = json.loads(line)
    method, number = message.get("method"), message.get("id")
    if method == "initialize":
        result = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "faults", "version": "1"},
        }
    elif method == "tools/list":
        result = {"tools": TOOLS}
    elif method == "tools/call":
        result = call(message["params"])
    elif number is None:
        continue
    else:
        send({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no such method"}})
        continue
    send({"jsonrpc": "2.0", "id": number, "result": result})
