"""The page as a whole: one file, exact, closed to the network, and safe whatever the ids are."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser

import plotly.graph_objects as go
import pytest

from tasks.publishing.report import render_report
from tasks.publishing.report_data import ReportData

Make = Callable[..., ReportData]


class Page(HTMLParser):
    """Tags, ids, links and the text of scripts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.scripts: dict[str, str] = {}
        self._script = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._script = dict(attrs).get("id") or "" if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        self._script = ""

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = data
        else:
            self.text.append(data)

    def values(self, attribute: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == attribute]


@pytest.fixture(scope="module")
def page(report_data: Make) -> Page:
    return Page(render_report(report_data()))


@pytest.fixture(scope="module")
def hostile(report_data: Make) -> Page:
    data = report_data(hostile=True, campaign="<i>c</i>", links={"<b>x</b>": "a'\"><script>.csv"}, unit="<u>M</u>")
    return Page(render_report(data))


def test_the_same_data_give_the_same_page(report_data: Make) -> None:
    assert render_report(report_data()) == render_report(report_data())


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    assert not page.values("src")
    assert not {"link", "iframe", "object", "embed", "img", "base"} & set(page.tags)
    assert all(href.startswith("#") or "://" not in href for href in page.values("href"))
    policy = next(value for value in page.values("content") if "default-src" in value)
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_ids_are_unique_and_every_plot_has_its_place(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {f"plot-{key}" for key in json.loads(page.scripts["plots"])} <= set(ids)
    assert set(json.loads(page.scripts["plates-data"])) <= set(ids)
    assert {href[1:] for href in page.values("href") if href.startswith("#")} <= set(ids)


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_every_figure_is_valid_plotly(report_data: Make, kind: str) -> None:
    specs = json.loads(Page(render_report(report_data(kind=kind))).scripts["plots"])
    assert len(specs) == 14
    for spec in specs.values():
        go.Figure(data=spec["data"], layout=spec["layout"])  # raises on an unknown or wrong property
        for trace in spec["data"]:
            assert len(trace["x"]) == len(trace["y"]) > 0


def test_hostile_text_changes_no_structure(page: Page, hostile: Page) -> None:
    assert hostile.tags == page.tags - Counter({"li": 4, "a": 4, "code": 4, "span": 4})  # four links fewer
    assert set(hostile.scripts) == {"plots", "plates-data"}
    assert not [name for _, name, _ in hostile.attributes if name.startswith("on")]


def test_hostile_text_is_shown_as_it_is(hostile: Page) -> None:
    assert "<script>alert(1)</script>" in hostile.text
    assert "<i>c</i>" in hostile.text
    names = [name for plate in json.loads(hostile.scripts["plates-data"]).values() for name in plate["names"]]
    assert "</script><img src=x onerror=alert(2)>" in names


def shown_by_plotly(spec: dict[str, object]) -> list[str]:
    """Every text of a figure that plotly reads as its subset of HTML, but for our own line breaks."""
    found: list[str] = []

    def walk(value: object, key: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, name)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, key)
        elif isinstance(value, str) and key in ("text", "name", "hovertemplate", "ticktext"):
            found.append(value.replace("<br>", "").replace("<extra>", "").replace("</extra>", ""))

    walk(spec, "")
    return found


def test_hostile_text_is_escaped_for_plotly_too(hostile: Page) -> None:
    texts = [text for spec in json.loads(hostile.scripts["plots"]).values() for text in shown_by_plotly(spec)]
    assert any("&lt;script" in text for text in texts)
    assert any("[&lt;u&gt;M&lt;/u&gt;]" in text for text in texts)
    assert not any("<" in text for text in texts)


def test_the_verdict_stands_before_everything_else(page: Page) -> None:
    words = re.sub(r"\s+", " ", " ".join(page.text))
    headline = words.index("Measure the next batch: 84.3% of the screen is guaranteed correct, 90% is needed.")
    assert headline < words.index("SOL-R03-P02") < words.index("Guaranteed correct") < words.index("look by look")


@pytest.mark.parametrize(("plates", "fmt", "library"), [(30, 384, 9000), (1, 1536, 1282), (2, 96, 1282)])
def test_many_plates_stay_light(report_data: Make, plates: int, fmt: int, library: int) -> None:
    text = render_report(report_data(plates=plates, fmt=fmt, library=library))
    assert Page(text).tags["figure"] == plates
    assert len(text) < 7_000_000
