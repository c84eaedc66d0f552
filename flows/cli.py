"""The command `hybridscreen`. Heavy packages are imported when a command runs, so that help is quick."""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from flows import screen_commands, service_commands
from tasks.errors import HybridScreenError, UserError

if TYPE_CHECKING:
    from flows.results import RoundResult

app = typer.Typer(
    name="hybridscreen",
    help="Closed-loop screening: measure part of a library, predict the rest, certify the whole.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[Path, typer.Argument(metavar="CAMPAIGN.YAML", help="Configuration of the campaign.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
RoundNumber = Annotated[int | None, typer.Option("--round", min=0, help="Round; the newest by default.")]
T = TypeVar("T")

# A terminal is no place for Prefect's own log, and nothing may be sent anywhere that the user did not configure.
_ENVIRONMENT = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # 20 is too short for a busy machine's first start
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DO_NOT_TRACK": "1",
}


def main() -> None:
    """Run the command. Exit status 0: done; 1: not done, and why; 2: a mistake in what was given."""
    prepare_environment()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # of a damaged file zarr tells every part; one line is told
    try:
        app()
    except UserError as error:
        sys.exit(_complain(error, 2))
    except HybridScreenError as error:
        sys.exit(_complain(error, 1))
    except _failures_of_the_server() as error:
        from flows.server import lost

        sys.exit(_complain(lost(error), 1))


def _failures_of_the_server() -> tuple[type[Exception], ...]:
    """What a failing Prefect server raises; nothing as long as nobody has spoken to one."""
    if "prefect" not in sys.modules:
        return ()
    from flows.server import FAILURES

    return FAILURES


def prepare_environment() -> None:
    """Set what the terminal needs of Prefect, where the user has not. Before Prefect is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _complain(error: HybridScreenError, status: int) -> int:
    sys.stderr.write(f"hybridscreen: {' '.join(str(error).split())}\n")
    return status


def _checked(config: Path, *, opened: bool) -> None:
    """Check what can be checked before Prefect starts: a mistake should not take ten seconds to be named."""
    from tasks.campaigns.reading import read_config

    read_config(config)  # most mistakes are seen here, before the heavy imports below

    from flows.campaign import checked_config
    from flows.server import require_answer
    from tasks.campaigns.ledger import Ledger

    checked = checked_config(str(config))
    if opened:
        Ledger.of(checked).require_open()
    require_answer()


@app.command("open")
def open_(
    config: Config,
    plan_audit: Annotated[
        bool, typer.Option("--plan-audit", help="Tell what audits of several sizes cost and buy; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Open a campaign: library, audit set, round 0's plates."""
    _checked(config, opened=False)
    from flows.campaign import open_campaign
    from flows.console import answer, with_bar

    if plan_audit:
        from flows import audit_plan

        planned = with_bar("planning", lambda: audit_plan.plan_audit(str(config)))
        answer(planned, as_json, audit_plan.plan_lines(planned))
        return

    opened = with_bar("opening", lambda: open_campaign(str(config)))
    state = "opened" if opened.newly else "already open"
    answer(
        opened,
        as_json,
        [
            f"Campaign {opened.campaign} {state}: {opened.perturbations} perturbations, audit set {opened.audit}.",
            f"Round 0: {opened.plates} plates, {opened.wells} sample wells. Plate maps and worklists: {opened.design}",
            f"Upload plate files to {opened.location}/inbox, then: hybridscreen round {config}",
        ],
    )


@app.command("round")
def round_(config: Config, round_index: RoundNumber = None, as_json: AsJson = False) -> None:
    """Compute what arrived; says what it recomputed and why."""
    _checked(config, opened=True)
    from flows.console import answer, with_bar
    from flows.round import run_round

    result = with_bar("round", lambda: run_round(str(config), round_index))
    answer(result, as_json, _round_lines(result, config))
    if result.status == "waiting":
        raise typer.Exit(1)


@app.command()
def plan(config: Config, round_index: RoundNumber = None, as_json: AsJson = False) -> None:
    """Tell what a round would recompute, and why."""
    _checked(config, opened=True)
    from flows.console import answer, with_bar
    from flows.round import run_round

    result = with_bar("planning", lambda: run_round(str(config), round_index, plan=True))
    lines = [f"  {event.node}: {event.reason}" for event in result.computed]
    lines += [f"  refused: {r['file']}: {r['reason']}" for r in result.rejections]
    answer(result, as_json, [f"Round {result.round}: {result.message}", *lines])


