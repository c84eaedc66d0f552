"""A lab that talks through files alone: it reads released plate maps and uploads plate files.

The truth is a finished screen. What comes back is what an instrument would have reported: counts with well noise, plate
and run effects, an edge effect, missing wells, and plates on which the dispenser failed.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from tasks.campaigns.config import ReadoutColumns
from tasks.campaigns.section import Section, Share
from tasks.errors import UserError
from tasks.readouts.wells import PLATE_SHAPES

FloatArray = npt.NDArray[np.float64]

# A dispenser that failed leaves this share of a sample's distance from negcon.
FAILED_SIGNAL = 0.2


class LabConfig(Section):
    """What the lab does to the truth. Value units are those of the aligned readout."""

    seed: int = Field(default=0, ge=0, description="Seed of everything that varies.")
    well_noise: float = Field(default=0.25, ge=0, description="Standard deviation of a well [value units].")
    plate_offset_sd: float = Field(
        default=0.3, ge=0, description="Standard deviation of a plate's offset [value units]."
    )
    plate_scale_sd: float = Field(default=0.05, ge=0, description="Standard deviation of a plate's log scale.")
    run_offset_sd: float = Field(default=0.3, ge=0, description="Standard deviation of a run's offset [value units].")
    run_scale_sd: float = Field(default=0.05, ge=0, description="Standard deviation of a run's log scale.")
    edge_effect: float = Field(default=0.0, description="Added in the outermost wells [value units].")
    gain: float = Field(default=1000.0, description="Counts of the instrument per value unit; not 0.")
    baseline: float = Field(default=20000.0, description="Counts of the instrument at value 0.")
    negcon_value: float = Field(default=0.0, description="True value of the negative control [value units].")
    poscon_value: float = Field(default=1.0, description="True value of the positive control [value units].")
    missing_wells: Share = Field(default=0.0, description="Probability that a used well is not reported.")
    failures: tuple[tuple[int, int], ...] = Field(
        default=(), description="(round, plate), plates counted from 1 in order of barcode, whose first attempt fails."
    )
    failure_rate: Share = Field(default=0.0, description="Probability that any attempt at a plate fails.")
    columns: ReadoutColumns = Field(default_factory=ReadoutColumns, description="Column names of the plate files.")


class ReplayLab:
    """Measures plates of a screen that is already known.

    Everything random is derived from the seed and the names of run, plate and attempt, never from the order of work:
    the same plate gives the same bytes whatever was measured before it.

    Args:
        values: The finished screen: columns perturbation (unique) and value (finite, aligned units), one row each.
        config: What the lab does to it.

    Raises:
        UserError: A column is missing, a perturbation stands twice, a value is not finite, or the gain is 0.
    """

    def __init__(self, values: pd.DataFrame, config: LabConfig) -> None:
        _check_values(values)
        if config.gain == 0:
            raise UserError("an instrument without gain reports nothing", where="lab.gain", got=0, expected="not 0")
        self.config = config
        self._truth: pd.Series = values.set_index("perturbation")["value"].astype(float)

    def fails(self, round_index: int, plate: int, barcode: str, attempt: int) -> bool:
        """Whether the dispenser fails at this attempt: as planned in `failures`, or by chance at `failure_rate`.

        Args:
            round_index: Round that the plate was planned for.
            plate: Number of the plate in its round, from 1 in order of barcode.
            barcode: Barcode of the plate.
            attempt: Attempt, from 1.
        """
        if attempt == 1 and (round_index, plate) in self.config.failures:
            return True
        return bool(self._rng("failure", barcode, attempt).random() < self.config.failure_rate)

    def measure_plate(self, plate: pd.DataFrame, attempt: int, run: str, *, failed: bool = False) -> pd.DataFrame:
        """Measure the used wells of one plate.

        signal = scale·(value + edge + noise) + offset, counts = baseline + gain·signal, with scale = exp(run + plate)
        and offset = run + plate. On a failed plate the positive control was not dispensed and reads as negcon, and
        samples keep a fifth of their distance from negcon.

        Args:
            plate: Plate map of one plate, empty wells included (columns barcode, well, row, column, role,
                perturbation).
            attempt: Attempt, from 1.
            run: Run that the plate is processed in.
            failed: Whether the dispenser failed.

        Returns:
            Long form, one row per reported well in plate order; columns named by `config.columns`: plate, attempt,
            run, well, value (counts).

        Raises:
            UserError: More or less than one plate, or a perturbation that the screen does not hold.
        """
        barcode = _only_barcode(plate)
        used = plate[plate["role"] != "empty"].sort_values(["row", "column"], ignore_index=True)
        reported = self._reported(used, barcode, attempt, run)
        counts = self._counts(used, _on_edge(plate, used), barcode, attempt, run, failed)
        names = self.config.columns
        columns = {
            names.plate: barcode,
            names.attempt: attempt,
            names.run: run,
            names.well: used["well"],
            names.value: np.round(counts, 3),
        }
        return pd.DataFrame(columns, index=used.index)[reported].reset_index(drop=True)

    def plate_file(self, plate: pd.DataFrame, attempt: int, run: str, *, failed: bool = False) -> tuple[str, bytes]:
        """The file that the lab uploads for one attempt at a plate: its name and its CSV text in UTF-8.

        Arguments and errors are those of `measure_plate`.
        """
        table = self.measure_plate(plate, attempt, run, failed=failed)
        text = str(table.to_csv(index=False, lineterminator="\n", float_format="%.3f"))
        return file_name(_only_barcode(plate), attempt), text.encode()

    def _counts(
        self, used: pd.DataFrame, on_edge: npt.NDArray[np.bool_], barcode: str, attempt: int, run: str, failed: bool
    ) -> FloatArray:
        config = self.config
        values = self._true_values(used, barcode)
        if failed:
            values = config.negcon_value + FAILED_SIGNAL * (values - config.negcon_value)
            values = np.where(used["role"] == "poscon", config.negcon_value, values)
        values = values + config.edge_effect * on_edge
        values = values + config.well_noise * self._per_well("noise", used, barcode, attempt, run)
        of_run, of_plate = self._rng("run", run), self._rng("plate", barcode, attempt, run)
        offset = config.run_offset_sd * of_run.normal() + config.plate_offset_sd * of_plate.normal()
        log_scale = config.run_scale_sd * of_run.normal() + config.plate_scale_sd * of_plate.normal()
        return np.asarray(config.baseline + config.gain * (np.exp(log_scale) * values + offset), dtype=np.float64)

    def _true_values(self, used: pd.DataFrame, barcode: str) -> FloatArray:
        is_sample = (used["role"] == "sample").to_numpy()
        unknown = sorted(set(used.loc[is_sample, "perturbation"]) - set(self._truth.index))
        if unknown:
            raise UserError(
                "the screen that stands in for the lab has no value of this perturbation",
                where=f"plate {barcode}",
                got=unknown[0] + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""),
                todo="Replay a library with its own screen.",
            )
        controls = np.where(used["role"] == "poscon", self.config.poscon_value, self.config.negcon_value)
        samples = self._truth.reindex(used["perturbation"]).to_numpy(dtype=np.float64)
        return np.where(is_sample, samples, controls)

    def _reported(self, used: pd.DataFrame, barcode: str, attempt: int, run: str) -> npt.NDArray[np.bool_]:
        draws = self._per_well("missing", used, barcode, attempt, run, uniform=True)
        return np.asarray(draws >= self.config.missing_wells, dtype=bool)

    def _per_well(self, what: str, used: pd.DataFrame, *names: object, uniform: bool = False) -> FloatArray:
        """One draw for each used well; a draw belongs to its position, whichever other wells are used."""
        rng = self._rng(what, *names)
        shape = PLATE_SHAPES[1536]
        grid = rng.random(shape) if uniform else rng.normal(size=shape)
        return np.asarray(grid[used["row"].to_numpy(), used["column"].to_numpy()], dtype=np.float64)

    def _rng(self, *names: object) -> np.random.Generator:
        text = "\0".join(str(name) for name in (self.config.seed, *names))
        return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()))


def file_name(barcode: str, attempt: int) -> str:
    """Name of the plate file of one attempt. Barcodes may hold any character; file names may not."""
    return f"{quote(barcode, safe=' ')}.attempt{attempt}.csv"


def _on_edge(plate: pd.DataFrame, used: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Which used wells are outermost; the map lists every well of the format, empty ones too."""
    row, column = used["row"].to_numpy(), used["column"].to_numpy()
    last_row, last_column = plate["row"].max(), plate["column"].max()
    return np.asarray((row == 0) | (column == 0) | (row == last_row) | (column == last_column), dtype=bool)


def _only_barcode(plate: pd.DataFrame) -> str:
    barcodes = sorted(set(plate["barcode"]))
    if len(barcodes) != 1:
        raise UserError("not the map of one plate", where="plate map", got=f"{len(barcodes)} barcodes", expected="1")
    return str(barcodes[0])


def _check_values(values: pd.DataFrame) -> None:
    missing = [name for name in ("perturbation", "value") if name not in values.columns]
    if missing:
        raise UserError(f"no column {missing[0]}", where="screen", got=", ".join(map(str, values.columns)))
    doubled = values["perturbation"][values["perturbation"].duplicated()]
    if len(doubled):
        raise UserError("a perturbation stands twice", where="screen", got=doubled.iloc[0], expected="one value each")
    wrong = values["perturbation"][~np.isfinite(values["value"].to_numpy(dtype=np.float64))]
    if len(wrong):
        raise UserError("a value is not finite", where="screen", got=wrong.iloc[0], todo="Drop or mend the row.")
