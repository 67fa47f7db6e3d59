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
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from worka_sdk import outside
from worka_sdk.errors import NobodyToAsk
from worka_sdk.pack import Pack, Refused
from worka_sdk.schema import dump

Row = dict[str, Any]
WORD = "left-out"
CREDENTIALS = (
    "access_token", "api_key", "apikey", "auth", "client_secret", "id_token", "password", "private_token", "refresh_token",
    "secret", "sig", "signature", "token",
)  # fmt: skip
"""Names of parameters and fields whose values no record holds."""
PLAIN = (
    "content-disposition",
    "content-language",
    "content-type",
    "etag",
    "last-modified",
    "link",
    "location",
    "retry-after",
)
"""The headers of an answer that a record holds."""
SHORTEST = 6
"""Characters from which on a credential of a header is looked for in what came back: a shorter one stands in any text."""


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
    does. With WORKA_RECORD=1 requests go outside and the record is written when the block ends. A record holds no header
    of a request, of an answer only those that say what it is, and in place of a credential a word: of what `inject` puts
    into an address, of fields and parameters that are named like one, and of what was sent as a credential in a header.
    What is sent without one, or with another, is answered from the record all the same.
    """

    def __init__(self, path: str | Path, *, manifest: str | Path | None = None) -> None:
        self.path = Path(path)
        self.rules = None
        self.named = set(CREDENTIALS)
        self.headers = {"authorization", "proxy-authorization", "x-api-key"}
        if manifest is not None:
            read = json.loads(Path(manifest).read_text())
            self.rules = read.get("outbound_domains", [])
            for inject in [item.get("inject") or {} for item in read.get("connections") or []]:
                self.named |= {str(inject["query"])} if inject.get("query") else set()
                self.headers |= {str(inject["header"]).lower()} if inject.get("header") else set()
        self.recording = os.environ.get("WORKA_RECORD") == "1"
        self.left: list[Row] = []
        self.kept: list[Row] = []

    def __enter__(self) -> recorded:
        if not self.recording:
            if not self.path.is_file():
                raise NotRecorded(
                    f"There is no {self.path.name}: make it once, outside of the sandbox, with WORKA_RECORD=1."
                )
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
        sent = [value.split()[-1] for name, value in request.headers.items() if name.lower() in self.headers and value]

        def bare(told: Any) -> Any:
            return without(told, self.named, sent) if isinstance(told, str) else told

        asked = {"method": request.method, "url": bare(request.url), "body": bare(_text(request.body))}
        if self.recording:
            answer = outside.over_the_wire(request, timeout, most)
            headers = {name: bare(value) for name, value in answer.headers.items() if name in PLAIN}
            self.kept.append({**asked, "status": answer.status, "headers": headers, "answer": bare(_text(answer.body))})
            return answer
        for number, exchange in enumerate(self.left):
            if all(exchange.get(key) == value for key, value in asked.items()):
                self.left.pop(number)
                body = _bytes(exchange["answer"]) or b""
                return outside.Answer(exchange["status"], exchange["headers"], body[:most], cut=len(body) > most)
        known = "; ".join(f"{exchange['method']} {exchange['url']}" for exchange in self.left) or "nothing more"
        raise NotRecorded(f"{self.path.name} does not hold {request.method} {asked['url']}; it holds {known}")


def without(told: str, named: Collection[str], sent: Collection[str] = ()) -> str:
    """A text with a word in place of each credential: what was `sent` as one, the user of an address, and the value of every
    parameter of an address or a form, and of every field of JSON, that is `named` like one."""
    for secret in sent:
        if len(secret) >= SHORTEST:
            told = told.replace(secret, WORD)
    names = "|".join(map(re.escape, sorted(named)))
    told = re.sub(r"(://)[^/?#@\s\"']*@", rf"\1{WORD}@", told)
    told = re.sub(rf"(^|[?&])({names})=[^&#\s\"'<>]*", rf"\1\2={WORD}", told, flags=re.IGNORECASE)
    return re.sub(rf'("(?:{names})"\s*:\s*)"(?:[^"\\]|\\.)*"', rf'\1"{WORD}"', told, flags=re.IGNORECASE)


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
        if rule.get("opaque"):
            continue  # what is not read is no request
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
