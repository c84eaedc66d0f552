"""The page on plate quality: what is packed, what must not be, and what it says."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.campaigns.config import QualitySection
from tasks.errors import UserError
from tasks.publishing.quality_page import QualityPageData, render_quality_page
from tasks.publishing.quality_strip import TOP, draw_strip
from tasks.publishing.quality_wells import pack, values_of
from tasks.readouts.quality import assess_plate, judge_gaps
from tasks.readouts.wells import plate_shape, position_to_well


class Page(HTMLParser):
    """Tags, attributes, text and scripts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._script = dict(attrs).get("id") or "" if tag == "script" else None

    def handle_endtag(self, tag: str) -> None:
        self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += data
        else:
            self.scripts[self._script] = data

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]

    @property
    def payload(self) -> dict[str, Any]:
        return json.loads(self.scripts["wells"])


def make_plates(count: int = 4, fmt: int = 96, seed: int = 0, bad: int | None = 1) -> pd.DataFrame:
    """Plates with a column of each control, offsets of their own, and one whose controls overlap."""
    height, width = plate_shape(fmt)
    rng = np.random.default_rng(seed)
    row, column = (axis.ravel() for axis in np.indices((height, width)))
    role = np.select([column == 0, column == 1, column == width - 1], ["negcon", "poscon", "empty"], "sample")
    tables = []
    for plate in range(count):
        value = np.where(role == "poscon", 10.0, 0.0) * (plate != bad) + rng.standard_normal(len(role)) * 0.5
        offset = 100.0 * plate
        tables.append(
            pd.DataFrame(
                {
                    "barcode": f"B{plate}",
                    "attempt": 1,
                    "run": f"R{plate // 2}",
                    "well": [position_to_well(int(r), int(c), fmt) for r, c in zip(row, column, strict=True)],
                    "row": row,
                    "column": column,
                    "role": role,
                    "perturbation": np.where(role == "sample", [f"X{plate}-{i}" for i in range(len(role))], ""),
                    "replicate": 1,
                    "value": value + offset,
                    "aligned": np.nan if plate == bad else value,
                }
            )
        )
    wells = pd.concat(tables, ignore_index=True)
    return wells[wells["role"] != "empty"].reset_index(drop=True)


def make_data(wells: pd.DataFrame | None = None, **more: Any) -> QualityPageData:
    wells = make_plates() if wells is None else wells
    if "qualities" not in more:
        judged = [assess_plate(plate, QualitySection(), fmt=96) for _, plate in wells.groupby("barcode", sort=False)]
        more["qualities"] = [quality.model_dump(mode="json") for quality in judge_gaps(judged, None)]
    base: dict[str, Any] = {
        "title": "screen",
        "run": "Round 1 · run 1",
        "unit": "sd",
        "transform": "luminescence",
        "fmt": 96,
        "wells": wells,
    }
    return QualityPageData(**(base | more))


def unpack(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_quality_page(make_data()))


# --- the page is closed, exact and safe ---


def test_the_same_data_give_the_same_page_whatever_the_order_of_rows():
    wells = make_plates()
    data = make_data(wells)
    shuffled = make_data(wells.sample(frac=1.0, random_state=0), qualities=list(reversed(data.qualities)))
    assert render_quality_page(shuffled) == render_quality_page(data)


def test_nothing_is_loaded_from_elsewhere(page: Page):
    assert not page.values("src")
    assert not {"link", "iframe", "object", "embed", "img", "base"} & set(page.tags)
    assert all(href.startswith("#") for href in page.values("href"))
    policy = next(value for value in page.values("content") if "default-src" in value)
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_ids_are_unique_and_links_lead_somewhere(page: Page):
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.values("href")} <= set(ids)
    assert {plate["key"] for plate in page.payload["plates"]} == set(page.values("data-key"))


def test_hostile_names_are_text(page: Page):
    wells = make_plates().replace({"barcode": {"B0": "</script><img src=x onerror=alert(1)>"}})
    wells.loc[5, "perturbation"] = "</script><script>alert(2)</script>"
    states = {"B2.1": ("<b>odd</b>", "<i>note</i>")}
    hostile = Page(
        render_quality_page(make_data(wells, title="<u>t</u>", unit="<u>", notes=("<s>n</s>",), states=states))
    )
    assert not {"img", "u", "b", "i", "s"} & (set(hostile.tags) - set(page.tags) - {"i"})
    assert hostile.tags.count("script") == page.tags.count("script")
    assert "<b>odd</b>" in hostile.text
    assert any("onerror" in plate["key"] for plate in hostile.payload["plates"])


# --- what it says ---


def test_failed_plates_come_first_and_remarks_are_short(page: Page):
    assert "3 of 4 plate attempts passed; failed: B1." in page.text
    rows = page.text.split("Plates that failed come first.")[1]
    assert rows.index("B1") < rows.index("B0") < rows.index("B2")
    remark = re.search(r"Z′: [^;]*;", rows).group()
    assert re.fullmatch(r"Z′: -?[\d.]+ is below 0\.3;", remark)