@app.command()
def release(
    config: Config,
    round_index: RoundNumber = None,
    veto: Annotated[
        list[str] | None, typer.Option("--veto", help="Perturbation that may never be chosen; releases nothing.")
    ] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Reject the batch; releases nothing.")] = False,
    note: Annotated[str, typer.Option("--note", help="Why; needed to veto or reject, kept for good.")] = "",
    as_json: AsJson = False,
) -> None:
    """Freeze the proposed batch as the next round's design, or refuse it."""
    _checked(config, opened=True)
    from flows.console import answer, with_bar
    from flows.release import release_batch, release_lines

    decision: Literal["approve", "veto", "reject"] = "reject" if reject else "veto" if veto else "approve"
    released = with_bar("releasing", lambda: release_batch(str(config), round_index, decision, veto or (), note))
    answer(released, as_json, release_lines(released, config))


plates = typer.Typer(help="States of the plates; waive or abandon one.", no_args_is_help=True)
app.add_typer(plates, name="plates")
Barcode = Annotated[str, typer.Argument(metavar="BARCODE", help="Barcode of the plate.")]
Note = Annotated[str, typer.Option("--note", help="Why; kept for good and shown in the report.")]


@plates.command("list")
def plates_list(config: Config, as_json: AsJson = False) -> None:
    """Show every attempt of every plate, its state and the reason."""
    from flows.console import answer
    from flows.inspection import list_plates
    from tasks.campaigns.reading import read_config

    found = list_plates(read_config(config))
    lines = [
        f"round {p['round']}  {p['barcode']}  attempt {p['attempt']}  {p['state']}: {p['reason']}" for p in found.plates
    ]
    answer(found, as_json, lines)


@plates.command("waive")
def plates_waive(config: Config, barcode: Barcode, note: Note, as_json: AsJson = False) -> None:
    """Use a plate although quality control failed it."""
    _mark(config, "waive", barcode, note, as_json)


@plates.command("abandon")
def plates_abandon(config: Config, barcode: Barcode, note: Note, as_json: AsJson = False) -> None:
    """Give a plate up: its perturbations may be chosen again."""
    _mark(config, "abandon", barcode, note, as_json)


def _mark(config: Path, decision: Literal["waive", "abandon"], barcode: str, note: str, as_json: bool) -> None:
    _checked(config, opened=True)
    from flows.console import answer
    from flows.plates import mark_plate

    mark = mark_plate(str(config), decision, barcode, note)
    state = f"is {mark.state}" if mark.newly else f"was {mark.state} before"
    lines = [f"Plate {mark.barcode}, attempt {mark.attempt}, {state}: {mark.note}"]
    answer(mark, as_json, [*lines, f"The next run of round {mark.round} uses this: hybridscreen round {config}"])


@app.command()
def status(config: Config, as_json: AsJson = False) -> None:
    """Show rounds, plates, the bound against γ, and wells."""
    from flows.console import answer, at_least
    from flows.inspection import campaign_status
    from tasks.campaigns.reading import read_config

    found = campaign_status(read_config(config))
    lines = [f"{found.campaign}: {found.perturbations} perturbations, target accuracy γ = {found.gamma:g}"]
    for each in found.rounds:
        states = ", ".join(f"{count} {state}" for state, count in each.states.items())
        bound = "" if each.bound is None else f"; accuracy at least {at_least(each.bound)}"
        lines.append(f"  round {each.round}: plates {each.plates} ({states}), sample wells {each.wells}{bound}")
    if found.decision:
        rest = "saved" if found.decision["stop"] else "not used so far"
        wells = f"{found.decision['wells_used']} sample wells used, {found.decision['wells_saved']} {rest}"
        lines += [found.decision["reason"], f"{wells}, of a full screen's {found.decision['wells_full_screen']}."]
    if found.repeats:
        lines.append(f"To repeat: {', '.join(found.repeats)}")
    answer(found, as_json, lines)


