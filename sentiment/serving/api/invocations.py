"""POST /invocations: MLflow's scoring protocol, in its four JSON forms and in CSV."""

import csv
import io
import itertools
import operator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from ... import schema
from ..problems import Problem
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

CSV = "text/csv"
_SPLIT_EXAMPLE = {"dataframe_split": {"columns": ["text"], "data": [[EXAMPLE]]}}


class InvocationsAnswer(BaseModel):
    predictions: list[Prediction]


class SplitFrame(BaseModel):
    model_config = ConfigDict(strict=True)

    columns: list[str] = Field(json_schema_extra={"contains": {"const": schema.TEXT}})
    data: list[list[Any]] = Field(description="the text of a row that is too short is null")
    index: list[Any] | None = None

    @field_validator("columns")
    @classmethod
    def _has_text(cls, columns: list[str]) -> list[str]:
        if schema.TEXT not in columns:
            raise ValueError(f"expected a column {schema.TEXT!r}")
        return columns


class Record(BaseModel):
    """A row with the key `text`; other keys are ignored."""

    text: Any


class Form(Body):
    """One of MLflow's forms."""

    params: dict[str, Any] | None = None


class SplitForm(Form):
    """MLflow's dataframe_split."""

    dataframe_split: SplitFrame


class RecordsForm(Form):
    """MLflow's dataframe_records."""

    dataframe_records: list[Record]


class InstancesForm(Form):
    """MLflow's instances: a list of texts, or of objects with the key `text`."""

    instances: list[Any]


class InputsForm(Form):
    """MLflow's inputs: a list of texts, or an object whose key `text` has one or several."""

    inputs: list[Any] | Record


class InvocationsBody(RootModel[SplitForm | RecordsForm | InstancesForm | InputsForm]):
    """One of MLflow's four forms."""

    def list_values(self) -> list[Any]:
        """Return the values to score, in order."""
        form = self.root
        if isinstance(form, SplitForm):
            column = form.dataframe_split.columns.index(schema.TEXT)
            return [row[column] if column < len(row) else None for row in form.dataframe_split.data]
        if isinstance(form, RecordsForm):
            return [record.text for record in form.dataframe_records]
        if isinstance(form, InstancesForm):
            key = schema.TEXT
            return [row[key] if isinstance(row, dict) and key in row else row for row in form.instances]
        values = form.inputs.text if isinstance(form.inputs, Record) else form.inputs
        return values if isinstance(values, list) else [values]


def add_routes(router: APIRouter, service: Service) -> None:
    """Add the route of this API."""
    bodies = {JSON: (InvocationsBody, _SPLIT_EXAMPLE), CSV: (str, f'text\n"{EXAMPLE}"\n')}

    @router.post(
        "/invocations",
        response_model=InvocationsAnswer,
        openapi_extra=describe_body(bodies),
    )
    async def score_invocations(request: Request) -> Any:
        """Score as MLflow's scoring server does: its four JSON forms, or CSV with a column `text`."""
        served = require_model(request, service)
        if check_media_type(request, JSON, CSV) == CSV:
            values = read_csv(await request.body())
        else:
            values = (await read_json(request, service, InvocationsBody)).list_values()
        answer = await score(request, service, served, values)
        return JSONResponse({"predictions": [hide_probabilities(p) for p in answer.predictions]})


def read_csv(body: bytes) -> list[Any]:
    """Return the column `text` of a CSV in UTF-8 with a header: a value per row below it.

    The text is None if its field is empty, or if the row is too short to have it. A blank line is such a
    row, so that predictions keep the positions of their lines; MLflow's server leaves it out. Raises Problem
    for a body that is no such CSV, or has a row that is longer than the header. pandas is not used: it takes
    a minute for the names of a hundred thousand columns, and reads the first field of a longer row as an
    index.
    """
    try:
        content = body.decode("utf-8-sig")
        csv.field_size_limit(max(csv.field_size_limit(), len(content)))
        lines = csv.reader(io.StringIO(content, newline=""), strict=True)
        header, *rows = itertools.dropwhile(operator.not_, lines)
        position = header.index(schema.TEXT)
    except (ValueError, csv.Error):
        rows, position, header = [], -1, []
    if position < 0 or any(len(row) > len(header) for row in rows):
        raise Problem("invalid", "expected CSV in UTF-8 with a header and a column `text`")
    return [row[position] or None if position < len(row) else None for row in rows]
