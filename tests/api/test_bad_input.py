"""Every route, bent in every way that a client, a typing error or an attacker bends a request: never a 500, always a
problem that names what is wrong and says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.samples import AUTHZEN, NO_ID, SAMPLES, Sample, url
from tests.api.world import Doors

pytestmark = pytest.mark.timeout(300)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
FIELDS = {"type", "title", "status", "code", "detail", "remedy", "docs", "request_id"}


def fault_of(answer: httpx.Response, *, names: str = "", status: int | None = None) -> str:
    """What is wrong with a refusal; empty if nothing. `names`: the word that its detail must hold."""
    if answer.status_code >= 500 or answer.status_code < 400:
        return f"{answer.status_code} {answer.text[:200]}"
    if status is not None and answer.status_code != status:
        return f"{answer.status_code} instead of {status}: {answer.text[:200]}"
    if answer.headers.get("content-type") != "application/problem+json":
        return f"no problem+json but {answer.headers.get('content-type')}: {answer.text[:200]}"
    body = answer.json()
    missing = FIELDS - set(body)
    if missing or body["status"] != answer.status_code or body["request_id"] != answer.headers["x-request-id"]:
        return f"lacks {missing}: {body}"
    if not body["detail"] or not body["remedy"]:
        return f"says nothing: {body}"
    if names and names not in body["detail"]:
        return f"does not name {names!r}: {body['detail'][:200]}"
    return ""


@pytest.fixture(scope="module")
def clients(doors: Doors) -> Iterator[dict[str, httpx.Client]]:
    """By who may send a sample."""
    made = {
        "owner": doors.http(doors.a.token),
        "operator": doors.http(doors.demo.operator.token),
        "nobody": doors.http(),
    }
    yield made
    for client in made.values():
        client.close()


def sender(clients: dict[str, httpx.Client], sample: Sample) -> httpx.Client:
    """Who may send the sample."""
    return clients["nobody" if sample.open else sample.who]


def keyed(doors: Doors) -> list[tuple[str, str, str, Sample, dict[str, Any]]]:
    """(key, method, path, sample, operation) of every route."""
    return [(f"{m} {p}", m, p, SAMPLES[f"{m} {p}"], operation) for m, p, operation in doors.operations]


def body_schema(doors: Doors, operation: dict[str, Any]) -> dict[str, Any]:
    """The schema of a route's body, with references to one level resolved."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    for option in content.get("anyOf", [content]):
        if "$ref" in option:
            found: dict[str, Any] = doors.document["components"]["schemas"][option["$ref"].rsplit("/", 1)[-1]]
            return found
    return dict(content)


def test_every_route_has_a_right_request_to_bend(doors: Doors) -> None:
    routes = {f"{method} {path}" for method, path, _ in doors.operations}
    assert len(routes) > 75
    missing = sorted(routes - set(SAMPLES))
    assert not missing, f"write a right request for {missing} in SAMPLES of tests/api/samples.py"
    assert sorted(set(SAMPLES) - routes) == [], "these samples have no route any more"


@pytest.mark.capability("DOR-1", part="bad input is a problem that names the field, on every route")
def test_every_field_of_every_body_missing_mistyped_too_long_or_unknown_is_named(
    doors: Doors, clients: dict[str, httpx.Client]
) -> None:
    wrong: list[str] = []
    sent = 0
    for key, method, path, sample, operation in keyed(doors):
        schema = body_schema(doors, operation)
        if sample.body is None or not schema or path.startswith(AUTHZEN):
            continue
        right = sample.body(doors)
        bent: list[tuple[str, str, Any]] = [("unknown", "surplus", {**right, "surplus": 1})]
        for name, field in schema["properties"].items():
            if name in schema.get("required", []):
                bent.append(("missing", name, {k: v for k, v in right.items() if k != name}))
            bent += [
                ("mistyped", name, {**right, name: value})
                for value in ({"a": {"b": [1]}}, [[1], {}], True, -7.5)
                if not fits(field, value)
            ]
            most = longest(field)
            if most is not None:
                bent.append(("too long", name, {**right, name: "y" * (most + 1)}))
            bent.append(("case variant", name.upper(), {**right, name.upper(): right.get(name, "x")}))
        for why, name, body in bent:
            answer = sender(clients, sample).request(method, url(doors, path), json=body)
            sent += 1
            fault = fault_of(answer, names=name, status=422)
            if fault:
                wrong.append(f"{key} {name} {why}: {fault}")
    assert sent > 300
    assert wrong == []


