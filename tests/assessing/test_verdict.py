"""From evidence to a verdict: what decides, in which order, and what each sentence says."""

import pytest

from tasks.assessing.informativeness import Spread
from tasks.assessing.pool import PoolFacts
from tasks.assessing.replay_evidence import Evidence
from tasks.assessing.verdict import LEAST_CEILING, MANY_DUPLICATES, findings_of, judge
from tasks.ensembles.estimates import Estimate

POOL = PoolFacts(1000, 1000, 0.01, 1000, 0.0)
SPREAD = Spread(0.5, 0.4, 8.0, 20)


def verdict(
    difference=(-0.05, -0.1, -0.01), agreement=(0.3, 0.2, 0.4), signal=(0.5, 0.4, 0.6), ceiling=(0.8, 0.7, 0.9)
):
    evidence = Evidence(
        pairs=(), difference=Estimate(*difference), model=Estimate(-0.02, -0.06, 0.02),
            agreement=Estimate(*agreement), uncertainty=Estimate(0.2, 0.1, 0.3),
        coverage=Estimate(0.9, 0.87, 0.93), signal=Estimate(*signal), labels=200,
    )  # fmt: skip
    findings = findings_of(evidence, "", Estimate(*ceiling), SPREAD, POOL, "eigenmodes", classes=False)
    return judge(findings)


@pytest.mark.parametrize(
    ("difference", "agreement", "advice"),
    [
        ((-0.05, -0.1, -0.01), (0.0, -0.1, 0.05), "active"),  # the replay decides where it can tell
        ((0.05, 0.01, 0.1), (0.5, 0.4, 0.6), "random"),
        ((-0.02, -0.1, 0.06), (0.3, 0.2, 0.4), "active"),  # else two weaker signs that agree
        ((-0.02, -0.1, 0.06), (0.1, 0.0, 0.2), "random"),
        ((0.01, -0.1, 0.12), (0.3, 0.2, 0.4), "random"),
    ],
)
def test_the_replay_decides_where_it_can_tell(difference, agreement, advice):
    assert verdict(difference, agreement)[0] == advice


def test_no_order_of_measuring_mends_an_assay():
    found, why = verdict(ceiling=(0.02, 0.0, LEAST_CEILING - 0.01))
    assert found == "fix the assay first"
    assert "replicates" in why
    found, why = verdict(signal=(0.01, -0.02, 0.04))
    assert found == "fix the assay first"
    assert "not shown to beat the mean: R² 0.010 [−0.020, 0.040]" in why


def test_an_unknown_ceiling_is_no_reason_to_mend():
    findings = findings_of(None, "Not known: 12 labels.", Estimate(None, why="no replicates"), None, POOL, "x", False)
    found, why = judge(findings)
    assert found == "random"
    assert "12 labels" in why
    assert {one.name for one in findings} >= {"signal", "noise ceiling", "replay", "library"}


def test_the_reason_names_the_numbers():
    assert verdict()[1] == (
        "eigenmodes wins among the labels at hand: log RMSE of the hybrid screen −0.050 [−0.100, −0.010] against "
        "random order over 0 splits, of the model alone −0.020 [−0.060, +0.020]."
    )


def test_the_ceiling_says_how_much_of_it_is_reached():
    evidence = Evidence((), Estimate(0.0), *[Estimate(0.2, 0.1, 0.3)] * 4, signal=Estimate(0.4, 0.3, 0.5), labels=9)
    found = findings_of(evidence, "", Estimate(0.8, 0.7, 0.9), None, POOL, "x", False)[1]
    assert "the model reaches 50% of it" in found.sentence


def test_warnings_of_the_library_are_said():
    crowded = PoolFacts(10**6, 20_000, 0.2, 1000, MANY_DUPLICATES + 0.1)
    sentence = findings_of(None, "", Estimate(None, why="-"), None, crowded, "x", False)[-1].sentence
    assert "of a sample of 20,000" in sentence
    assert "outliers first" in sentence
    assert "same thing twice" in sentence
