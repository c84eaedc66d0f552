"""What a run publishes of calibration and of training: the same as its checkpoints hold."""

import json

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow


def published(pilot, number):
    """Calibration of a round by (round, group), its report, and the nodes of its lock."""
    run = pilot.ledger.runs(number)[-1]
    found = json.loads(pilot.ledger.storage.read(f"{run.folder}/calibration.json"))
    groups = {(one["round"], one["group"]): one["calibration"] for one in found["groups"]}
    return groups, pilot.ledger.storage.read(f"{run.folder}/report.html").decode(), run.lock.nodes


def test_calibration_is_that_of_the_forward_residuals(two):
    first, _, _ = published(two, 0)
    assert set(first) == {(0, "screen")}
    groups, report, nodes = published(two, 1)
    assert set(groups) == {(1, "random"), (1, "strategy"), (1, "screen")}
    folder = two.folder / "campaigns/pilot"
    tables = [pd.read_parquet(folder / nodes[name].outputs["table"].uri) for name in ("forward", "forward/audit")]
    table = pd.concat(tables)
    for group, mine in (("strategy", table["arm"] == "strategy"), ("random", table["arm"].isin(["random", "audit"]))):
        rows = table[mine]
        residual = np.abs(rows["measured"] - rows["predicted"])
        inside = residual <= 1.6448536 * rows["sd"]
        assert groups[1, group]["n"] == len(rows) > 0
        assert np.isclose(groups[1, group]["metrics"]["coverage_90"]["value"], inside.mean())
        assert np.isclose(groups[1, group]["metrics"]["mae"]["value"], residual.mean())
    assert 'href="calibration.json"' in report


def test_the_report_shows_what_was_decided_and_what_it_cost(two):
    _, report, nodes = published(two, 1)
    folder = two.folder / "campaigns/pilot"
    decision = json.loads((folder / nodes["decide"].outputs["decision"].uri).read_text())
    plots = json.loads(report.split('id="plots">', 1)[1].split("</script>", 1)[0])
    bars = plots["risk"]["data"][0]
    assert np.isclose(bars["y"][-1], decision["risk_spent"], rtol=1e-5)
    lines = {trace["name"]: trace["y"] for trace in plots["spectrum"]["data"]}
    noise = np.array(lines["Ω with noise"]) - lines["along gradients"]  # the operator that strategies see
    assert {"members Σ_F", "cobias Δ"} <= set(lines)
    assert (noise > 0).all()
    assert noise.max() <= lines["noise Σ_Y"][0] * (1 + 1e-4)
    table = report.split('id="card-rules"', 1)[1].split("</article>", 1)[0]
    for name in decision["rules"]:
        assert f">{name}<" in table
    files = {path.name for path in (folder / "rounds/0001/runs/01").iterdir()}
    assert {"round.lock.json", "decision.json", "quality.html"} <= files
    for name in ("round.lock.json", "decision.json", "quality.html"):
        assert f'href="{name}"' in report


def test_the_report_shows_every_group_of_members_and_where_it_ran(two):
    _, report, nodes = published(two, 1)
    fits = [name for name in nodes if name.startswith("fit/")]
    assert fits
    plots = json.loads(report.split('id="plots">', 1)[1].split("</script>", 1)[0])
    facts = json.loads((two.folder / "campaigns/pilot" / nodes["ensemble"].outputs["facts"].uri).read_text())
    *lines, dots = plots["losses"]["data"]
    assert len(lines) == facts["members"] == len(dots["x"])
    assert [epoch - 1 for epoch in dots["x"]] == facts["best_epoch"]
    card = report.split('id="card-work"', 1)[1].split("</article>", 1)[0]
    for name in fits:
        assert f"{name}, members " in card
    assert "reference/" not in card
    pieces = [name for name in nodes if name == "ensemble" or name.startswith(("fit/", "predict/"))]
    assert f"{len(pieces)} of {len(pieces)} pieces computed in this run." in card


def test_classes_are_judged_as_classes(make_pilot):
    pilot = make_pilot(readout__kind="binary", readout__threshold=0.0, stopping__gamma=0.9)
    pilot.through(1)
    groups, _, _ = published(pilot, 1)
    assert {name: one["kind"] for name, one in groups.items()} == {
        (1, "random"): "binary",
        (1, "strategy"): "binary",
        (1, "screen"): "binary",
    }
    assert 0.5 < groups[1, "screen"]["metrics"]["accuracy"]["value"] <= 1
