"""POST /models/{model_id}/latest/model: the protocol of Domino's Model APIs."""

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, RootModel

from ..champion import ServedModel
from ..service import Service
from .documentation import describe_body
from .requests import (
    EXAMPLE,
    JSON,
    Body,
    Prediction,
    check_media_type,
    hide_probabilities,
    read_json,
    require_model,
    score,
)

# Domino's own answers have this version.
HARNESS_VERSION = "0.1"


class Release(BaseModel):
    """The model version, in the form of Domino's answers."""

    model_version: str
    harness_version: str
    model_version_number: int | None
    registered_model_name: str | None
    registered_model_version: str | None


class DominoAnswer(BaseModel):
    result: Prediction | list[Prediction]
    release: Release
    request_id: str
    timing: float = Field(description="milliseconds")
    model_time_in_ms: int


class DominoData(Body):
    sentence: Any = Field(description="a text, or a list of them")


class DominoKeywords(Body):
    """The arguments of `predict_sentiment` by name."""

    data: DominoData


class DominoParameters(Body):
    """The arguments of `predict_sentiment` by position."""

    parameters: list[Any] = Field(min_length=1, max_length=1)


class DominoBody(RootModel[DominoKeywords | DominoParameters]):
    """The arguments of `predict_sentiment`, by name or by position."""

    @property
    def argument(self) -> Any:
        """Return the value, or the list of values."""
        return self.root.data.sentence if isinstance(self.root, DominoKeywords) else self.root.parameters[0]


def add_routes(router: APIRouter, service: Service) -> None:
    """Add the route of this API."""

    @router.post(
        "/models/{model_id}/latest/model",
        response_model=DominoAnswer,
        openapi_extra=describe_body({JSON: (DominoBody, {"data": {"sentence": EXAMPLE}})}),
    )
    async def score_domino(request: Request, model_id: str) -> Any:
        """Score as a Domino Model API does: the arguments of `predict_sentiment` by name or by position."""
        started = time.monotonic()
        served = require_model(request, service)
        check_media_type(request, JSON)
        argument = (await read_json(request, service, DominoBody)).argument
        values = argument if isinstance(argument, list) else [argument]
        answer = await score(request, service, served, values)
        predictions = [hide_probabilities(prediction) for prediction in answer.predictions]
        return JSONResponse(
            {
                "result": predictions if isinstance(argument, list) else predictions[0],
                "release": _describe_release(served),
                "request_id": request.scope["state"]["request_id"],
                "timing": (time.monotonic() - started) * 1000,
                "model_time_in_ms": round(answer.model_seconds * 1000),
            }
        )


def _describe_release(served: ServedModel) -> dict[str, Any]:
    name, _, version = served.reference.pinned_uri.removeprefix("models:/").partition("/")
    is_registered = version.isdigit()
    return {
        "model_version": served.reference.version,
        "harness_version": HARNESS_VERSION,
        "model_version_number": int(version) if is_registered else None,
        "registered_model_name": name if is_registered else None,
        "registered_model_version": version if is_registered else None,
    }
