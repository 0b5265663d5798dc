"""Bodies that are no JSON, for schemathesis, which loads this file: SCHEMATHESIS_HOOKS."""

import csv
import io
from typing import Any

import schemathesis
from hypothesis import strategies as st

_FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Examples of what is no JSON are bytes to it, as the values drawn below."""
    for operations in raw_schema["paths"].values():
        for content in operations.get("post", {}).get("requestBody", {}).get("content", {}).values():
            if isinstance(content["example"], str):
                content["example"] = content["example"].encode()


def _write_csv(texts: list[str]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in texts)])
    return file.getvalue().encode()


schemathesis.openapi.media_type("text/csv", st.lists(_FIELDS, max_size=20).map(_write_csv))
# Whatever the bytes are: a line is answered by a line.
schemathesis.openapi.media_type("application/x-ndjson", st.binary(max_size=2_000))
