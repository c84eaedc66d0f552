"""Ω in a campaign: chunk by chunk, only what a setting reads is computed again, and the screen rests on it."""

import json

import anndata
import numpy as np
import pytest
from pilots import computed

CHUNKS = [f"{i:05d}" for i in range(3)]
PLACED = {"omega", *(f"omega/{i}" for i in CHUNKS)}
ASSESSED = {"assess", "assess/replay/000"}
PARTS = {f"omega/parts/{i}" for i in CHUNKS}


def stored(pilot, number, node, output):
    """A JSON or array output of the newest run of a round."""
    path = pilot.folder / "campaigns/pilot" / pilot.ledger.runs(number)[-1].lock.nodes[node].outputs[output].uri
    return json.loads(path.read_text()) if path.suffix == ".json" else np.load(path)


def test_another_operator_recomputes_what_reads_it_and_no_screen(two):
    before = two.digests(1)
    two.write(batch__operator="calibrated")
    assert computed(two.round()) == PLACED | ASSESSED | {"propose"}
    after = two.digests(1)
    assert after["screen", "screen"] == before["screen", "screen"]
    assert stored(two, 1, "omega", "chosen") == {"asked": "calibrated", "operator": "calibrated", "why": ""}
    diagonal = np.concatenate([stored(two, 1, f"omega/{i}", "diagonal") for i in CHUNKS])
    variance = np.concatenate([stored(two, 1, f"omega/parts/{i}", "variance") for i in CHUNKS])
    assert variance.shape == (240, 3)
    np.testing.assert_allclose(diagonal, variance[:, 2], rtol=1e-4)


def test_a_setting_of_the_cobias_leaves_the_calibration_alone(two):
    two.write(operators__ridge=0.3)
    done = two.round()
    # Strategies see the operator along the gradients, in which Δ has no part: the batch stays.
    assert computed(done) == PLACED | PARTS | {"omega/cobias", "forecast", "screen"}
    reasons = {event.node: event.reason for event in done.computed}
    assert reasons["omega/cobias"] == "operators.ridge 1.0 → 0.3"


def test_the_published_error_is_the_calibrated_one_in_its_parts(two):
    screen = anndata.read_zarr(two.folder / "campaigns/pilot/screens/0002/screen.zarr").obs
    variance = np.concatenate([stored(two, 1, f"omega/parts/{i}", "variance") for i in CHUNKS])
    np.testing.assert_allclose(np.square(screen["epistemic"]) + np.square(screen["bias"]), variance[:, 2], rtol=1e-9)
    assert (np.square(screen["epistemic"]) <= variance[:, 0] * (1 + 1e-9)).all()
    predicted = screen["source"] == "predicted"
    np.testing.assert_allclose(screen["standard_error"][predicted], np.sqrt(variance[predicted.to_numpy(), 2]))


def test_the_report_says_what_strategies_see_and_what_it_rests_on(two):
    report = (two.folder / "campaigns/pilot/rounds/0001/runs/01/report.html").read_text()
    assert "Strategies see the gradients operator." in report
    assert "Cobias: " in report
    assert "Calibration: " in report


def test_lost_residuals_of_an_earlier_round_name_the_command_that_restores_them(two):
    from tasks.checkpoints.store import DamagedCheckpoint

    two.answer(1)
    two.round()
    two.answer(2)
    ref = two.ledger.runs(1)[-1].lock.nodes["forward"].outputs["table"]
    (two.folder / "campaigns/pilot" / ref.uri).unlink()
    with pytest.raises(DamagedCheckpoint, match=r"forward residuals of round 1 .* --round 1"):
        two.round()
    assert two.round(1).status == "unchanged"
    assert two.round(2).status == "decided"


@pytest.mark.slow
def test_the_difference_waits_for_three_rounds_and_reruns_for_nothing(make_pilot):
    pilot = make_pilot(batch__operator="difference", operators__remaining=True)
    pilot.through(2)
    said = [stored(pilot, number, "omega", "chosen") for number in range(3)]
    assert [one["operator"] for one in said] == ["reducible", "reducible", "difference"]
    assert "two earlier rounds" in said[1]["why"]
    assert (stored(pilot, 2, "omega", "eigenvalues") > 0).all()
    facts = stored(pilot, 2, "omega/difference", "facts")
    assert facts["residuals"] > 10
    assert 0 <= facts["negative_share"] <= 1
    assert stored(pilot, 2, "omega/cobias", "facts")["rounds"] == 2
    assert computed(pilot.round()) == set()
