"""The bodies that are understood: ours, Domino's, MLflow's. Each is a list of values, and has its answer."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    field_validator,
)

from .. import schema

_MAX_ERRORS = 10
_MAX_COUNTED_ERRORS = 1_000


def _check_switch(value: Any) -> Any:
    """To Python, and so to a literal, 1 is true."""
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


_SWITCH = BeforeValidator(_check_switch)


class Body(BaseModel):
    """A body with these keys and no others, of these types and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Prediction(BaseModel):
    """Hold the prediction of one text."""

    label: Literal["negative", "positive"] | None = Field(description="null for a reject")
    score: float | None = Field(ge=0, le=1, description="probability of the label")
    n_tokens: int = Field(ge=0, description="tokens that the model read")
    truncated: bool = Field(description="whether the text had more")
    stage: Literal["linear", "encoder"] | None = Field(description="which part of the model decided")
    reject_reason: str | None = Field(description="why there is no label")


class LabelScore(BaseModel):
    label: Literal["negative", "positive"]
    score: float = Field(ge=0, le=1)


class Word(BaseModel):
    """A word of the text, or several of a long one, and what the label's probability loses without it."""

    word: str
    start: int = Field(ge=0, description="first character")
    end: int = Field(ge=0, description="character after the last")
    weight: float = Field(ge=-1, le=1)


class Explanation(BaseModel):
    method: Literal["occlusion"]
    words: list[Word]


class DetailedPrediction(Prediction):
    scores: list[LabelScore] | None = Field(default=None, description="with top_k: best first")
    explanation: Explanation | None = Field(default=None, description="with explain")


class SentimentAnswer(BaseModel):
    predictions: list[DetailedPrediction]
    model_version: str
    request_id: str


class InvocationsAnswer(BaseModel):
    predictions: list[Prediction]


class Release(BaseModel):
    """Of Domino's answers."""

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
    """Either."""

    @property
    def argument(self) -> Any:
        """A value, or a list of them."""
        return self.root.data.sentence if isinstance(self.root, DominoKeywords) else self.root.parameters[0]


class SplitFrame(BaseModel):
    model_config = ConfigDict(strict=True)

    columns: list[str] = Field(json_schema_extra={"contains": {"const": schema.TEXT}})
    data: list[list[Any]] = Field(description="a row that is too short has no text")
    index: list[Any] | None = None

    @field_validator("columns")
    @classmethod
    def _has_text(cls, columns: list[str]) -> list[str]:
        if schema.TEXT not in columns:
            raise ValueError(f"expected a column {schema.TEXT!r}")
        return columns


class Record(BaseModel):
    """A row with a text; what else it has is left aside."""

    text: Any


class SplitForm(Body):
    """MLflow's dataframe_split."""

    dataframe_split: SplitFrame
    params: dict[str, Any] | None = None

    def list_values(self) -> list[Any]:
        position = self.dataframe_split.columns.index(schema.TEXT)
        return [row[position] if position < len(row) else None for row in self.dataframe_split.data]


class RecordsForm(Body):
    """MLflow's dataframe_records."""

    dataframe_records: list[Record]
    params: dict[str, Any] | None = None

    def list_values(self) -> list[Any]:
        return [record.text for record in self.dataframe_records]


class InstancesForm(Body):
    """MLflow's instances: values, or records."""

    instances: list[Any]
    params: dict[str, Any] | None = None

    def list_values(self) -> list[Any]:
        return [
            row[schema.TEXT] if isinstance(row, dict) and schema.TEXT in row else row
            for row in self.instances
        ]


class InputsForm(Body):
    """MLflow's inputs: values, or columns."""

    inputs: list[Any] | Record
    params: dict[str, Any] | None = None

    def list_values(self) -> list[Any]:
        if isinstance(self.inputs, list):
            return self.inputs
        return self.inputs.text if isinstance(self.inputs.text, list) else [self.inputs.text]


