"""Describe the service: parts of its OpenAPI document, and the page of /docs.

Swagger UI comes from this machine, since a browser of a closed network reaches no other.
"""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.applications import Starlette

from .problems import KINDS, MEDIA_TYPE

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
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="stylesheet" href="docs/files/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/files/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true, tryItOutEnabled: true});
"""


def add_documentation(app: Starlette, router: APIRouter, title: str) -> None:
    """Serve the page and its files under /docs. Nothing in it is inline, so its policy may forbid that."""

    @router.get("/docs", include_in_schema=False)
    async def show_docs() -> HTMLResponse:
        return HTMLResponse(_PAGE.format(title=title))

    @router.get("/docs/start.js", include_in_schema=False)
    async def start_docs() -> Response:
        return Response(_START, media_type="text/javascript")

    folder = resources.files("swagger_ui_bundle")
    vendor = next(path for path in (folder / "vendor").iterdir() if path.name.startswith("swagger-ui"))
    app.mount("/docs/files", StaticFiles(directory=str(vendor)), name="docs")


def describe_body(contents: Mapping[str, tuple[dict[str, Any], Any]]) -> dict[str, Any]:
    """OpenAPI's words for a body of one of these media types: a schema and an example each."""
    content = {kind: {"schema": found, "example": example} for kind, (found, example) in contents.items()}
    return {"requestBody": {"required": True, "content": content}}


def list_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's words for the ways in which a route may fail."""
    return {
        status: {
            "description": " / ".join(
                sorted({kind.title for kind in KINDS.values() if kind.status == status})
            ),
            "headers": ANSWER_HEADERS | _PROBLEM_HEADERS.get(status, {}),
            "content": {MEDIA_TYPE: {"schema": _PROBLEM_SCHEMA}},
        }
        for status in statuses
    }
