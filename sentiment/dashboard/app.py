"""Show the pages that `app.sh` starts; Streamlit runs this file again at every click.

Review text and uploads stay in the memory of the user's session. They are never logged or shown in an error;
only a correction that a reader saves is written, with the review that it is about.
"""

import importlib
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st

from sentiment.dashboard.settings import MODEL_URI_VARIABLE
from sentiment.dashboard.wording import escape_markdown
from sentiment.errors import ModelError, SentimentError

# Name of each page (its address, and the first word of its module), title and icon.
PAGES = {
    "try": ("Try", ":material/edit_note:"),
    "file": ("File", ":material/upload_file:"),
    "scores": ("Scores", ":material/monitoring:"),
    "nights": ("Nights", ":material/bedtime:"),
    "model": ("Model", ":material/deployed_code:"),
}
_LOG = logging.getLogger("sentiment.dashboard")


def main() -> None:
    """Show the page that the reader has chosen."""
    st.set_page_config(page_title="Review sentiment", layout="wide")
    pages = [
        st.Page(_open(name), title=title, icon=icon, url_path=name, default=name == "try")
        for name, (title, icon) in PAGES.items()
    ]
    st.navigation(pages).run()


def show_page(name: str) -> None:
    """Show one page; its module is imported now, so that the app starts before it is needed."""
    st.title(PAGES[name][0])
    with _errors_as_lines():
        importlib.import_module(f"sentiment.dashboard.{name}_page").show()


def _open(name: str) -> Callable[[], None]:
    return lambda: show_page(name)


@contextmanager
def _errors_as_lines() -> Iterator[None]:
    """Show an error as one line; log an unexpected one without its message, which may contain a review."""
    try:
        yield
    except ModelError as error:
        st.error(escape_markdown(f"{error} (the model of the app is set by {MODEL_URI_VARIABLE})"))
    except SentimentError as error:
        st.error(escape_markdown(str(error)))
    except Exception as error:  # noqa: BLE001 the outermost handler: it reports the error
        place = traceback.extract_tb(error.__traceback__)[-1]
        _LOG.error("unexpected %s at %s:%s", type(error).__name__, place.filename, place.lineno)
        st.error(
            f"Unexpected {type(error).__name__}: this page stops here. The log of the app has its place."
        )


if __name__ == "__main__":
    main()