def fits(field: dict[str, Any], value: Any) -> bool:
    """Whether a value is of a type that the field takes, as far as type goes."""
    kinds = {dict: "object", list: "array", bool: "boolean", float: "number"}
    options = field.get("anyOf", [field])
    return any(
        option.get("type") == kinds[type(value)]
        or (not option.get("type") and "const" not in option and "enum" not in option)
        for option in options
    )


def longest(field: dict[str, Any]) -> int | None:
    """The longest text that the field takes, where it says so."""
    return next(
        (o["maxLength"] for o in field.get("anyOf", [field]) if "maxLength" in o and o["maxLength"] < 100_000), None
    )


BROKEN: dict[str, tuple[bytes, str, int]] = {
    "not JSON": (b'{"a": ', "application/json", 400),
    "no document": (b"\xef\xbb\xbf", "application/json", 400),
    "bad UTF-8": (b'{"a": "\xff\xfe"}', "application/json", 400),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "application/json", 400),
    "a name twice": (b'{"a": 1, "a": 2}', "application/json", 400),
    "a name twice, inside": (b'{"x": [{"b": 1, "\\u0062": 2}]}', "application/json", 400),
    "NUL": (b'{"a": "x\\u0000y"}', "application/json", 400),
    "NUL in a name": (b'{"a\\u0000": 1}', "application/json", 400),
    "half a surrogate pair": (b'{"a": "\\ud800"}', "application/json", 400),
    "a huge integer": (b'{"a": 99999999999999999999}', "application/json", 400),
    "a number of many digits": (b'{"a": ' + b"9" * 5000 + b"}", "application/json", 400),
    "a number past every float": (b'{"a": 1e999}', "application/json", 400),
    "NaN": (b'{"a": NaN}', "application/json", 400),
    "deep": (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "application/json", 400),
    "abysmal": (b"[" * 30_000 + b"]" * 30_000, "application/json", 400),
    "a form": (b"a=1", "application/x-www-form-urlencoded", 415),
    "text": (b"{}", "text/plain", 415),
    "no named type": (b"{}", "", 415),
    "another character set": (b"{}", "application/json; charset=latin-1", 415),
}


@pytest.mark.capability("DOR-1", part="a body is read one way, or refused")
def test_a_body_that_two_readers_could_read_differently_is_refused_on_every_route(
    doors: Doors, clients: dict[str, httpx.Client]
) -> None:
    wrong = []
    for key, method, path, sample, _ in keyed(doors):
        if method == "GET":
            continue
        for why, (raw, kind, status) in BROKEN.items():
            status = 400 if path.startswith(AUTHZEN) else status
            headers = {"Content-Type": kind} if kind else {}
            answer = sender(clients, sample).request(method, url(doors, path), content=raw, headers=headers)
            if fault := fault_of(answer, status=status):
                wrong.append(f"{key} {why}: {fault}")
        encoded = sender(clients, sample).request(
            method,
            url(doors, path),
            content=b"{}",
            headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
        )
        if fault := fault_of(encoded, status=400 if path.startswith(AUTHZEN) else 415):
            wrong.append(f"{key} gzip: {fault}")
    assert wrong == []


def test_a_body_over_the_limit_is_refused_whether_or_not_it_says_its_length(doors: Doors) -> None:
    path = doors.a.ws("/secrets")

    def parts() -> Iterator[bytes]:
        yield b'{"name": "'
        for _ in range(80):
            yield b"x" * 65536
        yield b'"}'

    kind = {"Content-Type": "application/json"}
    # A connection each: what follows an unread body on one is not to be trusted, so the server closes it.
    with doors.http(doors.a.token) as one, doors.http(doors.a.token) as two:
        told = one.post(path, content=b"x" * 5_000_000, headers=kind)
        untold = two.post(path, content=parts(), headers=kind)
    assert [fault_of(answer, status=413) for answer in (told, untold)] == ["", ""]
    assert told.headers["connection"] == "close"


