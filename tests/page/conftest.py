"""A headless Chromium, and pages in it that may neither ask for anything nor complain."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

OPTIONS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
BROWSERS = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Chromium of the system; None for the one that playwright may have installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, which draws WebGL in software: that of the system, or the one that playwright installed.

    It lives no longer than the tests of a file: playwright's driver ends when its input is closed, and a process that
    another test forks meanwhile holds that input open.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        try:
            browser = engine.chromium.launch(executable_path=find_browser(), args=OPTIONS)
        except playwright.Error as error:
            pytest.skip(f"no Chromium, which 'bash .ci/browser' gets: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, tmp_path: Path) -> Iterator[Callable]:
    """Open the text of a page; at the end of the test there must be no error and no request but that for the page."""
    opened, complaints = [], []

    def open_text(text: str):
        path = tmp_path / f"page{len(opened)}.html"
        path.write_text(text, encoding="utf-8")
        page = browser.new_page(viewport={"width": 840, "height": 560})
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: None if request.url == path.as_uri() else complaints.append(request.url))
        page.goto(path.as_uri())
        opened.append(page)
        return page

    yield open_text
    for page in opened:
        page.close()
    assert complaints == []