def test_intervals_stand_in_brackets(page: Page):
    assert re.search(r"0\.\d\d \[0\.\d\d, 0\.\d\d\]", page.text)


def test_states_and_notes_are_taken_as_given():
    states = {"B1.1": ("waived", "looked at by hand (twice)")}
    text = Page(render_quality_page(make_data(states=states, notes=("Aligned by hand.",)))).text
    assert "4 of 4 plate attempts passed." in text
    assert "Looked at by hand (twice)." in text
    assert "Aligned by hand." in text


def test_plates_that_were_refused_or_never_came_are_named():
    states = {"B0.1": ("refused", "two files"), "B2.1": ("missing", "no file holds it")}
    text = Page(render_quality_page(make_data(states=states))).text
    assert "1 of 4 plate attempts passed; failed: B1; refused: B0; missing: B2." in text
    rows = text.split("Plates that failed come first.")[1]
    assert rows.index("B1") < rows.index("B0") < rows.index("B2") < rows.index("B3")


def test_one_control_of_each_kind_is_explained_once():
    wells = make_plates(bad=None)
    controls = wells["role"].isin(["negcon", "poscon"])
    wells = wells[~controls | (wells["row"] == 0)].reset_index(drop=True)
    judged = [assess_plate(plate, QualitySection(), min_controls=1) for _, plate in wells.groupby("barcode")]
    text = Page(render_quality_page(make_data(wells, qualities=[q.model_dump(mode="json") for q in judged]))).text
    assert "No Z′ and SSMD on any plate: 1 negcon well on the plate map is too few" in text
    assert "Level error on every plate: 1 negcon well tells the plate's level to ± 1.00 of one well's noise" in text


def test_nothing_received_is_a_page_too():
    data = make_data(make_plates().iloc[:0], qualities=[])
    empty = Page(render_quality_page(data))
    assert "No plate has been received yet." in empty.text
    assert empty.payload["plates"] == []


def test_a_plate_without_wells_is_in_the_table_without_a_picture():
    data = make_data()
    refused = dict(data.qualities[0]) | {"barcode": "B9"}
    shown = Page(render_quality_page(make_data(qualities=[*data.qualities, refused])))
    assert "B9" in shown.text
    assert "1 of 5 plate attempts are in the tables only" in shown.text
    assert "B9.1" not in shown.values("data-key")