@pytest.mark.capability("DOR-1", part="bad input is a problem that names the field, on every route")
def test_of_somebody_who_is_nobody_only_little_is_read(doors: Doors) -> None:
    name = "a" * 70_000
    body = json.dumps({"email": f"{name}@example.org", "password": "wrong, and long enough"}).encode()
    kind = {"Content-Type": "application/json"}
    with doors.http() as nobody, doors.http(doors.a.token) as known:
        assert fault_of(nobody.post("/v1/sessions", content=body, headers=kind), status=413) == ""
        # Who has signed in is read, and told what is wrong with it.
        read = known.post(doors.a.ws("/secrets"), content=body, headers=kind)
    assert fault_of(read, status=422) == ""
    with doors.http() as nobody:
        less = json.dumps({"email": f"{name[:60]}@example.org", "password": "wrong, and long enough"}).encode()
        assert nobody.post("/v1/sessions", content=less, headers=kind).status_code == 401


@pytest.mark.capability("DOR-1", part="unknown ids and unknown parameters")
def test_every_place_of_every_path_with_an_unknown_or_impossible_id_is_not_found(
    doors: Doors, clients: dict[str, httpx.Client]
) -> None:
    wrong = []
    for key, method, path, sample, operation in keyed(doors):
        body = sample.body(doors) if sample.body else None
        for place in [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]:
            real = url(doors, "{" + place + "}")
            unknown = f"{real.split('_')[0]}_{NO_ID}" if "_" in real else "nothing-like-it"
            for value in (unknown, "x", "%00", "%FF%FE", "..%2F..", "a" * 3000, "%F0%9F%A6%80", "'%22;--"):
                # httpx keeps what is percent-encoded already.
                answer = sender(clients, sample).request(method, url(doors, path, **{place: value}), json=body)
                if fault := fault_of(answer):
                    wrong.append(f"{key} {place}={value[:20]}: {fault}")
                elif answer.status_code not in (400, 404, 405, 422):
                    wrong.append(f"{key} {place}={value[:20]}: {answer.status_code} {answer.text[:150]}")
    assert wrong == []


def test_every_query_parameter_mistyped_repeated_or_unknown_is_named(
    doors: Doors, clients: dict[str, httpx.Client]
) -> None:
    wrong = []
    for key, method, path, sample, operation in keyed(doors):
        body = sample.body(doors) if sample.body else None
        known = {p["name"]: p["schema"] for p in operation.get("parameters", []) if p["in"] == "query"}
        bent = [("surplus", "surplus=1"), ("Limit", "Limit=1"), ("%FF", "%FF=1")]
        for name, schema in known.items():
            kinds = {option.get("type") for option in schema.get("anyOf", [schema])}
            if kinds & {"integer", "boolean"}:
                bent += [(name, f"{name}=x"), (name, f"{name}=99999999999999999999"), (name, f"{name}=")]
            if kinds & {"integer"}:
                bent += [(name, f"{name}=-1"), (name, f"{name}=1.5")]
            if "array" not in kinds:
                bent += [(name, f"{name}=1&{name}=2")]
            bent += [(name, f"{name}=%00")]
            bent += [(name, f"{name}=" + "z" * 500)] if longest(schema) or kinds & {"integer"} else []
        for name, query in bent:
            answer = sender(clients, sample).request(method, f"{url(doors, path)}?{query}", json=body)
            if fault := fault_of(answer, names="" if "%" in name else name):
                wrong.append(f"{key}?{query[:40]}: {fault}")
    assert wrong == []


def test_a_whole_number_is_one_however_it_is_written_and_nothing_else_is(doors: Doors) -> None:
    with doors.http(doors.a.token) as owner:
        given = {}
        for written in ("1", "1.0", "1e0", "1.5", "true", '"1"', "null"):
            raw = f'{{"name": "n", "expires_in_days": {written}}}'
            headers = {"Content-Type": "application/json"}
            given[written] = owner.post(doors.a.ws("/tokens"), content=raw, headers=headers).status_code
    assert given == {"1": 201, "1.0": 201, "1e0": 201, "1.5": 422, "true": 422, '"1"': 422, "null": 201}


