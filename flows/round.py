"""One round: ingest → align → fit → predict → Ω → assess → stop? → choose → publish.

A rerun computes only what changed.
"""

from contextlib import nullcontext
from typing import Any, cast

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import BaseModel

from flows.alignment import align
from flows.campaign import checked_config
from flows.evidence import assess
from flows.fitting import fit, look_back, rows_of
from flows.following import name_run
from flows.forms import CampaignName, RoundIndex
from flows.ingestion import take_in
from flows.operators import error_operator
from flows.parts import Findings, Intake, Round
from flows.publishing import publish_round, publish_waiting
from flows.registry import find_campaign
from flows.results import RoundResult
from flows.turns import turn_of
from tasks.batches.layout import perturbations_per_round
from tasks.batches.task import propose_batch
from tasks.campaigns.answers import read_answers, vetoes_of
from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.task import membership
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import digest
from tasks.checkpoints.progress import Watch, current_listener, listening
from tasks.checkpoints.record_files import read_record
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import CheckpointStore
from tasks.ensembles.cluster import open_cluster
from tasks.ensembles.task import Model, Reference, forward_residuals
from tasks.errors import UserError
from tasks.operators.task import Omega
from tasks.publishing.task import make_screen
from tasks.readouts.task import make_labels
from tasks.stopping.evidence import ControlEvidence, Wells
from tasks.stopping.task import decide_round, forecast_errors


def run_name() -> str:
    """Name of a flow run until it is known which round is the newest."""
    given = flow_run.get_parameters()
    number = given.get("round_index")
    return name_of(given.get("campaign"), "(newest)" if number is None else number, bool(given.get("plan")))


def name_of(campaign: object, number: object, plan: bool) -> str:
    """Name of a flow run: what it does, for which campaign and round."""
    return f"{'plan round' if plan else 'round'} {number} of {campaign}"


@flow(name="round", flow_run_name=run_name, persist_result=False, validate_parameters=False)
def run_round(campaign: CampaignName, round_index: RoundIndex = None, plan: bool = False) -> RoundResult:
    """Compute a round, the newest with plates in by default. With `plan`, only tell what would be computed and why.

    Args:
        campaign: Name of a registered campaign, or the path of its YAML file.
        round_index: Round to compute, from 0. None: the newest that plates have arrived for.
        plan: Only tell what would be computed, and why; nothing is written.
    """
    config = checked_config(find_campaign(campaign))
    with nullcontext() if plan else turn_of(config.campaign.name):
        return ended(compute(config, round_index, plan))


def ended(result: RoundResult) -> RoundResult:
    """The end of a flow run, named for people; Prefect takes a state as the run's own and hands out its data."""
    name = "Completed"
    if result.status == "waiting":
        name = "Waits for plates"
    elif result.proposal:
        name = "Waits for approval"
    return cast(RoundResult, Completed(name=name, message=result.message, data=result))


def compute(config: CampaignConfig, round_index: int | None, plan: bool) -> RoundResult:
    """The steps of a round."""
    this, intake = prepare(config, round_index, plan)
    name_run(name_of(config.campaign.name, this.number, plan))
    standing = stand(this)
    if not intake.enough:
        return publish_waiting(this, intake, standing)
    return publish_round(this, intake, find_out(this, intake, standing))


def find_out(this: Round, intake: Intake, standing: Ref) -> Findings:
    """All that a round computes. Nothing is published yet."""
    aligned = align(this, intake, standing)
    labels = make_labels.submit(this.cp, "labels", aligned, standing, this.config.readout).result()
    with open_cluster(this.config.compute) as place:  # nothing starts before there is something to compute
        model = fit(this, place, "", labels.refs, this.number)
        before = look_back(this, place)
        forward = residuals(this, before[0] if before else None, labels, standing)
        omega = error_operator(this, place, model, labels, standing, forward[0] if forward else None, before)
        assessed = assess(this, place, labels, standing, omega)
    decided, evidence = look(this, intake, labels, standing, model, omega, forward[0] if forward else None)
    batch = choose(this, intake, omega, model, labels, standing, decided, assessed)
    screen = make_screen.submit(
        this.cp,
        this.config,
        this.number,
        this.library,
        model.chunks,
        omega,
        labels,
        standing,
        decided["decision"],
        {design.round_index: design.platemap for design in this.designs},
        intake.book.troubled(),
    ).result()
    return Findings(model, aligned, labels, standing, omega, decided, evidence, batch, screen, forward, assessed)


def stand(this: Round) -> Ref:
    """Who is chosen and who is hidden, from the released designs."""
    batches = {design.round_index: design.batch for design in this.designs}
    vetoed = vetoes_of(read_answers(this.ledger.storage, range(this.number)))
    return membership.submit(this.cp, this.library, batches, this.config.batch.veto, vetoed).result()["table"]


