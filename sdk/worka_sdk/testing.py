"""For a pack's own tests: its tools called as the platform calls them, and an outside that is replayed from a record.

    class WeatherTest(unittest.TestCase):
        def test_the_weather_is_said(self):
            with recorded(HERE / "weather.json", manifest=HERE.parent / "worka" / "aip.json"):
                self.assertEqual(Harness(pack).call("now", city="Bern").value["sky"], "clear")

Records are made once, with WORKA_RECORD=1, on the author's own machine and network; after that no test goes outside.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from worka_sdk import outside
from worka_sdk.errors import NobodyToAsk
from worka_sdk.pack import Pack, Refused
from worka_sdk.schema import dump

Row = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What a caller gets: `value` is the structured content, `text` what stands beside it."""

    value: Any
    text: str
    is_error: bool


class Asked:
    """A person in a test: gives the answers in their order, and keeps what was asked in `questions`."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self.answers = list(answers)
        self.questions: list[Row] = []

    def ask(self, message: str, schema: Row) -> Row:
        """The next answer: a dataclass or a dict is accepted content, `decline` and `cancel` are those actions."""
        self.questions.append({"message": message, "schema": schema})
        if not self.answers:
            raise NobodyToAsk
        answer = self.answers.pop(0)
        if answer in ("decline", "cancel"):
            return {"action": answer}
        return {"action": "accept", "content": dump(answer)}


class Harness:
    """Calls a pack's tools in this process, through the same checks and the same JSON as in the sandbox.

    `answers`: what a person answers, in order; without any, nobody can be asked.
    """

    def __init__(self, pack: Pack, answers: Sequence[Any] = ()) -> None:
        self.pack = pack
        self.person = Asked(answers)

    def call(self, tool: str, /, *, meta: Mapping[str, Any] | None = None, **given: Any) -> Result:
        """The result of one call. Raises AssertionError where the platform would refuse the call: an unknown tool, or
        arguments that do not fit its schema."""
        sent = json.loads(json.dumps(dump(given)))
        try:
            answer = json.loads(json.dumps(self.pack.call(tool, sent, meta, self.person)))
        except Refused as refused:
            raise AssertionError(f"the platform would refuse this call: {refused}") from refused
        text = "\n".join(block["text"] for block in answer["content"])
        return Result(answer.get("structuredContent"), text, bool(answer["isError"]))

    def listed(self) -> dict[str, Row]:
        """The tools as the server lists them, by name."""
        return {tool.name: tool.listed() for tool in self.pack.tools.values()}


class NotRecorded(AssertionError):
    """A request that the record does not hold."""


class NotDeclared(outside.Unreachable):
    """The broker would refuse this: the manifest's `outbound_domains` do not name it."""


class recorded:
    """While it is open, requests are answered from `path`, each recorded answer once, in order.

    With `manifest` (the path of aip.json) a request that no item of `outbound_domains` covers is refused, as the broker
    does. With WORKA_RECORD=1 requests go outside and the record is written when the block ends. Neither headers of
    requests nor cookies of answers are kept: there may be a credential in them.
    """

    def __init__(self, path: str | Path, *, manifest: str | Path | None = None) -> None:
        self.path = Path(path)
        self.rules = None
        if manifest is not None:
            self.rules = json.loads(Path(manifest).read_text()).get("outbound_domains", [])
        self.recording = os.environ.get("WORKA_RECORD") == "1"
        self.left: list[Row] = []
        self.kept: list[Row] = []

    def __enter__(self) -> recorded:
        if not self.recording:
            self.left = json.loads(self.path.read_text())["exchanges"]
        outside._transport.append(self._carry)
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        outside._transport.remove(self._carry)
        if self.recording and kind is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps({"exchanges": self.kept}, indent=2) + "\n")

    def _carry(self, request: outside.Request, timeout: float, most: int) -> outside.Answer:
        if self.rules is not None and not allowed(self.rules, request):
            raise NotDeclared(
                f"{request.method} {request.url} would be refused by the broker.",
                "Declare it in outbound_domains, or ask for something else.",
            )
        asked = {"method": request.method, "url": request.url, "body": _text(request.body)}
        if self.recording:
            answer = outside.over_the_wire(request, timeout, most)
            headers = {name: value for name, value in answer.headers.items() if "cookie" not in name}
            self.kept.append({**asked, "status": answer.status, "headers": headers, "answer": _text(answer.body)})
            return answer
        for number, exchange in enumerate(self.left):
            if all(exchange.get(key) == value for key, value in asked.items()):
                self.left.pop(number)
                body = _bytes(exchange["answer"]) or b""
                return outside.Answer(exchange["status"], exchange["headers"], body[:most], cut=len(body) > most)
        known = "; ".join(f"{exchange['method']} {exchange['url']}" for exchange in self.left) or "nothing more"
        raise NotRecorded(f"{self.path.name} does not hold {request.method} {request.url}; it holds {known}")


def allowed(rules: Sequence[Any], request: outside.Request) -> bool:
    """Whether some item of `outbound_domains` covers a request, as far as host, port, method and path go."""
    parts = urlsplit(request.url)
    host = (parts.hostname or "").lower()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for item in rules:
        rule: Row = {"host": item} if isinstance(item, str) else item
        named = str(rule["host"]).lower()
        if not (host.endswith(named[1:]) if named.startswith("*.") else host == named):
            continue
        methods, paths = rule.get("methods"), rule.get("paths")
        if port not in ([rule["port"]] if rule.get("port") else [80, 443]):
            continue
        if methods is not None and request.method not in [method.upper() for method in methods]:
            continue
        if paths is None or any(_covers(pattern, parts.path or "/") for pattern in paths):
            return True
    return False


def _covers(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def _text(body: bytes | None) -> Any:
    """Bytes as a record holds them: text, or {base64} for what is none."""
    if body is None:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else str(value).encode()