def test_only_so_many_plates_are_drawn_failed_ones_first():
    wells = make_plates()
    page = Page(render_quality_page(make_data(wells, most_wells=2 * len(wells) // 4)))
    assert {plate["key"] for plate in page.payload["plates"]} == {"B0.1", "B1.1"}
    assert "2 of 4 plate attempts are in the tables only" in page.text
    assert all(f"B{plate}" in page.text for plate in range(4))


@pytest.mark.parametrize("column", ["value", "role", "run"])
def test_a_missing_column_is_named(column):
    with pytest.raises(UserError, match=column):
        make_data(qualities=[], wells=make_plates().drop(columns=column))


def test_a_well_outside_the_plate_is_named():
    with pytest.raises(UserError, match="outside the plate format"):
        make_data(make_plates(fmt=384), qualities=[])


# --- what is packed ---


def test_values_come_back_where_they_were(page: Page):
    wells = make_plates()
    payload = page.payload
    assert (payload["rows"], payload["columns"]) == (8, 12)
    for plate in payload["plates"]:
        mine = wells[wells["barcode"] == plate["key"][:-2]]
        grid = unpack(plate["raw"][0]).reshape(8, 12)
        np.testing.assert_allclose(grid[mine["row"], mine["column"]], mine["value"], rtol=1e-6)
        assert np.isnan(grid[:, 11]).all()
        assert payload["layouts"][plate["layout"]] == "npsssssssss." * 8
        assert payload["names"][plate["names"]][2] == mine["perturbation"].iloc[2]
        assert ("aligned" in plate) == (plate["key"] != "B1.1")


def test_medians_of_rows_columns_and_positions():
    wells = make_plates(bad=None)
    places = wells["barcode"].str[1:].astype(int).to_numpy()
    found = values_of(wells, "value", places, 4, 96, frozenset())
    samples = wells[wells["role"] == "sample"].copy()
    samples["gap"] = samples["value"] - samples.groupby("barcode")["value"].transform("median")
    by_row = samples.groupby(["barcode", "row"])["gap"].median().unstack().to_numpy()
    by_column = samples.groupby(["barcode", "column"])["gap"].median().unstack().to_numpy()
    np.testing.assert_allclose(found.rows, by_row)
    np.testing.assert_allclose(found.columns[:, 2:11], by_column)
    assert np.isnan(found.columns[:, [0, 1, 11]]).all()
    typical = samples.groupby(["row", "column"])["gap"].median().unstack().to_numpy()
    np.testing.assert_allclose(found.typical[:, 2:11], typical)
    assert np.isnan(values_of(wells[places < 2], "value", places[places < 2], 2, 96, frozenset()).typical).all()


def test_one_scale_for_all_plates_ends_at_the_quantiles():
    wells = make_plates()
    wells.loc[3, "value"] = 1e9
    places = wells["barcode"].str[1:].astype(int).to_numpy()
    scale = values_of(wells, "value", places, 4, 96, frozenset()).scale
    low, high = np.quantile(wells["value"], [0.01, 0.99])
    assert (scale.low, scale.high) == (low, high)
    assert scale.beyond == ((wells["value"] < low) | (wells["value"] > high)).sum()
    equal = values_of(wells.assign(value=5.0), "value", places, 4, 96, frozenset()).scale
    assert equal.low < 5.0 <= equal.high
    assert values_of(wells.assign(value=np.nan), "value", places, 4, 96, frozenset()).scale is None


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1.7e308, -1.7e308])
def test_numbers_too_large_for_the_page_do_not_break_it(value):
    assert np.isfinite(unpack(pack(np.array([value])))).all()
    wells = make_plates()
    wells.loc[30, "value"] = value
    assert Page(render_quality_page(make_data(wells, qualities=[]))).payload["plates"]


def test_hidden_audit_wells_are_not_in_the_file():
    wells = make_plates(bad=None)
    blank = frozenset(wells.loc[wells["role"] == "sample", "perturbation"].iloc[::7])
    hidden = wells["perturbation"].isin(blank)
    secret = wells.assign(value=wells["value"].where(~hidden, 7e7), aligned=wells["aligned"].where(~hidden, -7e7))
    judged = make_data(wells).qualities
    pages = [render_quality_page(make_data(table, blank=blank, qualities=judged)) for table in (wells, secret)]
    assert pages[0] == pages[1]
    page = Page(pages[0])
    assert "Readouts of hidden audit wells are not in this page" in page.text
    for plate in page.payload["plates"]:
        letters = np.array(list(page.payload["layouts"][plate["layout"]]))
        mine = hidden[wells["barcode"] == plate["key"][:-2]]
        assert (letters == "h").sum() == mine.sum() > 0
        for kind in ("raw", "aligned"):
            assert np.isnan(unpack(plate[kind][0])[letters == "h"]).all()
    assert "hidden audit" not in Page(render_quality_page(make_data(wells))).text.split("Plate by plate")[0]


def test_a_page_of_many_plates_stays_small():
    wells = make_plates(24, fmt=384, bad=None)
    size = len(render_quality_page(make_data(wells, fmt=384)).encode())
    assert size < 24 * 384 * 40 + 24 * 8_000 + 60_000


# --- controls ---


def test_dots_stand_at_their_values_and_failed_controls_are_in_the_frame():
    wells = make_plates(bad=None)
    wells.loc[(wells["barcode"] == "B2") & (wells["role"] == "poscon"), "aligned"] = 0.0
    places = wells["barcode"].str[1:].astype(int).to_numpy()
    names = [f"B{i}" for i in range(4)]
    strip = draw_strip(wells, "aligned", places, names, ["R0", "R0", "R1", "R1"], [False, False, True, False], "t", "u")
    assert strip.beyond == 0
    assert len(strip.failed) == 1
    assert [name for _, name in strip.runs] == ["R0", "R1"]
    heights = [float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)h0", strip.dots["poscon"])]
    assert len(heights) == 32
    assert sum(height > TOP + 100 for height in heights) == 8
    numbers = [float(text.replace("−", "-")) for _, text in strip.ticks]
    assert len(numbers) >= 3
    assert np.polyfit(numbers, [y for y, _ in strip.ticks], 1)[0] < 0
    assert "poscon 0 u (median of 8)" in strip.titles[2][2]


def test_a_far_outlier_stands_at_the_rim_and_is_counted():
    wells = make_plates(bad=None)
    wells.loc[wells.index[wells["role"] == "negcon"][0], "aligned"] = 1e9
    places = wells["barcode"].str[1:].astype(int).to_numpy()
    strip = draw_strip(wells, "aligned", places, list("abcd"), ["R"] * 4, [False] * 4, "t", "")
    assert strip.beyond == 1
    assert f" {TOP:.1f}h0" in strip.dots["negcon"]


def test_without_controls_there_is_no_strip():
    wells = make_plates()
    samples = wells[wells["role"] == "sample"]
    places = samples["barcode"].str[1:].astype(int).to_numpy()
    assert draw_strip(samples, "value", places, list("abcd"), ["R"] * 4, [False] * 4, "t", "") is None
    assert "Control wells" not in Page(render_quality_page(make_data(samples, qualities=[]))).text