def prepare(
    config: CampaignConfig, round_index: int | None, plan: bool, *, record: bool = True
) -> tuple[Round, Intake]:
    """Open the books, take in what arrived, and settle which round it is. With `record`, a new revision is noted."""
    ledger = Ledger.of(config)
    ledger.require_open()
    if record and not plan:
        ledger.revise(config)
    designs, library = ledger.designs(), ledger.library()
    if round_index is not None and not 0 <= round_index < len(designs):
        raise UserError("no such round", where="--round", got=round_index, expected=f"0 to {len(designs) - 1}")
    if library is None:
        raise UserError("the library is not registered", where=ledger.storage.url, todo="Open the campaign again.")
    # Later runs win; a run that only waited has few nodes, so that the rounds before tell of the others.
    runs = [run for number in range(max(0, len(designs) - 3), len(designs)) for run in ledger.runs(number)]
    before = {name: node for run in runs for name, node in run.lock.nodes.items()}
    watch = Watch(current_listener())
    with listening(watch):
        cp = Checkpointer(CheckpointStore(ledger.storage), before, flow_run=flow_run.get_id(), plan=plan)
    intake = take_in(cp, ledger, config, designs, round_index)
    return Round(config, ledger, cp, library, designs[: intake.round_index + 1], intake.round_index, watch), intake


def residuals(this: Round, reference: Reference | None, labels: Outputs, standing: Ref) -> list[Outputs]:
    """Forward residuals on new training labels, and, for the report alone, on hidden audit labels."""
    if reference is None:
        return []
    futures = [
        forward_residuals.submit(this.cp, node, this.library, reference, labels[name], standing)
        for node, name in (("forward", "training"), ("forward/audit", "audit"))
    ]
    return [future.result() for future in futures]


def look(
    this: Round,
    intake: Intake,
    labels: Outputs,
    standing: Ref,
    model: Model,
    omega: Omega,
    forward: Outputs | None,
) -> tuple[Outputs, str]:
    """Look at the audit once. Computing the same evidence again is the same look and spends no risk."""
    config = this.config
    plates = config.plates
    seen: list[Any] = [labels["training"], labels["audit"], standing, [chunk["members"] for chunk in model.chunks]]
    if forward is not None and "lemma" in config.stopping.rule:
        seen.append(forward["table"])
    evidence = digest(seen)
    forecast = forecast_errors.submit(this.cp, labels["training"], standing, model.chunks, omega, config.readout)
    looks, known_risk = earlier_looks(this, evidence)
    decided = decide_round.submit(
        this.cp,
        labels,
        standing,
        model.chunks,
        forecast.result(),
        model.fitted["tensors"],
        None if forward is None else (this.designs[this.number].batch, forward["table"]),
        config.readout,
        config.stopping,
        this.number,
        looks,
        known_risk,
        Wells(
            used=intake.wells_used,
            full=rows_of(this.library) * plates.replicates,
            next_round=perturbations_per_round(plates, plates.per_round) * plates.replicates,
        ),
        earlier_controls(this),
    ).result()
    return decided, evidence


class _Decision(BaseModel):
    """What a later round reads of `decision.json`."""

    control: ControlEvidence | None = None


def earlier_controls(this: Round) -> list[ControlEvidence]:
    """The random control in the newest run of every earlier round that tells it."""
    runs = [run for number in range(this.number) if (run := this.ledger.last_decided(number))]
    found = this.ledger.storage.read_many(f"{run.folder}/decision.json" for run in runs)
    told = [read_record(this.ledger.storage, path, found[path], _Decision) for path in sorted(found)]
    return [decision.control for decision in told if decision.control is not None]


def earlier_looks(this: Round, evidence: str) -> tuple[list[tuple[int, float]], float | None]:
    """Round and risk of every look before the first one at this evidence, as published, and the risk of that one."""
    looks: dict[str, tuple[int, float]] = {}
    for run in this.ledger.looks():
        summary = run.summary or {}
        if summary["evidence"] == evidence:
            return list(looks.values()), float(summary["risk_this_look"])
        looks.setdefault(summary["evidence"], (run.round_index, float(summary["risk_this_look"])))
    return list(looks.values()), None


def choose(
    this: Round,
    intake: Intake,
    omega: Omega,
    model: Model,
    labels: Outputs,
    standing: Ref,
    decided: Outputs,
    assessed: Outputs,
) -> Outputs | None:
    """The next batch, unless the campaign stops here."""
    decision = decided["decision"]
    if not decision.pending and this.cp.load(decision)["stop"]:
        return None
    return propose_batch.submit(
        this.cp,
        omega,
        model.fitted,
        model.chunks,
        standing,
        labels["training"],
        this.library,
        this.config,
        this.number + 1,
        intake.returned,
        # Not in the standing: what a person thinks of this round's proposal is no new look at the audit.
        vetoes_of(read_answers(this.ledger.storage, [this.number])),
        assessed["caution"],
    ).result()
