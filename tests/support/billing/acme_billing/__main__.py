"""The server, over stdio, without any dependency. What goes wrong here goes wrong for real: the process ends, hangs,
eats its memory, breaks its own schema, or asks for a host that it never declared."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

NUMBER = {"type": "number", "minimum": 0, "maximum": 3600}
TOTALS = {"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]}


def shape(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


TOOLS: list[dict[str, Any]] = [
    {
        "name": "match_payments",
        "description": "Matches payments to invoices; a large ledger takes its time.",
        "inputSchema": shape(["seconds"], seconds=NUMBER),
    },
    {
        "name": "render_invoice",
        "description": "Renders an invoice with a template.",
        "inputSchema": shape(["template"], template={"type": "string"}, after=NUMBER),
    },
    {
        "name": "fetch_rates",
        "description": "Fetches the day's exchange rates from a rate service.",
        "inputSchema": shape(["host"], host={"type": "string"}),
    },
    {
        "name": "import_statement",
        "description": "Reads a bank statement into memory.",
        "inputSchema": shape(["megabytes"], megabytes={"type": "integer", "minimum": 1, "maximum": 4096}),
    },
    {
        "name": "sum_ledger",
        "description": "Adds up the ledger.",
        "inputSchema": shape(["lines"], lines={"type": "array", "items": {"type": "number"}}),
        "outputSchema": TOTALS,
    },
    {
        "name": "post_payment",
        "description": "Pays an invoice from the company's account.",
        "inputSchema": shape(["invoice", "amount"], invoice={"type": "string"}, amount={"type": "number"}),
    },
]


def match_payments(seconds: float) -> Any:
    time.sleep(seconds)
    return "every payment is matched"


def render_invoice(template: str, after: float = 0) -> Any:
    if template == "standard":
        return "invoice rendered"
    print(f"reading templates/{template}.html", file=sys.stderr, flush=True)
    time.sleep(after)
    print(
        'Traceback (most recent call last):\n  File "render.py", line 41, in load\n'
        f"FileNotFoundError: templates/{template}.html",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def fetch_rates(host: str) -> Any:
    with urllib.request.urlopen(f"https://{host}/rates", timeout=10) as answer:
        return answer.read(10_000).decode()


def import_statement(megabytes: int) -> Any:
    held = [bytes(1_048_576) for _ in range(megabytes)]
    for part in held:
        memoryview(part)
    filled = [bytearray(os.urandom(1_048_576)) for _ in range(megabytes)]
    return f"{len(filled)} MB read"


def sum_ledger(lines: list[float]) -> Any:
    # A line without an amount makes the sum no number: an old bug of this pack.
    return {"total": sum(lines) if lines else "n/a"}


def post_payment(invoice: str, amount: float) -> Any:
    return f"{invoice}: {amount} paid"


def answer(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        value = globals()[name](**arguments)
    except (OSError, urllib.error.URLError) as error:
        return {"content": [{"type": "text", "text": f"{name}: {error}"}], "isError": True}
    found: dict[str, Any] = {
        "content": [{"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}]
    }
    if isinstance(value, dict):
        found["structuredContent"] = value
    return found


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        method, number = message.get("method"), message.get("id")
        if method == "initialize":
            result: dict[str, Any] = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "acme-billing", "version": "2.3.1"},
            }
        elif method == "tools/list":
            result = {"tools": TOOLS}
        elif method == "tools/call":
            result = answer(message["params"]["name"], message["params"].get("arguments") or {})
        elif number is None:
            continue
        else:
            send({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no such method"}})
            continue
        send({"jsonrpc": "2.0", "id": number, "result": result})


main()
