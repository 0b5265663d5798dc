"""Describe the service: parts of its OpenAPI document, and the page of /docs.

Swagger UI is served from a package: a browser in a closed network reaches no other host.
"""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.applications import Starlette

from ..problems import KINDS, MEDIA_TYPE

ANSWER_HEADERS = {"X-Request-Id": {"required": True, "schema": {"type": "string"}}}
_PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}},
    429: {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}},
    503: {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}},
}
_PROBLEM_SCHEMA = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("type", "title", "detail", "code", "request_id")},
        "status": {"type": "integer"},
        "errors": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "string"}}},
    },
    "required": ["type", "title", "status", "detail", "code", "request_id"],
}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="docs/files/swagger-ui.css"></head>
<body><div id="page"></div>
<script src="docs/files/swagger-ui-bundle.js"></script><script src="docs/start.js"></script></body>
</html>
"""
_START = """SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true, tryItOutEnabled: true});
"""


def add_pages(app: Starlette, router: APIRouter, title: str) -> None:
    """Serve /docs and its files. The page has no inline scripts, so its policy can forbid them."""

    @router.get("/docs", include_in_schema=False)
    async def show_docs() -> HTMLResponse:
        return HTMLResponse(_PAGE.format(title=title))

    @router.get("/docs/start.js", include_in_schema=False)
    async def start_docs() -> Response:
        return Response(_START, media_type="text/javascript")

    folder = resources.files("swagger_ui_bundle")
    vendor = next(path for path in (folder / "vendor").iterdir() if path.name.startswith("swagger-ui"))
    app.mount("/docs/files", StaticFiles(directory=str(vendor)), name="docs")


def describe_body(contents: Mapping[str, tuple[type[Any], Any]]) -> dict[str, Any]:
    """Return OpenAPI's description of a body: by media type, its class (or str) and an example."""
    content = {
        media_type: {"schema": _describe_schema(body_class), "example": example}
        for media_type, (body_class, example) in contents.items()
    }
    return {"requestBody": {"required": True, "content": content}}


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's description of problems with these statuses."""
    return {
        status: {
            "description": next(kind.title for kind in KINDS.values() if kind.status == status),
            "headers": ANSWER_HEADERS | _PROBLEM_HEADERS.get(status, {}),
            "content": {MEDIA_TYPE: {"schema": _PROBLEM_SCHEMA}},
        }
        for status in statuses
    }


def _describe_schema(body_class: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a body with its parts in place, as an OpenAPI document can hold it."""
    if not issubclass(body_class, BaseModel):
        return {"type": "string"}
    found = body_class.model_json_schema()
    parts = found.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return inline(parts[node["$ref"].rpartition("/")[2]])
            return {key: inline(value) for key, value in node.items()}
        return [inline(value) for value in node] if isinstance(node, list) else node

    described: dict[str, Any] = inline(found)
    return described