def test_a_cursor_that_no_list_gave_out_is_refused(doors: Doors, clients: dict[str, httpx.Client]) -> None:
    wrong = []
    lists = 0
    for key, method, path, sample, operation in keyed(doors):
        if "cursor" not in [p["name"] for p in operation.get("parameters", [])]:
            continue
        lists += 1
        shape = next(p["schema"]["pattern"] for p in operation["parameters"] if p["name"] == "cursor")
        found = {"right": 0, "wrong": 0}
        for cursor in (
            "x",
            "bnVsbA",
            "W10",
            "012-1",
            "7-1",
            "-1",
            f"{2**64}-1",
            f"task_{NO_ID}",
            "access-7",
            "access-x",
            "after.thing",
        ):
            query = {**(sample.query(doors) if sample.query else {}), "cursor": cursor}
            body = sample.body(doors) if sample.body else None
            answer = sender(clients, sample).request(method, url(doors, path), params=query, json=body)
            if re.fullmatch(shape, cursor):  # a place in the order that no row has: an empty rest, or all of it
                found["right"] += 1
                fault = "" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"
            else:
                found["wrong"] += 1
                fault = fault_of(answer, status=400)
            if fault:
                wrong.append(f"{key} {cursor}: {fault}")
        assert found == {"right": 1, "wrong": 10}
    assert lists > 10
    assert wrong == []


def test_every_other_method_on_every_path_is_refused_with_the_ones_that_are(
    doors: Doors, clients: dict[str, httpx.Client]
) -> None:
    wrong = []
    for path, item in sorted(doors.document["paths"].items()):
        have = {method.upper() for method in item}
        for method in {*METHODS, "OPTIONS", "HEAD", "TRACE"} - have:
            answer = clients["owner"].request(method, url(doors, path))
            # An answer to HEAD has no body to say more in.
            fault = "" if method == "HEAD" and answer.status_code == 405 else fault_of(answer, status=405)
            if fault:
                wrong.append(f"{method} {path}: {fault}")
            elif {name.strip() for name in answer.headers["allow"].split(",")} != have:
                wrong.append(f"{method} {path}: Allow is {answer.headers['allow']}, not {sorted(have)}")
    assert wrong == []


def test_credentials_that_open_nothing_open_no_route(doors: Doors) -> None:
    wrong = []
    bad = ("", "Bearer", "Basic YTpi", "Bearer wks_x", f"Bearer {doors.a.token}x", "Bearer \xe9")
    with doors.http() as http:
        for key, method, path, sample, _ in keyed(doors):
            for value in bad:
                headers = {"Authorization": value.encode("latin-1")} if value else {}
                if sample.open and not value:
                    continue
                answer = http.request(method, url(doors, path), headers=headers)  # type: ignore[arg-type]
                if fault := fault_of(answer, status=401):
                    wrong.append(f"{key} {value!r}: {fault}")
                elif "www-authenticate" not in answer.headers:
                    wrong.append(f"{key} {value!r}: no WWW-Authenticate")
    assert wrong == []


def test_headers_that_nobody_can_read_are_no_error_of_ours(doors: Doors, clients: dict[str, httpx.Client]) -> None:
    body = json.dumps({"name": "n", "value": "a-value"})
    found = []
    for headers in (
        {"Idempotency-Key": ""}, {"Idempotency-Key": "x" * 201}, {"Idempotency-Key": b"\xc3\xa9\xad"}, {"Worka-Tenant": "x"},
    ):  # fmt: skip
        path = "/v1/me" if "Worka-Tenant" in headers else doors.a.ws("/secrets")
        method = "GET" if "Worka-Tenant" in headers else "POST"
        answer = clients["owner"].request(
            method,
            path,
            content=None if method == "GET" else body,
            headers={**headers, "Content-Type": "application/json"},
        )
        found.append(fault_of(answer))
    assert found == [""] * 4
    garbled = clients["owner"].get("/v1/me", headers={"traceparent": "00-zz", "Last-Event-ID": b"\xc3\xa9"})
    assert garbled.status_code == 200
