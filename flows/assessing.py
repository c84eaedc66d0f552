"""`hybridscreen assess`: is active selection worth it here? Of an open campaign, or of a past screen before one.

Plain functions and no Prefect flow: a campaign's answer was computed with its newest round, a past screen's is wanted
once.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from flows.evidence import FILE
from flows.results import Result
from tasks.assessing.findings import Assessment
from tasks.assessing.observed import Way
from tasks.campaigns.batch_settings import BatchSection, Slot
from tasks.campaigns.config import CampaignConfig, LibrarySection, OperatorsSection
from tasks.campaigns.ensemble_settings import MlpSettings
from tasks.campaigns.ledger import Ledger
from tasks.checkpoints.progress import current_listener
from tasks.checkpoints.record_files import stored_record
from tasks.errors import UserError


class CampaignAssessed(Result):
    """Answer of `assess` for a campaign."""

    run: int
    assessment: Assessment


class ScreenAssessed(BaseModel):
    """Answer of `assess --screen`."""

    model_config = ConfigDict(frozen=True)

    screen: str
    values: list[str]
    replicate_correlation: float | None
    features: int
    assessment: Assessment


def assess_campaign(config: CampaignConfig) -> CampaignAssessed:
    """What the newest round with a decision says.

    Raises:
        UserError: The campaign is not open, or no round was assessed yet.
    """
    ledger = Ledger.of(config)
    ledger.require_open()
    runs = (ledger.last_decided(number) for number in reversed(range(len(ledger.designs()))))
    run = next((run for run in runs if run is not None), None)
    path = "" if run is None else f"{run.folder}/{FILE}"
    if run is None or not ledger.storage.exists(path):
        todo = "Compute a round first: hybridscreen round; or ask a past screen: --screen FILE --values COLUMN."
        raise UserError("no round has been assessed yet", where=ledger.storage.url, todo=todo)
    return CampaignAssessed(
        campaign=config.campaign.name,
        location=ledger.storage.locate(path),
        run=run.number,
        assessment=stored_record(ledger.storage, path, Assessment),
    )


def assess_past_screen(
    screen: str,
    values: Sequence[str],
    config: CampaignConfig | None = None,
    library: str | None = None,
    id_column: str = "perturbation",
    features: str = "X",
    strategy: str | None = None,
    seed: int = 0,
    repeats: int | None = None,
) -> ScreenAssessed:
    """Whether active selection would have been worth it in a past screen.

    Args:
        screen: Table or AnnData with the measured values.
        values: Column with the values; several are replicates.
        config: A campaign's configuration: its library, predictors, strategies and kind of readout count. None: the
            defaults.
        library: Library with the features, where there is no configuration; None: the screen holds them.
        id_column: Column with the id, of tables.
        features: As `library.features` of a configuration, where there is none.
        strategy: A strategy in place of those configured.
        seed: Of every random choice.
        repeats: In place of those configured.

    Raises:
        UserError: A mistake in what was given.
    """
    from tasks.assessing.assess import assess_screen  # with PyTorch, which a campaign's answer does not need
    from tasks.assessing.past_screen import read_past_screen
    from tasks.batches.slots import read_slots

    if not values:
        raise UserError("name the column with the measured values", where="--values")
    given = None if library is None else LibrarySection(uri=library, id=id_column, features=features)
    section = config.library if config else given
    way = _way(config, strategy, repeats)
    read_slots(way.slots, None, way.kind, "--strategy" if strategy else "batch.slots")
    listener = current_listener()
    listener.started("past screen")
    threshold = config.readout.threshold if config else None
    kind = config.readout.kind if config else "continuous"
    past = read_past_screen(screen, values, section, id_column, features, kind, threshold)
    found = assess_screen(
        past.observed, past.library, way, seed, lambda done, total: listener.advanced("replays", done, total)
    )
    return ScreenAssessed(
        screen=screen,
        values=list(values),
        replicate_correlation=past.correlation,
        features=past.library.shape[1],
        assessment=found,
    )


def _way(config: CampaignConfig | None, strategy: str | None, repeats: int | None) -> Way:
    """How a campaign would learn and choose: as configured, or by the defaults, but for what was asked."""
    batch = config.batch if config else BatchSection()
    return Way(
        config.ensemble if config else MlpSettings(),
        config.operators if config else OperatorsSection(),
        batch.slots if strategy is None else (Slot(strategy=strategy, share=1.0),),
        batch.operator,
        config.readout.kind if config else "continuous",
        batch.adaptive.repeats if repeats is None else repeats,
    )


def assessment_lines(found: CampaignAssessed | ScreenAssessed) -> list[str]:
    """The answer for a terminal."""
    told = found.assessment
    if isinstance(found, CampaignAssessed):
        of = f"{found.campaign}, round {told.round}, run {found.run:02d}"
    else:
        correlation = found.replicate_correlation
        agree = "" if correlation is None else f", replicates correlate with {correlation:.2f}"
        of = f"{found.screen}: {', '.join(found.values)}, {found.features} features{agree}"
    lines = [
        f"{of}; {told.labels:,} labels of {told.library:,} perturbations",
        f"Verdict on {told.strategy}: {told.verdict}. {told.why}",
    ]
    lines += [f"  {one.name}: {one.sentence}" for one in told.findings]
    return [*lines, f"  next batch: {told.random_why}"] if told.random_why else lines
