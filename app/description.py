"""The API's description (OpenAPI), and what of it is held against requests."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.routing import compile_path

from pool.errors import InvalidInput


def install(app: FastAPI, *kinds: type[BaseModel], of_bodies: Mapping[str, dict[str, Any]]) -> None:
    """Complete the description by what no route declares.

    Args:
        app: whose.
        kinds: documents that routes name, but none takes or returns.
        of_bodies: by status, the answers of the guards that every body passes.
    """
    generate = app.openapi

    @cache
    def openapi() -> dict[str, Any]:
        schema = generate()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        for kind in kinds:
            model = kind.model_json_schema(ref_template="#/components/schemas/{model}")
            for name, definition in model.pop("$defs", {}).items():
                schemas.setdefault(name, definition)
            schemas.setdefault(kind.__name__, model)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for operations in schema["paths"].values():
            for operation in operations.values():
                if "requestBody" in operation:
                    operation["responses"] = {**of_bodies, **operation["responses"]}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def methods_of(app: FastAPI, path: str) -> set[str]:
    """What the path takes, over all its operations; Starlette names those of one route alone."""
    return {
        method.upper()
        for template, operations in app.openapi()["paths"].items()
        if compile_path(template)[0].match(path)
        for method in operations
    }


def refuse_unknown_query(request: Request) -> None:
    """A misspelt filter would otherwise answer with everything.

    Raises:
        InvalidInput: the query has a parameter that the operation does not describe.
    """
    if not request.query_params:
        return
    template = request.scope["route"].path
    operation = request.app.openapi()["paths"].get(template, {}).get(request.method.lower())
    if operation is None:  # not part of the description
        return
    known = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
    if set(request.query_params) <= set(known):
        return
    takes = f"takes {', '.join(known)}" if known else "takes none"
    raise InvalidInput(f"Unknown query parameter; this operation {takes}.", part="query")
