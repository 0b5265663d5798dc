"""Read the body of a request and score its values: what the APIs share."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ... import schema
from ..champion import ServedModel
from ..problems import Problem
from ..queue import Call
from ..service import Service

Parsed = TypeVar("Parsed", bound=BaseModel)

JSON = "application/json"
EXAMPLE = "The battery lasts all week, and the screen is a joy to read on."
_MAX_ERRORS = 10
_MAX_COUNTED_ERRORS = 1_000
# Strings and brackets. The last quote is optional, so one pass is enough for any bytes.
_NESTING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)


class Body(BaseModel):
    """Accept these keys and no others, of these types and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Prediction(BaseModel):
    """Hold the prediction of one text."""

    label: str | None = Field(description="the likeliest class; null for a reject")
    score: float | None = Field(ge=0, le=1, description="calibrated probability of the label")
    unsure: bool = Field(description="the score is too low to act on")
    n_tokens: int = Field(ge=0, description="tokens that the model read")
    truncated: bool = Field(description="whether the text had more tokens than the model read")
    stage: Literal["linear", "encoder", "both"] | None = Field(description="which part of the model decided")
    reject_reason: str | None = Field(description="why there is no label")
    expected: float | None = Field(default=None, description="mean of ordinal labels, such as stars")


def require_model(request: Request, service: Service) -> ServedModel:
    """Return the model in use, and note its version for the log and the answer's header."""
    served = service.require_model()
    request.scope["state"]["model_version"] = served.reference.version
    return served


def check_media_type(request: Request, *known: str) -> str:
    """Return the body's Content-Type, if it is one of these. Raises Problem `unsupported_media_type`."""
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found not in known:
        raise Problem("unsupported_media_type", f"expected Content-Type {' or '.join(known)}")
    return found


async def read_json(request: Request, service: Service, body_class: type[Parsed]) -> Parsed:
    """Return the body as a `body_class`. Raises Problem `malformed`, `too_deep` or `invalid`."""
    content = load_json(await request.body(), service.config.max_json_depth)
    try:
        return body_class.model_validate(content)
    except ValidationError as error:
        raise Problem("invalid", errors=_describe_errors(error)) from None


def load_json(body: bytes, max_depth: int) -> Any:
    """Parse JSON in UTF-8; NaN and Infinity are no JSON. Raises Problem `malformed` or `too_deep`."""
    depth = 0
    for found in _NESTING.finditer(body):
        depth += (found[0] in (b"[", b"{")) - (found[0] in (b"]", b"}"))
        if depth > max_depth:
            raise Problem("too_deep")
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except ValueError:  # no JSON, no UTF-8, a number of ten thousand digits
        raise Problem("malformed") from None


async def score(request: Request, service: Service, served: ServedModel, values: Sequence[Any]) -> Call:
    """Score the values of a request, and note for the log how many there are."""
    if len(values) > service.config.max_texts:
        raise Problem("invalid", f"expected at most {service.config.max_texts} texts, found {len(values)}")
    state = request.scope["state"]
    state["texts"] = len(values)
    state["chars"] = sum(len(value) for value in values if isinstance(value, str))
    answer = await service.queue.score(served.model, values)
    state["model_seconds"] = answer.model_seconds
    service.metrics.note_predictions(answer.predictions)
    return answer


def hide_probabilities(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Return a prediction as the APIs give it: without the probabilities of the other labels."""
    return {name: value for name, value in prediction.items() if name != schema.PROBABILITIES}


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _describe_errors(error: ValidationError) -> list[dict[str, str]]:
    """Return places in a body and what was expected there; an unknown key is the caller's, and not quoted."""
    if error.error_count() > _MAX_COUNTED_ERRORS:  # listing a hundred thousand takes a second
        return [{"where": "", "what": f"more than {_MAX_COUNTED_ERRORS} mistakes"}]
    found = []
    for detail in error.errors(include_url=False, include_input=False)[:_MAX_ERRORS]:
        place = detail["loc"][:-1] if detail["type"] == "extra_forbidden" else detail["loc"]
        what = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
        found.append({"where": ".".join(map(str, place[:8])), "what": what})
    return found
