"""Is active selection worth it: asked in every round, of the training labels, told by `assess`, and acted on."""

import json

import numpy as np
import pandas as pd
from pilots import computed

from flows.assessing import assess_campaign, assessment_lines
from tasks.assessing.caution import REASON


def test_a_round_tells_and_an_earlier_share_moves_the_next_batch(two):
    folder = two.folder / "campaigns/pilot"
    found = assess_campaign(two.config)
    told = found.assessment
    assert (told.source, told.round, told.library) == ("campaign", 1, 240)
    assert told.labels == len(
        pd.read_parquet(folder / two.ledger.runs(1)[-1].lock.nodes["labels"].outputs["training"].uri)
    )
    assert len(told.pairs) == 2
    assert told.random_share == 0.0
    lines = assessment_lines(found)
    assert lines[1].startswith(f"Verdict on eigenspace-clusters: {told.verdict}.")
    report = (folder / "rounds/0001/runs/01/report.html").read_text()
    assert "Is active selection worth it?" in report
    # As if the evidence had been against the strategy one round earlier.
    path = folder / "rounds/0000/runs/01/assessment.json"
    earlier = json.loads(path.read_text())
    path.write_text(json.dumps(earlier | {"random_share": 0.5}))
    assert computed(two.round()) == {"assess", "propose"}
    run = two.ledger.runs(1)[-1]
    assert assess_campaign(two.config).assessment.random_share in (0.25, 0.5)
    batch = pd.read_parquet(folder / run.lock.nodes["propose"].outputs["batch"].uri)
    picked = batch[batch["arm"] == "strategy"]
    drawn = picked[picked["slot"] == "random"]
    share = assess_campaign(two.config).assessment.random_share
    measured = picked[picked["action"] == "measure"]
    assert np.isclose((measured["slot"] == "random").mean(), share, atol=0.02)
    assert drawn["reason"].str.contains(REASON).all()
    assert not picked[picked["slot"] != "random"]["reason"].str.contains(REASON).any()


def test_another_sketch_repeats_the_replays_and_another_gamma_does_not(two):
    two.write(stopping__gamma=0.96)
    assert not {name for name in computed(two.round()) if name.startswith("assess")}
    two.write(operators__sketch=6)
    again = computed(two.round())
    assert {"assess/replay/000", "assess"} <= again
    assert "assess/library" not in again


def test_more_repeats_are_other_replays_and_more_pieces_of_work(two):
    two.write(batch__adaptive={"repeats": 5})
    assert {f"assess/replay/00{k}" for k in range(3)} <= computed(two.round())
    assert len(assess_campaign(two.config).assessment.pairs) == 5
