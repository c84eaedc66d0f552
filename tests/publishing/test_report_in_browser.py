"""The report in Chromium: names that are code are shown and never run, and nothing is asked of anybody."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from tasks.publishing.report import render_report

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """Open a report; the page, and what happened on it that must not: dialogs, errors, requests."""

    def open_report(text):
        path = tmp_path / "report.html"
        path.write_text(text, encoding="utf-8")
        page, events = chromium.new_page(viewport={"width": 1280, "height": 900}), []
        page.on("dialog", lambda dialog: (events.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("pageerror", lambda error: events.append(f"error {error}"))
        page.on("console", lambda said: events.append(f"console {said.text}") if said.type == "error" else None)
        page.on("request", lambda request: events.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length > 0")
        return page, events

    return open_report


def look_at_everything(page):
    """Scroll through the page so that every figure is drawn, open what is folded, and point at some marks."""
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.evaluate("for (let y = 0; y < document.body.scrollHeight; y += 400) window.scrollTo(0, y)")
    for mark in page.locator("figure canvas, figure svg, .js-plotly-plot").all()[:12]:
        mark.scroll_into_view_if_needed()
        box = mark.bounding_box()
        for share in (0.1, 0.3, 0.5, 0.7):
            page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
            page.wait_for_timeout(50)


def test_names_that_are_code_are_never_run(opened, report_data):
    data = report_data(hostile=True, campaign="<img src=x onerror=alert(3)>", unit="<svg onload=alert(4)>")
    page, events = opened(render_report(data))
    look_at_everything(page)
    assert "<script>alert(1)</script>" in page.inner_text("body")
    assert page.locator("img, iframe, object").count() == 0
    assert events == []


def test_the_check_notices_what_runs_and_asks(opened, report_data):
    text = render_report(report_data())
    page, events = opened(
        text.replace("<body", '<body data-x="" onload="alert(5)"', 1).replace("default-src 'none'", "default-src *")
    )
    page.wait_for_timeout(200)
    page.evaluate("new Image().src = 'http://127.0.0.1:9/x.png'")
    page.wait_for_timeout(200)
    assert "dialog 5" in events
    assert any("127.0.0.1:9" in event for event in events)
