"""Settings of the predictors: one class a model, presets, and what is told about a mistake."""

from __future__ import annotations

import pytest
import yaml

from tasks.campaigns.ensemble_settings import DropoutSettings, ForestSettings, MlpSettings
from tasks.campaigns.reading import dump_config, parse_config
from tasks.errors import UserError

CAMPAIGN = {
    "campaign": {"name": "c"},
    "library": {"uri": "library.h5ad"},
    "readout": {"tolerance": 1.0},
    "plates": {"negcon": {"wells": ["A01"]}},
}


def settings(given: dict[str, object] | None) -> object:
    content = CAMPAIGN if given is None else {**CAMPAIGN, "ensemble": given}
    return parse_config(yaml.safe_dump(content), "c.yaml").ensemble


def test_nothing_said_is_the_default_ensemble():
    assert settings(None) == settings({}) == MlpSettings()


@pytest.mark.parametrize("model", ["mlp", "mc-dropout", "forest", "gp"])
def test_each_model_has_its_own_settings(model):
    assert settings({"model": model, "members": 12}).members == 12


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"model": "tree"},
            r"c.yaml: ensemble.model: unknown name; got 'tree', expected one of mlp, mc-dropout, forest, gp",
        ),
        ({"model": "forest", "hidden": [8]}, r"c.yaml: unknown key ensemble.hidden"),
        ({"epochs": 0}, r"c.yaml: ensemble.epochs: .*greater than or equal to 1; got 0"),
        ({"preset": "deimos"}, r"ensemble: no preset 'deimos'; there are: inference-set-design"),
        ({"model": "gp", "preset": "x"}, r"ensemble: no preset 'x'; there are: none here"),
        ({"model": ["mlp"]}, r"ensemble.model: unknown name; got \['mlp'\]"),
    ],
)
def test_a_mistake_is_named_as_the_user_wrote_it(given, message):
    with pytest.raises(UserError, match=message):
        settings(given)


def test_a_preset_fills_what_is_not_given():
    assert settings({"preset": "inference-set-design", "epochs": 7}) == MlpSettings(
        **{**MlpSettings.PRESETS["inference-set-design"], "epochs": 7, "preset": "inference-set-design"}
    )


@pytest.mark.parametrize("kind", [MlpSettings, DropoutSettings, ForestSettings])
def test_every_preset_fits_its_model_and_survives_being_written(kind):
    model = (
        kind.model_fields["model"].default
        if kind is MlpSettings
        else {DropoutSettings: "mc-dropout"}.get(kind, "forest")
    )
    for name in kind.PRESETS:
        config = parse_config(yaml.safe_dump({**CAMPAIGN, "ensemble": {"model": model, "preset": name}}), "c.yaml")
        assert parse_config(dump_config(config), "c.yaml") == config
