"""The hybrid screen against its definition: order, measured rows, standard errors, intervals, refusals, round trip."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from tasks.campaigns.config import ReadoutSection
from tasks.errors import NumericalError, UserError
from tasks.publishing.formats import screen_table
from tasks.publishing.plain import plain_mapping
from tasks.publishing.screen import SCREEN_COLUMNS, build_screen, published_parts

CONTINUOUS = ReadoutSection(kind="continuous", unit="log mol/L", tolerance=0.5)
BINARY = ReadoutSection(kind="binary", threshold=0.0)
IDS = ["c", "a", "=2+2", "b", "é"]


def library(**columns: list[object]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=pd.Index(IDS, name="id"))


def predictions(**columns: object) -> pd.DataFrame:
    base = {"mean": [0.1, 0.2, 0.3, 0.4, 0.5], "epistemic_sd": 0.3, "bias_sd": 0.4, "aleatoric_sd": 0.2}
    return pd.DataFrame(base | columns, index=IDS)


def labels(**columns: object) -> pd.DataFrame:
    base = {
        "perturbation": ["a", "b"],
        "value": [1.5, 0.6],
        "n": [2, 1],
        "variance": [0.02, 0.04],
        "plates": ["P1;P2", "P1"],
        "round": [0, 2],
        "audit": [True, True],
    }
    return pd.DataFrame(base | columns)


def screen(
    lib: pd.DataFrame | None = None,
    guess: pd.DataFrame | None = None,
    known: pd.DataFrame | None = None,
    readout: ReadoutSection = CONTINUOUS,
) -> ad.AnnData:
    return build_screen(
        library() if lib is None else lib,
        predictions() if guess is None else guess,
        labels() if known is None else known,
        readout,
        {"stop": True, "bound": np.float64(0.91), "estimate": None, "look": np.int64(3)},
        {"inputs": {"library": "sha256:1"}, "round": 2},
    )


def test_rows_stand_in_library_order_and_say_where_they_come_from() -> None:
    obs = screen().obs
    assert list(obs.index) == IDS
    assert list(obs["source"]) == ["predicted", "measured", "predicted", "measured", "predicted"]
    assert obs["value"].tolist() == [0.1, 1.5, 0.3, 0.6, 0.5]
    assert obs["round"].tolist() == [-1, 0, -1, 2, -1]
    assert obs["n"].tolist() == [0, 2, 0, 1, 0]
    assert obs["plates"].tolist() == ["", "P1;P2", "", "P1", ""]


def test_matrix_is_the_value_and_var_says_its_unit() -> None:
    result = screen()
    np.testing.assert_array_equal(result.X[:, 0], result.obs["value"])
    assert result.var.loc["readout", "unit"] == "log mol/L"


def test_standard_error_is_noise_where_measured_and_model_error_where_predicted() -> None:
    obs = screen(known=labels(shared_variance=[0.005, 0.0])).obs
    expected = [0.5, np.sqrt(0.025), 0.5, 0.2, 0.5]  # hypot(0.3, 0.4) = 0.5; noise of a measurement is not in it
    np.testing.assert_allclose(obs["standard_error"], expected)


def test_interval_covers_ninety_percent_of_a_normal_error() -> None:
    obs = screen().obs
    for end, level in (("lower", 0.05), ("upper", 0.95)):
        np.testing.assert_allclose(obs[end], norm.ppf(level, obs["value"], obs["standard_error"]))


def test_predicted_is_kept_where_there_is_a_measurement() -> None:
    obs = screen().obs
    assert obs["predicted"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert np.isnan(obs["measured"].to_numpy()).tolist() == [True, False, True, False, True]


def test_correct_is_judged_on_hidden_audit_members_alone() -> None:
    obs = screen(known=labels(audit=[True, False])).obs
    assert obs["correct"].isna().tolist() == [True, False, True, True, True]
    assert not obs.loc["a", "correct"]  # 1.5 against 0.2 with a tolerance of 0.5
    assert screen().obs.loc["b", "correct"]  # 0.6 against 0.4


def test_binary_interval_holds_both_classes_when_noise_may_have_flipped_the_class() -> None:
    obs = screen(known=labels(value=[1.0, 0.0], variance=[0.05 * 0.95, 0.2 * 0.8]), readout=BINARY).obs
    assert obs.loc["a", ["lower", "upper"]].tolist() == [1.0, 1.0]
    assert obs.loc["b", ["lower", "upper"]].tolist() == [0.0, 1.0]
    assert obs[["lower", "upper"]].to_numpy().min() >= 0
    assert obs[["lower", "upper"]].to_numpy().max() <= 1


@settings(max_examples=30, deadline=None)
@given(rows=st.permutations(range(5)), known=st.permutations(range(2)))
def test_order_of_the_inputs_does_not_matter(rows: list[int], known: list[int]) -> None:
    shuffled = screen(guess=predictions().iloc[rows], known=labels().iloc[known])
    pd.testing.assert_frame_equal(shuffled.obs, screen().obs)


def test_annotation_is_kept_and_a_column_with_our_name_is_renamed() -> None:
    obs = screen(lib=library(smiles=list("CNOPS"), value=[1, 2, 3, 4, 5])).obs
    assert list(obs.columns) == [*SCREEN_COLUMNS, "smiles", "library_value"]
    assert obs["library_value"].tolist() == [1, 2, 3, 4, 5]


def test_a_rename_that_would_collide_is_refused() -> None:
    with pytest.raises(UserError, match="both 'value' and 'library_value'"):
        screen(lib=library(value=[0] * 5, library_value=[0] * 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lib": pd.DataFrame(index=["a", "a", "b", "c", "é"])}, "library: a perturbation appears twice; got 'a'"),
        ({"guess": predictions().iloc[:4]}, "1 perturbations have no prediction; got none for 'é'"),
        (
            {"guess": predictions().rename(index={"b": "x"})},
            "predictions: a perturbation is not in the library; got 'x'",
        ),
        ({"known": labels(perturbation=["a", "a"])}, "labels: a perturbation appears twice"),
        ({"known": labels(perturbation=["a", "zz"])}, "labels: a perturbation is not in the library; got 'zz'"),
        ({"known": labels().drop(columns="round")}, "labels lacks round"),
        ({"guess": predictions().drop(columns="bias_sd")}, "predictions lacks bias_sd"),
    ],
)
def test_ids_that_do_not_agree_are_refused(change: dict[str, pd.DataFrame], message: str) -> None:
    with pytest.raises(UserError, match=message):
        screen(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"guess": predictions(mean=[0.1, np.nan, 0.3, 0.4, 0.5])},
        {"guess": predictions(bias_sd=-0.1)},
        {"known": labels(value=[np.inf, 0.0])},
        {"known": labels(variance=[-0.1, 0.0])},
    ],
)
def test_numbers_that_cannot_be_used_are_refused(change: dict[str, pd.DataFrame]) -> None:
    with pytest.raises(NumericalError, match="no usable number"):
        screen(**change)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("readout", [CONTINUOUS, BINARY])
def test_file_round_trip_changes_nothing(tmp_path: Path, suffix: str, readout: ReadoutSection) -> None:
    known = labels(value=[1.0, 0.0]) if readout.kind == "binary" else labels()
    before = screen(lib=library(smiles=list("CNOPS")), known=known, readout=readout)
    path = tmp_path / f"screen.{suffix}"
    if suffix == "h5ad":
        before.write_h5ad(path)
        after = ad.read_h5ad(path)
    else:
        before.write_zarr(path)
        after = ad.read_zarr(path)
    pd.testing.assert_frame_equal(after.obs.astype(object), before.obs.astype(object), check_index_type=False)
    assert after.uns["certificate"]["look"] == 3
    assert after.uns["provenance"]["inputs"]["library"] == "sha256:1"
    assert "estimate" not in after.uns["certificate"]


def test_table_cannot_run_a_formula_and_keeps_numbers() -> None:
    lib = library(note=["-1+1", "@cmd", "\tx", "fi\r\nn\re", "+7"])
    lib["=head"] = 1.0
    table = screen_table(screen(lib=lib, guess=predictions(mean=[-0.1, 0.2, 0.3, 0.4, 0.5])))
    assert table["perturbation"].tolist() == ["c", "a", "'=2+2", "b", "é"]
    assert table["note"].tolist() == ["'-1+1", "'@cmd", "'\tx", "fi\nn\ne", "'+7"]
    assert "'=head" in table.columns
    assert table["value"].iloc[0] == -0.1
    assert table["source"].tolist()[:2] == ["predicted", "measured"]


@pytest.mark.parametrize("value", [[1, 2], object(), {"a": (1,)}])
def test_uns_refuses_what_a_file_could_not_hold(value: object) -> None:
    with pytest.raises(TypeError, match=r"certificate\.x"):
        plain_mapping({"x": value}, "certificate")


def test_uns_refuses_a_key_with_a_slash() -> None:
    with pytest.raises(TypeError, match="slash"):
        plain_mapping({"rounds/0001": 1}, "provenance")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 10)] * 3), min_size=1, max_size=5), st.sampled_from(["continuous", "binary"]))
def test_parts_of_a_prediction_add_up_to_the_error_that_residuals_show(
    rows: list[tuple[float, ...]], kind: str
) -> None:
    variance = np.array(rows)
    parts = published_parts(variance, kind)
    assert (parts >= 0).all()
    if kind == "binary":
        np.testing.assert_array_equal(parts, variance[:, :2])
    else:
        np.testing.assert_allclose(parts.sum(axis=1), variance[:, 2], atol=1e-12)
        assert (parts[:, 0] <= variance[:, 0]).all()
    np.testing.assert_array_equal(published_parts(variance[:, :2], kind), variance[:, :2])
