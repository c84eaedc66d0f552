"""The demo: a whole campaign on real solubility data, against a lab that is played from the finished screen."""

from pathlib import Path

import anndata

from flows.campaign import open_campaign
from flows.console import Bar, answer, at_least, err
from flows.results import Result, RoundResult
from flows.round import run_round
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.reading import read_config
from tasks.checkpoints.progress import listening
from tasks.errors import HybridScreenError, UserError
from tasks.labs.replay import ReplayLab
from tasks.labs.rounds import answer_round
from tasks.labs.solubility import campaign_yaml, lab_config, library, measured
from tasks.labs.truth import true_accuracy


class DemoResult(Result):
    """What the demo shows at its end. Accuracies are shares of the library; `true` is known to the lab alone."""

    rounds: int
    certified: bool
    confidence: float
    bound: float
    true: float
    wells_used: int
    wells_full_screen: int
    report: str
    screen: str


def run_demo(folder: Path, seed: int, as_json: bool) -> DemoResult:
    """Open the campaign in a folder and run rounds until it stops. Run again, it goes on where it was."""
    config_path = write_inputs(folder, seed)
    config = read_config(config_path)
    if config.campaign.seed != seed:
        raise UserError(
            "this folder holds the demo of another seed",
            where=str(folder),
            got=seed,
            expected=str(config.campaign.seed),
            todo="Name another folder: --into FOLDER",
        )
    lab = ReplayLab(measured(), lab_config().model_copy(update={"seed": seed}))
    with Bar("opening") as bar, listening(bar):
        opened = open_campaign(str(config_path))
    storage = Ledger.of(config).storage
    say(
        f"{opened.perturbations} compounds, {opened.audit} of them the hidden audit set; "
        f"round 0: {opened.plates} plates, {opened.wells} sample wells"
    )
    number, result = 0, None
    while result is None or not stopped(result):
        answer_round(storage, lab, number)
        result = measure(config_path, number)
        if result.repeats:
            say(f"         the lab repeats {', '.join(result.repeats)}")
            answer_round(storage, lab, number)
            result = measure(config_path, number)
        number += 1
    final = summarise(config_path, result)
    answer(final, as_json, closing_lines(final))
    return final


def write_inputs(folder: Path, seed: int) -> Path:
    """Write the library and the configuration, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "library.h5ad").exists():
        library().write_h5ad(folder / "library.h5ad")
    config_path = folder / "campaign.yaml"
    if not config_path.exists():
        config_path.write_text(campaign_yaml().replace("seed: 0", f"seed: {seed}"), encoding="utf-8")
    return config_path


def measure(config_path: Path, number: int) -> RoundResult:
    """Compute a round and say in a line what came out."""
    with Bar(f"round {number}") as bar, listening(bar):
        result = run_round(str(config_path), number)
    decision = result.decision
    if decision is None:
        raise HybridScreenError(f"round {number} {result.message}")
    say(
        f"round {number}: {result.plates_passed} of {result.plates_planned} plates passed, "
        f"{len(result.computed)} steps computed, {len(result.events) - len(result.computed)} cached; "
        f"accuracy at least {at_least(decision['bound'])}, estimate {decision['estimate'] or 0:.1%}"
    )
    return result


def stopped(result: RoundResult) -> bool:
    """Whether the campaign has come to its end."""
    return result.decision is None or bool(result.decision["stop"])


def summarise(config_path: Path, result: RoundResult) -> DemoResult:
    """Set the certificate beside the truth that the lab knows."""
    config = read_config(config_path)
    decision, screen = result.decision or {}, result.screen or ""
    published = anndata.read_zarr(f"{screen}/screen.zarr")
    return DemoResult(
        campaign=result.campaign,
        location=result.location,
        rounds=result.round,
        certified=decision["certified"],
        confidence=1 - decision["risk"],
        bound=decision["bound"],
        true=true_accuracy(published.obs, measured(), config.readout),
        wells_used=decision["wells_used"],
        wells_full_screen=decision["wells_full_screen"],
        report=result.report or "",
        screen=screen,
    )


def closing_lines(final: DemoResult) -> list[str]:
    """The end of the demo for people."""
    verdict = "certified" if final.certified else "known, short of the target,"
    return [
        "",
        f"accuracy {verdict} with {final.confidence:.0%} confidence: at least {at_least(final.bound)}",
        f"true accuracy, which only the lab knows:   {final.true:.1%}",
        f"sample wells used: {final.wells_used} of the full screen's {final.wells_full_screen}",
        f"report:        {final.report}",
        f"hybrid screen: {final.screen}",
    ]


def say(line: str) -> None:
    """A line of progress, on standard error so that JSON stays alone on standard output."""
    err.print(line, markup=False)
