"""The API's description is committed, complete, and shown without asking another host."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app import openapi

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    """The description that this code gives of itself."""
    made: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    return made


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for below in part.values():
            yield from references(below)
    elif isinstance(part, list):
        for below in part:
            yield from references(below)


def resolve(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_the_committed_description_is_the_one_of_this_code(document: dict[str, Any]) -> None:
    assert json.loads(COMMITTED.read_text()) == document, "run `make openapi`"


def test_make_openapi_prints_what_is_committed(
    capsys: pytest.CaptureFixture[str], document: dict[str, Any]
) -> None:
    openapi.main()
    assert json.loads(capsys.readouterr().out) == document


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(
    document: dict[str, Any],
) -> None:
    found = dict(operations(document))
    assert len({operation["operationId"] for operation in found.values()}) == len(found)
    for route, operation in found.items():
        assert operation["summary"], route
        assert operation["description"], route


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    dangling = set()
    for reference in references(document):
        try:
            resolve(document, reference)
        except KeyError:
            dangling.add(reference)
    assert dangling == set()


def test_every_request_body_has_an_example(document: dict[str, Any]) -> None:
    without = []
    for route, operation in operations(document):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            schema = media["schema"]
            if "$ref" in schema:
                schema = resolve(document, schema["$ref"])
            if not any("example" in key for part in (media, schema) for key in part):
                without.append(route)
    assert without == []


def test_every_example_is_accepted_as_far_as_its_shape_goes(
    document: dict[str, Any], client: TestClient
) -> None:
    for route, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            schema = resolve(document, content["application/json"]["schema"]["$ref"])
            for example in schema["examples"]:
                method, path = re.sub(r"{\w+}", "nothing", route).split()
                answer = client.request(method, path, json=example)
                accepted = (404,) if "{" in route else (201, 202, 409)  # nothing has that name
                assert answer.status_code in accepted, (route, answer.text)


def test_every_refusal_is_described_as_a_problem_document(document: dict[str, Any]) -> None:
    for route, operation in operations(document):
        if "security" not in operation:
            continue
        for status, answer in operation["responses"].items():
            if status.startswith(("4", "5")):
                schema = answer["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (route, status)


def test_the_documentation_page_asks_no_other_host(anonymous: TestClient) -> None:
    page = anonymous.get("/docs")
    assert page.status_code == 200
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)""", page.text)
    assert links
    for link in links:
        assert not re.match(r"(\w+:)?//", link), link
        assert anonymous.get(link).status_code == 200, link
