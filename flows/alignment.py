"""Align every run: the plates that arrived together in one step, later ones by what the first left behind."""

from collections.abc import Mapping
from dataclasses import dataclass

from prefect.futures import PrefectFuture

from flows.parts import Intake, Round
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.refs import Ref
from tasks.readouts.cohorts import Cohort, split_cohorts
from tasks.readouts.task import align_run


def align(this: Round, intake: Intake, standing: Ref) -> dict[str, Outputs]:
    """Aligned wells and fit of every cohort of every run, by node.

    Profiles share one scale over runs: every run meets the fit of the run with the first plate.
    """
    steps = _Steps(this, intake.runs, {record.barcode: record.round for record in intake.book.records}, standing)
    runs = steps.in_order()
    shared = runs[:1] if this.config.readout.output is not None else []
    first = {run: steps.submit(run, 1, None).result() for run in shared}
    reference = first[runs[0]] if shared else None
    futures = {run: steps.submit(run, 1, reference) for run in runs if run not in first}
    first |= {run: future.result() for run, future in futures.items()}
    later = {
        _node(run, number): steps.submit(run, number, first[run])
        for run in runs
        for number in range(2, len(steps.cohorts(run)) + 1)
    }
    return {_node(run, 1): first[run] for run in runs} | {node: future.result() for node, future in later.items()}


@dataclass(frozen=True)
class _Steps:
    """The steps of an alignment: the wells by run and plate key, and the round of each plate."""

    this: Round
    runs: Mapping[str, Mapping[str, Ref]]
    rounds: Mapping[str, int]
    standing: Ref

    def in_order(self) -> list[str]:
        """Runs by the round of their first plate, then by name."""
        return sorted(self.runs, key=lambda run: (min(self.rounds[_barcode(key)] for key in self.runs[run]), run))

    def cohorts(self, run: str) -> list[frozenset[str]]:
        """Plates of a run, by when they came."""
        return split_cohorts({key: ref.sha256 for key, ref in self.runs[run].items()}, _before(self.this.cp, run))

    def submit(self, run: str, number: int, known: Outputs | None) -> PrefectFuture[Outputs]:
        """Start the alignment of one cohort. Anchors may tie its plates to those of earlier ones."""
        config, cohorts, wells = self.this.config, self.cohorts(run), self.runs[run]
        new = cohorts[number - 1]
        kept = sorted(new.union(*cohorts[: number - 1]) if config.alignment.anchors else new)
        cohort = Cohort(
            run=run,
            wells={key: wells[key] for key in kept},
            new=new,
            rounds={_barcode(key): self.rounds[_barcode(key)] for key in kept},
            known=None if known is None else known.refs,
        )
        return align_run.submit(
            self.this.cp,
            _node(run, number),
            cohort,
            self.standing,
            config.alignment,
            config.plates,
            config.readout.output,
        )


def _before(cp: Checkpointer, run: str) -> list[dict[str, str]]:
    """Digest of the wells by plate key, of each cohort of this run in the runs before this one."""
    found: list[dict[str, str]] = []
    while (record := cp.before(_node(run, len(found) + 1))) is not None:
        wells = {name.removeprefix("plate "): sha for name, sha in record.inputs.items() if name.startswith("plate ")}
        found.append({key: wells[key] for key in record.params["new"]})
    return found


def _node(run: str, number: int) -> str:
    return f"align/{run}" if number == 1 else f"align later/{number}/{run}"


def _barcode(key: str) -> str:
    return key.rpartition(".")[0]
