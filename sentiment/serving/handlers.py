"""Problems, and what FastAPI and Starlette raise by themselves, as answers without a word of the request."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from .problems import MEDIA_TYPE, Problem


def add_handlers(app: FastAPI) -> None:
    """Answer whatever a route raises."""
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_failed)


async def _answer_problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    state = request.scope["state"]
    state["problem"] = problem.code
    body = problem.render(state["request_id"])
    return Response(body, problem.kind.status, problem.headers, MEDIA_TYPE)


async def _answer_http(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed"}.get(
        error.status_code, "malformed"
    )
    response = await _answer_problem(request, Problem(code))
    response.headers.update(error.headers or {})
    return response


async def _answer_invalid(request: Request, error: Exception) -> Response:
    """FastAPI's own, whose message quotes what it found."""
    return await _answer_problem(request, Problem("invalid"))


async def _answer_failed(request: Request, error: Exception) -> Response:
    """Anything else; it is raised on after this answer, and the guard logs where it came from."""
    return await _answer_problem(request, Problem("failed"))
