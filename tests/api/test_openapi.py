"""The OpenAPI document says everything, and what it says is so."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.api.conforming import fault_of_answer
from tests.api.samples import AUTHZEN, SAMPLES, url
from tests.api.world import Doors

pytestmark = pytest.mark.timeout(300)


@pytest.mark.capability(
    "DOR-1", part="an OpenAPI 3.1 document with typed answers, problems and credentials on every route"
)
def test_every_route_says_its_answers_its_problems_its_credentials_and_what_it_is_for(doors: Doors) -> None:
    wrong = []
    for method, path, operation in doors.operations:
        key = f"{method} {path}"
        answers = {status: found for status, found in operation["responses"].items() if status.startswith("2")}
        for status, found in answers.items():
            for kind, content in found.get("content", {}).items():
                if "$ref" not in content["schema"] and kind == "application/json":
                    wrong.append(f"{key} {status}: the answer has no type")
        if not answers:
            wrong.append(f"{key}: no success is documented")
        if "security" not in operation or (not SAMPLES[key].open and {} in operation["security"]):
            wrong.append(f"{key}: who may call it is not said")
        needed = {"400", "401", "404", "405", "422", "500", "503"} | (
            {"415", "413", "409"} if method != "GET" else set()
        )
        if missing := needed - set(operation["responses"]):
            wrong.append(f"{key}: {sorted(missing)} are not documented")
        if not operation.get("description") and not operation.get("summary"):
            wrong.append(f"{key}: nothing says what it is for")
        names = [p["name"] for p in operation.get("parameters", []) if p["in"] == "header"]
        question = path.startswith(AUTHZEN)  # it changes nothing, and an answer of before would be a stale one
        if method != "GET" and not SAMPLES[key].open and not question and "Idempotency-Key" not in names:
            wrong.append(f"{key}: no idempotency key")
    assert doors.document["openapi"].startswith("3.1")
    assert wrong == []


def test_its_schemas_are_valid_and_their_names_are_words(doors: Doors) -> None:
    schemas: dict[str, Any] = doors.document["components"]["schemas"]
    for name, schema in schemas.items():
        Draft202012Validator.check_schema(schema)
        assert "__" not in name, f"two shapes are called {name.rsplit('__', 1)[-1]}: give one of them another name"
    assert set(schemas["Problem"]["required"]) >= {"code", "title", "detail", "remedy", "request_id", "status"}


@pytest.mark.capability("DOR-1", part="real answers are what the document says")
def test_what_a_route_really_answers_is_what_the_document_says(doors: Doors) -> None:
    wrong = []
    seen = 0
    clients = {"owner": doors.http(doors.a.token), "operator": doors.http(doors.demo.operator.token)}
    taking = ("DELETE ", "POST /v1/secrets/{secret_id}/revoke", "POST /v1/releases/")
    for key, sample in SAMPLES.items():
        if sample.endless or key.startswith(taking):
            continue
        method, path = key.split(" ", 1)
        body = sample.body(doors) if sample.body else None
        query = sample.query(doors) if sample.query else None
        answer = clients[sample.who].request(method, url(doors, path), json=body, params=query)
        seen += answer.status_code < 300
        if fault := fault_of_answer(doors, method, path, answer):
            wrong.append(f"{key} {answer.status_code}: {fault}")
    for kind in ("att", "rel", "apr", "task", "inv", "conn", "sec", "dec"):
        name = {"att": "attachment_git", "rel": "release_git", "apr": "approval", "task": "task", "inv": "invocation",
                "conn": "connection", "sec": "secret", "dec": "decision"}[kind]  # fmt: skip
        path = "/v1/why/{thing_id}"
        answer = clients["owner"].get(url(doors, path, thing_id=doors.ids[name]))
        if fault := fault_of_answer(doors, "GET", path, answer):
            wrong.append(f"why {name}: {fault}")
    for client in clients.values():
        client.close()
    assert wrong == []
    assert seen > 50, "too few answers were successes to compare"