class InvocationsBody(RootModel[SplitForm | RecordsForm | InstancesForm | InputsForm]):
    """One of MLflow's four forms."""

    def list_values(self) -> list[Any]:
        """Return the values to score, in order."""
        return self.root.list_values()


def _read_whole(value: Any) -> Any:
    """JSON Schema has it that 2.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_LabelCount = Annotated[int, Field(ge=1, le=len(schema.LABELS)), BeforeValidator(_read_whole)]


def make_sentiment_body(max_texts: int) -> "type[SentimentBody]":
    """Return the body class of /v1/sentiment: at most `max_texts` texts, or one that is to be explained."""

    class Texts(Body):
        """A value that is no text is a reject, in its place."""

        texts: list[Any] = Field(max_length=max_texts)
        top_k: _LabelCount | None = None
        explain: Annotated[Literal[False], _SWITCH] = False

    class ExplainedText(Body):
        """One text whose words are weighed."""

        texts: list[Any] = Field(min_length=1, max_length=1)
        top_k: _LabelCount | None = None
        explain: Annotated[Literal[True], _SWITCH]

    class LimitedBody(SentimentBody):
        root: Texts | ExplainedText

    return LimitedBody


class SentimentBody(RootModel[Any]):
    """See `make_sentiment_body`."""


def load_json(body: bytes) -> Any:
    """Parse JSON in UTF-8. Raises ValueError, or RecursionError; NaN and Infinity are no JSON."""
    return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)


def read_csv(body: bytes) -> list[Any]:
    """Return the column `text` of a CSV with a header, in UTF-8; an empty field is null. Raises ValueError.

    Not by pandas, which takes a minute for the names of a hundred thousand columns, and where each row is
    longer than the header takes its first field for an index.
    """
    content = body.decode("utf-8-sig")
    csv.field_size_limit(max(csv.field_size_limit(), len(content)))
    try:
        header, *rows = filter(None, csv.reader(io.StringIO(content, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError("expected CSV") from error
    if schema.TEXT not in header or any(len(row) > len(header) for row in rows):
        raise ValueError(f"expected a column {schema.TEXT!r}, and no row longer than the header")
    position = header.index(schema.TEXT)
    return [row[position] or None if position < len(row) else None for row in rows]


def describe_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a body with its parts in place, as an OpenAPI document can hold it."""
    found = model.model_json_schema()
    parts = found.pop("$defs", {})

    def inline(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return inline(parts[node["$ref"].rpartition("/")[2]])
            return {key: inline(value) for key, value in node.items()}
        return [inline(value) for value in node] if isinstance(node, list) else node

    described: dict[str, Any] = inline(found)
    return described


def describe_errors(error: ValidationError) -> list[dict[str, str]]:
    """Name the place in a body and what was expected; an unknown key is the caller's, and not quoted."""
    if error.error_count() > _MAX_COUNTED_ERRORS:  # a second for a hundred thousand, of which few are told
        return [{"where": "", "what": f"more than {_MAX_COUNTED_ERRORS} mistakes"}]
    return [
        {
            "where": ".".join(map(str, _locate(detail)[:8])),
            "what": detail["msg"] if detail["type"] != "value_error" else str(detail["ctx"]["error"]),
        }
        for detail in error.errors(include_url=False, include_input=False)[:_MAX_ERRORS]
    ]


def list_scores(prediction: Mapping[str, Any], top_k: int) -> list[dict[str, Any]]:
    """Return the `top_k` likeliest labels, best first; none of a reject."""
    label, score = prediction[schema.LABEL], prediction[schema.SCORE]
    if label is None:
        return []
    other = next(name for name in schema.LABELS if name != label)
    both = [(label, score), (other, 1 - score)]
    return [{schema.LABEL: name, schema.SCORE: value} for name, value in both[:top_k]]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _locate(detail: Mapping[str, Any]) -> tuple[int | str, ...]:
    location: tuple[int | str, ...] = detail["loc"]
    return location[:-1] if detail["type"] == "extra_forbidden" else location
