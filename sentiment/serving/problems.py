"""Describe failures to callers as problem+json (RFC 9457), without a value of the request."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """Hold a kind of failure: its status, its title, and what the caller can do."""

    status: int
    title: str
    detail: str


KINDS = {
    "malformed": Kind(400, "Bad request", "the body is not valid JSON (or CSV) in UTF-8"),
    "too_deep": Kind(400, "Bad request", "the JSON is nested deeper than this service reads"),
    "wrong_host": Kind(400, "Bad request", "the Host header names another host; see allowed_hosts"),
    "unauthorized": Kind(401, "Unauthorized", "send a token: `Authorization: Bearer TOKEN`, or basic"),
    "not_found": Kind(404, "Not found", "there is nothing at this path; /docs lists what there is"),
    "method_not_allowed": Kind(405, "Method not allowed", "the header Allow says what this path takes"),
    "slow_body": Kind(408, "Request timeout", "the body came too slowly"),
    "too_large": Kind(
        413, "Content too large", "the body is larger than this service takes; send less at a time"
    ),
    "unsupported_media_type": Kind(415, "Unsupported media type", "this path takes another Content-Type"),
    "unsupported_encoding": Kind(415, "Unsupported media type", "send the body without Content-Encoding"),
    "invalid": Kind(422, "Unprocessable content", "the body does not have the expected shape"),
    "rate_limited": Kind(
        429, "Too many requests", "this token has used up its rate; wait as Retry-After says"
    ),
    "overloaded": Kind(
        429, "Too many requests", "the wait would be too long; try again as Retry-After states"
    ),
    "failed": Kind(500, "Internal error", "the service failed; its log has the request_id"),
    "not_ready": Kind(503, "Service unavailable", "the model is not loaded yet, or the service is stopping"),
    "deadline": Kind(504, "Deadline exceeded", "no answer in time; send fewer texts at once"),
}


class ClientGoneError(Exception):
    """The client disconnected, or stopped sending or reading."""


class Problem(Exception):  # noqa: N818 the name of the RFC
    """A request is refused. `errors` lists places in the body and what is wrong there, for `invalid`."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        retry_seconds: float | None = None,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(code)
        self.code = code
        self.kind = KINDS[code]
        self.detail = detail or self.kind.detail
        self.errors = errors
        self.headers: dict[str, str] = {}
        if retry_seconds is not None:
            self.headers["retry-after"] = str(max(1, math.ceil(retry_seconds)))
        if self.kind.status == 401:
            self.headers["www-authenticate"] = 'Bearer, Basic realm="sentiment"'

    def render(self, request_id: str) -> bytes:
        """Return the body."""
        fields: dict[str, Any] = {
            "type": f"urn:sentiment:problem:{self.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
        }
        if self.errors:
            fields["errors"] = list(self.errors)
        return json.dumps(fields).encode()
