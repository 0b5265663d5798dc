"""The page of /docs: Swagger UI from this machine, since a browser of a closed network reaches no other."""

from importlib import resources

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.applications import Starlette

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
