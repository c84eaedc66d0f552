"""The card says no more than the screen, and its five lines of Python run."""

import re

import pytest
from published import screen

from tasks.publishing.card import render_card
from tasks.publishing.formats import screen_files


def five_lines(card):
    return [line[4:] for line in card.split("## How to read it", 1)[1].splitlines() if line.startswith("    ")]


def test_a_bound_never_reads_higher_than_it_is():
    card = render_card(screen(certificate={"bound": 0.91299}))
    assert "**Certified: at least 91.2% of the values are correct; the target was 90%.**" in card
    assert "91.3%" not in card


def test_without_a_certificate_it_claims_none():
    card = render_card(screen(certificate={"certified": False, "bound": 0.7501, "estimate": None}))
    assert "Not certified: the target of 90% is not shown to be reached. At least 75.0%" in card
    assert "Certified:" not in card.replace("The decision**: Certified:", "")
    assert "plain estimate" not in card


def test_numbers_are_those_of_the_screen():
    made = screen(rows=41)
    card, obs = render_card(made), made.obs
    assert "41 perturbations: 13 measured (31.7%), 28 predicted." in card
    hidden = obs[obs["audit"]]
    assert f"{int(hidden['correct'].sum())} of 4 predicted correctly" in card
    for flag in ("failed", "waived", "abandoned", "vetoed", "outlier"):
        count = int(obs["flags"].str.split(";").map(lambda given, flag=flag: flag in given).sum())
        assert (f"- `{flag}`: {count} row" in card) == (count > 0)
    assert "model: mlp" in card
    assert "alignment: two-point" in card
    assert "numpy 2.0" in card
    assert "sample wells measured: 24, repeated and failed plates included; a full screen takes 80" in card


def test_what_a_value_is_depends_on_the_readout():
    assert "the aligned readout in log units" in render_card(screen())
    assert "predicted within 0.5 log units" in render_card(screen())
    binary = render_card(screen("binary"))
    assert "class 1 is an aligned readout above 30 %" in binary
    assert "predicted to be of the class" in binary
    assert "root mean square" not in binary


def test_rules_that_are_only_shown_stand_apart_with_what_they_rest_on():
    rules = {
        "audit": {"bound": 0.91277, "assumption": "random"},
        "lemma": {"bound": 0.97, "assumption": "conditional on calibration"},
        "plateau": {"bound": None, "assumption": "none"},
    }
    card = render_card(screen(certificate={"certificate": "audit", "rules": rules}))
    assert "not what the certificate says" in card
    assert "- `lemma`: at least 97.0%, if this holds: Conditional on calibration." in card
    assert "`audit`: at least" not in card
    assert "plateau" not in card


def test_text_of_a_person_is_no_markdown():
    card = render_card(screen(certificate={"assumption": "a <b>*bold*</b>\n# title `x`"}))
    assert r"A \<b\>\*bold\*\</b\> \# title \`x\`." in card


def test_without_hidden_members_it_says_that_nothing_is_tested():
    assert "nothing here tests the model" in render_card(screen(audit=False))


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_the_five_lines_draw_every_hidden_member(kind, tmp_path, monkeypatch):
    made = screen(kind)
    for name, data in screen_files(made).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    monkeypatch.chdir(tmp_path)
    *lines, last = five_lines((tmp_path / "card.md").read_text())
    assert len(lines) == 4
    space = {}
    exec("\n".join(lines), space)
    (drawn,) = eval(last, space).data
    hidden = made.obs[made.obs["audit"]]
    assert drawn.x.tolist() == hidden["measured"].tolist()
    assert drawn.y.tolist() == hidden["predicted"].tolist()


def test_every_line_is_filled_in():
    for kind in ("continuous", "binary"):
        assert not re.search(r"\bnan\b|None|\{|\}|–", render_card(screen(kind)))
