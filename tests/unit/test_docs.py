"""The guides link to what exists, stay short, and mention whatever users can meet."""

import ast
import dataclasses
import importlib
import importlib.util
import itertools
import re

import pytest

from sentiment import config, errors, schema
from tests.factories import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")])
GUIDES = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
GUIDE_TEXT = "\n".join(page.read_text() for page in GUIDES)
ALL_TEXT = "\n".join(page.read_text() for page in PAGES)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^```.*?^```", re.M | re.S)


def list_anchors(text):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", CODE_BLOCK.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def list_links(page):
    return [link for link in LINK.findall(CODE_BLOCK.sub("", page.read_text())) if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    broken = []
    for link in list_links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in list_anchors(target.read_text())):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize(
    ("name", "most_lines", "most_words"), [("README.md", 120, 900), ("CHANGELOG.md", 60, None)]
)
def test_pages_stay_short(name, most_lines, most_words):
    text = (ROOT / name).read_text()
    assert len(text.splitlines()) <= most_lines
    assert most_words is None or len(text.split()) <= most_words


def test_each_reject_reason_is_in_a_guide():
    assert [reason for reason in schema.REJECT_REASONS if f"`{reason}`" not in GUIDE_TEXT] == []


def test_each_exit_code_is_in_the_guide_of_batch_scoring():
    text = (ROOT / "docs" / "batch.md").read_text()
    section = text.partition("## Exit codes")[2].partition("\n## ")[0]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {0} | {kind.exit_code for kind in kinds if issubclass(kind, errors.SentimentError)}
    assert [code for code in sorted(codes) if not re.search(rf"\| {code} \|", section)] == []


@pytest.mark.parametrize(
    ("guide", "config_class"),
    [
        ("adopting", config.AdoptConfig),
        ("batch", config.ScoreConfig),
        ("training", config.AdaptConfig),
        ("training", config.FinetuneConfig),
        ("training", config.RegisterConfig),
        ("nightly", config.NightlyConfig),
        ("promotion", config.GatesConfig),
        ("promotion", config.PromoteConfig),
        ("serving", config.ServeConfig),
    ],
)
def test_each_setting_is_in_its_guide(guide, config_class):
    text = (ROOT / "docs" / f"{guide}.md").read_text()
    fields = dataclasses.fields(config_class)
    if config_class is config.NightlyConfig:  # the others are in the guide of batch scoring
        fields = fields[len(dataclasses.fields(config.ScoreConfig)) :]
    names = [field.name for field in fields]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", ALL_TEXT, re.M))
    assert [name for name in sorted(named) if not re.search(rf"^{name}:", makefile, re.M)] == []


def test_named_modules_and_functions_can_be_imported():
    imports = re.findall(r"\bfrom (score|sentiment[\w.]*) import ([\w, ]+)", ALL_TEXT)
    missing = [
        f"{module}.{name}"
        for module, names in imports
        for name in names.split(", ")
        if not hasattr(importlib.import_module(module), name)
    ]
    assert imports
    assert missing == []


def test_modules_that_are_run_exist():
    named = set(re.findall(r"python -m (sentiment[\w.]*)", ALL_TEXT))
    assert [name for name in sorted(named) if importlib.util.find_spec(name) is None] == []


def test_the_architecture_names_rooms_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = re.findall(r"`((?:sentiment|tests|jobs|benchmarks|conf)/[\w/]*)`", text)
    assert rooms
    assert [room for room in rooms if not (ROOT / room).exists()] == []


def test_the_architecture_names_modules_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = [f"/{path}" for path in re.findall(r"`([\w/]+\.py)`", text)]
    files = [*ROOT.glob("*.py"), *(ROOT / "jobs").glob("*.py"), *(ROOT / "sentiment").rglob("*.py")]
    paths = [path.as_posix() for path in files]
    assert modules
    assert [module for module in modules if not any(path.endswith(module) for path in paths)] == []


def test_a_constant_is_explained_above_it_and_not_by_a_string_below():
    below = []
    for path in sorted((ROOT / "sentiment").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            body = getattr(node, "body", [])
            for before, after in itertools.pairwise(body) if isinstance(body, list) else ():
                is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if (
                    is_text
                    and isinstance(before, ast.Assign | ast.AnnAssign)
                    and after.value.value is not ...
                ):
                    below.append(f"{path.relative_to(ROOT)}:{after.lineno}")
    assert not below
