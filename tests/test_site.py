"""The site as a visitor meets it: in Chromium, on a desk and on a phone, without any network.

A small site is built here: all guides and exhibits, and a notebook that was executed. With the
environment variable SITE, the tests look at the site in that folder instead (`make site`, and then
`SITE=.build/site .venv/bin/python -m pytest -n 0 tests/test_site.py`).
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urldefrag, urljoin

import nbformat
import pytest
from conftest import ROOT
from PIL import Image

import azlib

sys.path.insert(0, str(ROOT))  # for `docs.builder`

from docs.builder.docstrings import listed, with_code
from docs.builder.exhibits import tomllib
from docs.builder.layers import drawn

DESCRIBED = tomllib.loads((ROOT / "docs" / "builder" / "exhibits.toml").read_text())
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
WIDE = (
    "document.documentElement.scrollWidth > innerWidth"
    " ? [...document.querySelectorAll('article *')]"
    ".filter(e => e.getBoundingClientRect().right > innerWidth)"
    ".slice(0, 3).map(e => e.outerHTML.slice(0, 200)) : []"
)


def executed_notebook():
    """A notebook as `make figures` leaves it: a lesson, a table, and a picture of an exhibit."""
    picture = io.BytesIO()
    Image.new("RGB", (900, 300), "white").save(picture, "png")
    png = base64.b64encode(picture.getvalue()).decode()
    table = "<table><tr>" + "<td>a long heading</td>" * 30 + "</tr></table>"
    new = nbformat.v4
    return new.new_notebook(
        cells=[
            new.new_markdown_cell("# A lesson\n\nWhat is $\\frac{1}{m}\\sum_i x_i$?\n\n$$a = b$$"),
            new.new_code_cell("n = 1  # how many", metadata={"tags": ["parameters"]}),
            new.new_code_cell("n = 2", metadata={"tags": ["injected-parameters"]}),
            new.new_markdown_cell("See [the code](../azlib/aggregation.py), [first](first.ipynb)."),
            new.new_code_cell(
                'exhibits.write("fig5", folder)',
                outputs=[new.new_output("display_data", {"image/png": png, "text/plain": "x"})],
            ),
            new.new_code_cell(
                "table", outputs=[new.new_output("display_data", {"text/html": table})]
            ),
        ],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )


def write_lessons(folder):
    """Two lessons and their executed copies, of which only the first is up to date."""
    lessons, made = folder / "notebooks", folder / "executed" / "exhibits"
    for place in (lessons, made):
        place.mkdir(parents=True)
    notebook = executed_notebook()
    for name in ("first", "second"):
        nbformat.write(notebook, made / f"{name}.ipynb")
        source = executed_notebook()
        del source.cells[2]
        for cell in source.cells:
            if cell.cell_type == "code":
                cell.outputs = []
        if name == "second":
            source.cells[0].source = "# A lesson that was changed since it was run"
        nbformat.write(source, lessons / f"{name}.ipynb")
    return lessons, made.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site."""
    if os.environ.get("SITE"):
        return ROOT / os.environ["SITE"]
    folder = tmp_path_factory.mktemp("site")
    lessons, made = write_lessons(folder)
    code = "import gc, sys, pathlib; from docs.builder.__main__ import build\n"
    code += "gc.disable()\n"  # pages stay until they are written: there is no garbage to look for
    code += "sys.exit(build(*map(pathlib.Path, sys.argv[1:])))"
    result = subprocess.run(
        [sys.executable, "-c", code, made, folder / "site", lessons],
        cwd=ROOT,
        env=os.environ | {"REPOSITORY": "https://github.com/someone/azlib"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return folder / "site"


class Page(HTMLParser):
    """What a page refers to: links, files it loads, and pictures with their alternatives."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.pictures, self.names = [], [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.names.add(attrs.get("id"))
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])
        if tag == "img":
            self.pictures.append((attrs.get("src"), attrs.get("alt") or ""))
        if tag in ("img", "script", "iframe") and attrs.get("src"):
            self.loads.append(attrs["src"])
        if tag == "link" and attrs.get("rel") in ("stylesheet", "icon"):
            self.loads.append(attrs["href"])


@pytest.fixture(scope="module")
def pages(site):
    """Every page of the site by its path."""
    paths = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in paths}


def test_no_link_and_no_picture_leads_nowhere(site, pages):
    for path, page in pages.items():
        for target in page.links + page.loads:
            if re.match(r"(https?|mailto|data):", target):
                assert target not in page.loads, f"{path} loads {target} from elsewhere"
                continue
            place, anchor = urldefrag(urljoin(path, unquote(target)))
            place = place.partition("?")[0] or path
            assert (site / place).is_file(), f"{path} links to {target}"
            if anchor and place in pages:
                assert anchor in pages[place].names, f"{path} links to {target}"


def test_every_picture_has_words_instead(pages):
    seen = [(path, *picture) for path, page in pages.items() for picture in page.pictures]
    assert len(seen) > 20
    for path, source, alt in seen:
        assert len(alt) > 30, f"{path}: {source} is described by {alt!r}"


@pytest.mark.parametrize("stem", sorted({path.stem for path in (ROOT / "figures").rglob("*.png")}))
def test_the_picture_of_an_exhibit_is_described(stem):
    assert stem in DESCRIBED, f"docs/builder/exhibits.toml has no words for the picture {stem}"
    assert len(DESCRIBED[stem]["alt"]) > 60


def test_every_exhibit_is_shown_or_can_be_taken_away(site):
    text = (site / "docs" / "exhibits.html").read_text()
    for path in (ROOT / "figures").rglob("*.csv"):
        assert f"/{path.name}" in text, path


def test_the_first_page_weighs_less_than_a_megabyte(site, pages):
    files = {"index.html"} | {
        urldefrag(name)[0].partition("?")[0] for name in pages["index.html"].loads
    }
    assert sum((site / name).stat().st_size for name in files) < 1_000_000


def test_equations_are_drawn_by_the_browser_itself(site):
    lessons = [path.read_text() for path in (site / "notebooks").glob("*.html")]
    assert any('<div class="equation"><math alttext=' in text for text in lessons)
    assert not any("<merror" in text or "mathjax.js" in text.lower() for text in lessons)


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served, on this machine alone."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """Opens a page in a window of a size; what goes wrong in it fails the test."""
    troubles, contexts = [], []

    def visit(path, size):
        context = browser.new_context(viewport=size)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(180_000)  # other tests run at the same time
        page.on("console", lambda said: troubles.append(said.text) if said.type == "error" else 0)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "response", lambda got: got.status < 400 or troubles.append(f"{got.status}: {got.url}")
        )
        page.on(
            "requestfailed",  # what the next page interrupts has not failed
            lambda request: (
                "ABORTED" in (request.failure or "")
                or troubles.append(f"{request.failure}: {request.url}")
            ),
        )
        page.on(
            "request",
            lambda request: (
                request.url.startswith((address, "data:"))
                or troubles.append(f"from elsewhere: {request.url}")
            ),
        )
        page.goto(address + path)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not troubles


def test_no_page_complains_or_is_wider_than_a_phone(visit, pages):
    window = visit("index.html", PHONE)
    first = window.url
    for path in pages:
        window.goto(urljoin(first, path))
        too_wide = window.evaluate(WIDE)
        assert not too_wide, f"{path}: {too_wide}"


def test_search_finds_trainability(visit):
    window = visit("search.html?q=trainability", DESK)
    window.wait_for_selector("#search-results li a")
    found = window.locator("#search-results li a").all_inner_texts()
    assert found, "nothing is found"
    window.locator("#search-results li a").first.click()
    assert "trainability" in window.inner_text("article").lower()


def test_the_page_is_light_whatever_the_system_prefers(browser, address):
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(180_000)
    page.goto(address)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    assert re.findall(r"\d+", background) == ["255", "255", "255"]


@pytest.mark.skipif("SITE" in os.environ, reason="of the small site alone")
def test_a_lesson_is_shown_as_it_was_run_and_says_when_it_was_not(site):
    first, second = (
        (site / "notebooks" / f"{name}.html").read_text() for name in ("first", "second")
    )
    assert "Six scatter plots" in first and "has not been run here" not in first
    assert "has not been run here" in second and "Six scatter plots" not in second
    assert "n = 2" not in re.sub("<[^>]+>", "", first), (
        "what papermill put in is no part of a lesson"
    )
    assert "https://github.com/someone/azlib/blob/main/azlib/aggregation.py" in first
    assert "github/someone/azlib/blob/gh-pages/colab/first.ipynb" in first
    copy = nbformat.read(site / "colab" / "first.ipynb", 4)
    nbformat.validate(copy)
    assert "git clone" in copy.cells[0].source and "someone/azlib" in copy.cells[0].source
    assert "pip install" in copy.cells[0].source


def test_fields_of_a_class_become_a_list():
    lines = ["One line.", "", "a: first", "    goes on.", "b, c: second.", "An end.", ""]
    expected = ["One line.", "", "- **a**: first", "  goes on.", "- **b, c**: second.", ""]
    assert listed(lines) == [*expected, "An end.", ""]


def test_what_a_module_indents_is_code():
    lines = ["One line.", "", "    code()", "", "    more()", "", "Text.", ""]
    assert with_code(lines) == [*lines[:2], "::", "", *lines[2:]]


def test_the_reference_has_every_public_name(site):
    text = (site / "docs" / "api.html").read_text()
    for name in azlib.__all__:
        assert f'id="azlib.{name}"' in text, name


def test_the_map_of_the_code_is_drawn_in_layers():
    page = (ROOT / "docs" / "architecture.md").read_text()
    text = drawn(page)
    assert "mermaid" not in text and text.count('class="layer"') > 5
    labels = re.findall(r'\w+\["(.*)"\]', page)
    assert labels and all(text.count(label) == 1 for label in labels)