@app.command()
def verify(
    config: Config,
    repair: Annotated[bool, typer.Option("--repair", help="Compute damaged and missing checkpoints again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Re-read everything stored and check its digest."""
    from flows.console import answer, with_bar
    from flows.verifying import verify_campaign, verify_lines
    from tasks.campaigns.reading import read_config

    checked = read_config(config)
    if repair:
        _checked(config, opened=True)
        from flows.repairing import verify_and_repair

        found = with_bar("repairing", lambda: verify_and_repair(str(config)))
    else:
        found = with_bar("verifying", lambda: verify_campaign(checked))
    answer(found, as_json, verify_lines(found))
    if found.problems:
        raise typer.Exit(1)


@app.command()
def gc(
    config: Config,
    delete: Annotated[bool, typer.Option("--delete", help="Do it; otherwise only tell.")] = False,
    grace: Annotated[int, typer.Option("--grace", min=1, help="Days; longer than any round takes.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Remove checkpoints that nothing references."""
    from flows.collection import collect_campaign, collect_lines
    from flows.console import answer, with_bar
    from tasks.campaigns.reading import read_config

    found = with_bar("looking", lambda: collect_campaign(read_config(config), grace, delete=delete))
    answer(found, as_json, collect_lines(found, config))


@app.command()
def diff(
    config: Config,
    before: Annotated[int, typer.Argument(metavar="BEFORE", help="Number of a published screen.")],
    after: Annotated[int, typer.Argument(metavar="AFTER", help="Number of another one.")],
    as_json: AsJson = False,
) -> None:
    """Tell what changed between two published screens, and why."""
    from flows.comparison import compare_published, diff_lines
    from flows.console import answer
    from tasks.campaigns.reading import read_config

    found = compare_published(read_config(config), before, after)
    answer(found, as_json, diff_lines(found))


@app.command()
def publish(
    config: Config,
    to: Annotated[str, typer.Argument(metavar="TO", help="Folder or s3://bucket/prefix.")],
    screen: Annotated[int | None, typer.Option("--screen", min=1, help="Number of the screen; the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Copy a published screen, whole, to where others read it."""
    _checked(config, opened=True)
    from flows.console import answer, with_bar
    from flows.sharing import publish_screen, shared_lines

    shared = with_bar("copying", lambda: publish_screen(str(config), to, screen))
    answer(shared, as_json, shared_lines(shared))


app.command()(screen_commands.assess)
app.command()(screen_commands.score)
app.command()(screen_commands.replay)
app.command()(screen_commands.bench)
app.command()(screen_commands.demo)
app.command()(service_commands.serve)
app.command()(service_commands.deploy)
app.command()(service_commands.upload)


def _round_lines(result: "RoundResult", config: Path) -> list[str]:
    computed = result.computed
    lines = [
        f"Round {result.round}" + (f", run {result.run:02d}: " if result.run else ": ") + result.message,
        f"  plates: {result.plates_passed} of {result.plates_planned} passed; steps: {len(computed)} computed, "
        f"{len(result.events) - len(computed)} cached",
        *(f"    {event.node}: {event.reason}" for event in computed[:8]),
    ]
    if len(computed) > 8:
        lines.append(f"    and {len(computed) - 8} more; the report lists all")
    lines += [f"  warning: {warning}" for warning in result.warnings]
    lines += [f"  excluded wells: {result.excluded}"] if result.excluded else []
    lines += [f"  refused: {r['file']}: {r['reason']}" for r in result.rejections[:5]]
    if len(result.rejections) > 5:
        lines.append(f"    and {len(result.rejections) - 5} more in rejected.csv beside the list of repeats")
    if result.status in ("decided", "unchanged"):
        lines += [f"  went on without {p['barcode']}, {p['state']}: {p['reason']}" for p in result.without]
    if result.repeats:
        lines.append(f"  to repeat: {', '.join(result.repeats)} (attempts and reasons: {result.repeat_list})")
    if result.report:
        lines += [f"  report: {result.report}", f"  hybrid screen: {result.screen}"]
    if result.proposal:
        lines.append(f"  proposed: {result.proposal} (to release it: hybridscreen release {config})")
    if result.released:
        lines.append(f"  released: {result.released} (plate maps and worklists of the next round)")
    return lines
