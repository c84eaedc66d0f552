"""MC dropout: masks folded into weights are the masks, and all perturbations share them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from model_properties import CONTINUOUS, CPU, ClassProperties, features
from pydantic import ValidationError

from tasks.campaigns.ensemble_settings import DropoutSettings
from tasks.ensembles import TrainingSet
from tasks.ensembles.dropout import draw_masks, folded
from tasks.ensembles.encoding import encode
from tasks.ensembles.fitting import fit_group
from tasks.ensembles.network import ACTIVATIONS, Shape, initial_weights, output, penultimate


def one_network(hidden: tuple[int, ...], inputs: int = 6, outputs: int = 2) -> dict[str, torch.Tensor]:
    """Weights (1, …) of a network with random biases and a random output layer."""
    rng = np.random.default_rng(0)
    weights = initial_weights((inputs, *hidden, outputs), torch.zeros(outputs), [rng], random_bias=True)
    return {name: torch.from_numpy(rng.normal(size=value.shape).astype(np.float32)) for name, value in weights.items()}


def masked_outputs(weights, x, shape: Shape, masks, rate: float) -> torch.Tensor:
    """(M, n, c): the network's activations multiplied by each mask, one mask after the other."""
    outputs = []
    for member in range(len(masks[0])):
        stays = iter([mask[member] for mask in masks])
        hidden = penultimate(weights, x, shape, drop=lambda values, left=stays: values * next(left) / (1 - rate))
        outputs.append(output(weights, hidden)[0])
    return torch.stack(outputs)


class TestDropout(ClassProperties):
    NAME = "mc-dropout"
    SETTINGS: ClassVar = {"members": 12, "hidden": (32, 32), "epochs": 40}
    RMSE = 0.6
    OUT_OF_FOLD = 0.09  # the one network's held-out labels are all there are

    @pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
    @pytest.mark.parametrize("residual", [False, True])
    @pytest.mark.parametrize("hidden", [(7,), (8, 8, 8), (8, 8, 5)])
    def test_folded_weights_compute_what_masks_compute(self, activation, residual, hidden) -> None:
        settings = self.settings(hidden=hidden, dropout=0.4)
        weights, shape = one_network(hidden), Shape(activation, residual)
        masks = draw_masks(settings, seed=0, members=range(9))
        x = torch.from_numpy(features(20, seed=0))
        x = torch.cat([x, x[:, :1] ** 2], dim=1)
        member_weights = folded(weights, masks, 0.4)
        said = output(member_weights, penultimate(member_weights, x, shape))
        expected = masked_outputs(weights, x, shape, masks, 0.4)
        np.testing.assert_allclose(said, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))

    def test_covariances_are_those_of_one_set_of_masks_for_all(self, train: TrainingSet) -> None:
        """Through predict, chunk by chunk, against masks applied to the one network behind all members."""
        settings = self.settings(dropout=0.3)
        ensemble = self.fit(train, dropout=0.3)
        masks = draw_masks(settings, seed=1, members=range(12))
        base = base_network(ensemble.tensors, masks, 0.3)
        x = features(60, seed=30)
        inputs = self.encoded(ensemble, x)
        expected = masked_outputs(base, inputs, Shape("silu"), masks, 0.3)[..., 0].T.double().numpy()
        expected = expected * float(ensemble.tensors["target_scale"])
        said = self.predict(ensemble, x, rows=7).members.astype(np.float64)
        np.testing.assert_allclose(np.cov(said), np.cov(expected), atol=2e-4 * np.cov(expected).max())

    def test_equal_perturbations_in_different_chunks_get_equal_members(self, train: TrainingSet) -> None:
        ensemble, x = self.fit(train), features(64, seed=31)
        x[[5, 20, 63]] = x[40]
        said = self.predict(ensemble, x, rows=16).members  # chunks of one size: the same products, the same bits
        for row in (5, 20, 63):
            np.testing.assert_array_equal(said[row], said[40])
        assert said[40].std() > 0

    def test_a_mask_is_the_same_among_any_number(self) -> None:
        few = draw_masks(self.settings(), 7, range(4))
        many = draw_masks(self.settings(), 7, range(3, 12))
        for left, right in zip(few, many, strict=True):
            assert torch.equal(left[3], right[0])
        assert not torch.equal(draw_masks(self.settings(), 8, range(4))[0], few[0])

    def test_masks_leave_out_the_configured_share(self) -> None:
        masks = draw_masks(self.settings(hidden=(500, 100), dropout=0.15), 0, range(50))
        assert [tuple(mask.shape) for mask in masks] == [(50, 500), (50, 100)]
        for mask in masks:
            assert float((~mask).float().mean()) == pytest.approx(0.15, abs=0.02)

    def test_members_are_one_network_in_one_group(self, train: TrainingSet) -> None:
        settings = self.settings()
        assert settings.groups(4) == [range(12)]
        ensemble = self.fit(train)
        assert len(ensemble.history) == 1
        assert len(np.unique(ensemble.tensors["held_out"].numpy(), axis=0)) == 1
        wider = ensemble.tensors["weight.1"].numpy()
        same = (wider == wider[0]) | (wider == 0) | (wider[0] == 0)
        assert same.all()

    def test_a_larger_share_left_out_spreads_members_more(self, train: TrainingSet) -> None:
        x = features(200, seed=32)
        narrow, wide = (
            self.predict(self.fit(train, dropout=rate), x).members.std(axis=1).mean() for rate in (0.02, 0.4)
        )
        assert wide > 2 * narrow

    def test_plates_are_held_out_whole(self, train: TrainingSet) -> None:
        plates = np.arange(len(train))[:, None] % 10 == np.arange(10)
        part = self.fit_part(TrainingSet(train.features, train.targets, train.variances, plates), range(12), CONTINUOUS)
        held = part.arrays["held_out"][0].astype(bool)
        assert part.facts["held_out"] == "plates"
        assert [float(held[plates[:, plate]].mean()) for plate in range(10)].count(1.0) == 1
        assert held.sum() == 20

    @pytest.mark.parametrize("preset", sorted(DropoutSettings.PRESETS))
    def test_presets_are_learned_with(self, train: TrainingSet, preset: str) -> None:
        settings = DropoutSettings.model_validate({"model": "mc-dropout", "preset": preset, "epochs": 3})
        assert settings.members == {"genedisco-bnn": 100, "deimos": 50}[preset]
        part = fit_group(train, CONTINUOUS, settings, 1, range(settings.members), CPU)
        assert part.arrays["weight.0"].shape == (settings.members, 5, settings.hidden[0])

    def test_no_dropout_is_no_ensemble(self) -> None:
        with pytest.raises(ValidationError, match="greater than 0"):
            self.settings(dropout=0.0)

    @staticmethod
    def encoded(ensemble, x: np.ndarray) -> torch.Tensor:
        return encode(ensemble.tensors, torch.from_numpy(x))


def base_network(tensors, masks, rate: float) -> dict[str, torch.Tensor]:
    """The one network behind folded members: each weight as a member has it that keeps the unit."""
    base = {}
    for layer in range(len(masks) + 1):
        for kind in ("weight", "bias"):
            value = tensors[f"{kind}.{layer}"]
            largest = value.gather(0, value.abs().argmax(dim=0, keepdim=True))
            base[f"{kind}.{layer}"] = largest * (1 - rate) if layer and kind == "weight" else largest
    return base
