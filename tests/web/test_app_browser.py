"""The app in a real browser: what tests without one cannot see."""

import contextlib
import io

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sentiment.config import FinetuneConfig
from sentiment.dashboard import corrections
from tests.app_data import make_nights, make_store
from tests.factories import make_reviews

from .app_process import open_browser, running_app, settle, stripping_proxy

pytest.importorskip("streamlit")
PREFIX = "/ada/reviews/r/notebookSession/65f"
PAGES = ("Try", "File", "Scores", "Nights", "Model")
UPLOAD = 'id,text\n1,a good phone\n2,""\n3,bad,one\n4,"it broke"\n'


def go_to(page, name, url):
    page.goto(url if name == "Try" else f"{url}/{name.lower()}")
    page.get_by_role("heading", name=name, exact=True, level=1).wait_for()
    settle(page)


def upload(page, name, data):
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "", "buffer": data})
    page.get_by_role("button", name="Score ").click()
    page.get_by_role("button", name="Download Parquet").wait_for()
    settle(page)


def download(page, label):
    with page.expect_download() as found:
        page.get_by_role("button", name=label).click()
    return found.value.path().read_bytes()


def is_wider_than_the_screen(page):
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1")


def test_an_app_without_a_model_or_a_table_opens_in_a_browser(tmp_path):
    """Short, so that it runs with all tests: the empty pages, by their links, on a phone."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with running_app(tmp_path, MLFLOW_TRACKING_URI=uri) as url, open_browser(390) as page:
        for name, words in (
            ("Scores", "score_reviews.py"),
            ("Nights", "jobs/nightly.py"),
            ("Model", "finetune.py"),
        ):
            go_to(page, name, url)
            page.get_by_text(words).first.wait_for()
            assert not is_wider_than_the_screen(page)
        go_to(page, "Try", url)
        page.get_by_text("fine-tune one with").wait_for()


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_model):
    """The app with a model, scores, reviews and nights, and the address of a proxy that strips a prefix."""
    folder = tmp_path_factory.mktemp("app")
    store, reviews = make_store(folder)
    environment = {
        "MLFLOW_TRACKING_URI": tiny_model.tracking_uri,
        "SENTIMENT_MODEL_URI": "models:/sentiment@champion",
        "SENTIMENT_SCORES": str(store),
        "SENTIMENT_REVIEWS": str(reviews),
        "SENTIMENT_CORRECTIONS": str(folder / "kept"),
        "SENTIMENT_MONITORING": str(make_nights(folder / "nights")),
        "SENTIMENT_ADMIN_TOKEN": "a-token-of-many-characters",
        # As inside Domino, whose proxy rewrites the host.
        "DOMINO_RUN_ID": "1",
        "APP_HOST": "127.0.0.1",
    }
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(running_app(folder, **environment))
        yield folder, url, stack.enter_context(stripping_proxy(url, PREFIX))


@pytest.mark.reliability
@pytest.mark.promise("W1", "the app works in a browser, behind a proxy's prefix")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_each_page_fits_and_shows_no_error(world, width, scheme):
    _, url, _ = world
    with open_browser(width, scheme) as page:
        for name in PAGES:
            go_to(page, name, url)
            assert not is_wider_than_the_screen(page)
            alerts = page.get_by_test_id("stAlertContentError").all_inner_texts()
            assert [text for text in alerts if "rows were rejected" not in text] == []
            background = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
            is_dark = sum(map(int, background.removeprefix("rgb(").rstrip(")").split(",")[:3])) < 200
            assert is_dark == (scheme == "dark")


@pytest.mark.reliability
@pytest.mark.promise("W1", "the app works in a browser, behind a proxy's prefix")
def test_pages_uploads_and_links_work_behind_a_prefix(world):
    """By the proxy only: each page by its own address and by the links, an upload, and its downloads."""
    _, _, url = world
    with open_browser() as page:
        go_to(page, "Try", f"{url}/")
        for name in PAGES[1:]:
            page.get_by_role("link", name=name).click()
            page.get_by_role("heading", name=name, exact=True, level=1).wait_for()
            settle(page)
        go_to(page, "File", url)
        upload(page, "reviews.csv", UPLOAD.encode())
        rows = pd.read_csv(io.BytesIO(download(page, "Download CSV")), dtype=str)
        assert rows["id"].tolist() == ["1", "2", "4"]
        assert rows["reject_reason"].fillna("").tolist() == ["", "blank_text", ""]
        rejects = pd.read_csv(io.BytesIO(download(page, "Download rejects")))
        assert rejects["where"].tolist() == ["row 2", "line 4"]
        parquet = pq.read_table(io.BytesIO(download(page, "Download Parquet")))
        assert parquet.column("text").to_pylist() == ["a good phone", "", "it broke"]


@pytest.mark.reliability
@pytest.mark.promise("W1", "the app works in a browser, behind a proxy's prefix")
def test_a_review_is_scored_by_keyboard_and_its_words_are_marked(world):
    _, url, _ = world
    with open_browser() as page:
        go_to(page, "Try", url)
        page.get_by_label("Review").fill(
            "the battery is great and the screen is awful <img src=x onerror=alert(1)>"
        )
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_text("How this is computed").wait_for()
        assert page.locator("img[src=x]").count() == 0
        assert page.get_by_text("<img src=x onerror=alert(1)>").count() >= 1


@pytest.mark.reliability
@pytest.mark.promise("W1", "the app works in a browser, behind a proxy's prefix")
def test_a_correction_is_saved_and_fine_tuning_reads_it(world):
    """The first label of the editor is changed by keyboard, as its grid allows it."""
    folder, url, _ = world
    sources = pytest.importorskip("sentiment.training.data.sources")
    reading = pytest.importorskip("sentiment.training.data.reading")
    with open_browser() as page:
        go_to(page, "Scores", url)
        grid = page.locator("[data-testid=stForm] canvas").first
        grid.scroll_into_view_if_needed()
        box = grid.bounding_box()
        # The corrected label is the first column; the first row is below the header.
        page.mouse.dblclick(box["x"] + 60, box["y"] + 52)
        page.wait_for_timeout(500)
        option = page.get_by_role("option")
        labels = option.all_inner_texts()
        assert labels == ["negative", "positive"]
        rows = pd.read_parquet(next((folder / "scores").rglob("part-*.parquet"))).sort_values("score")
        other = "positive" if rows["label"].iloc[0] == "negative" else "negative"
        option.filter(has_text=other).click()
        # The grid hands an edit over a moment later, as a hand needs for the next step.
        page.wait_for_timeout(800)
        page.get_by_label("Your name").fill("Ada")
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Save the corrections").click()
        shown = page.get_by_test_id("stAlert").filter(has_text="orrection")
        shown.first.wait_for()
        assert "Saved 1 correction;" in shown.first.inner_text()
    saved = corrections.load_corrections(folder / "kept").to_pylist()
    assert [(row["review_id"], row["label"], row["who"]) for row in saved] == [
        (rows["review_id"].iloc[0], other, "Ada")
    ]
    # Fine-tuning needs more than one review, so only its reader is asked.
    config = FinetuneConfig(dataset_name=str(folder / "kept"))
    (location,) = sources.find_locations(config.dataset_name, reading.make_options(config)).by_split["train"]
    source = location.open()
    columns = reading.choose_columns(config, source)
    (batch,) = source.read([*columns.texts, columns.label])
    assert batch == {"text": [saved[0]["text"]], "label": [other]}
    assert saved[0]["text"] in make_reviews(60)["text"].tolist()
