"""Commands that need no open campaign: assess, score, replay, bench, demo."""

from pathlib import Path
from typing import Annotated

import typer

from tasks.errors import UserError

AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]


def assess(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CAMPAIGN.YAML]", help="An open campaign; or, with --screen, one to come.")
    ] = None,
    screen: Annotated[str | None, typer.Option(help="Past screen, before a campaign: table or AnnData.")] = None,
    values: Annotated[
        list[str] | None, typer.Option(help="Column of the past screen with the values; several are replicates.")
    ] = None,
    library: Annotated[str | None, typer.Option(help="Its features by id; else the screen holds them.")] = None,
    id_column: Annotated[str, typer.Option("--id", help="Column with the id.")] = "perturbation",
    features: Annotated[str, typer.Option(help="Prefix of the feature columns, or a key of obsm.")] = "X",
    strategy: Annotated[str | None, typer.Option(help="Strategy to assess; that of the campaign.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 0,
    repeats: Annotated[
        int | None,
        typer.Option(min=2, max=20, help="Repeats of the replay in a past screen; 6, or the campaign's."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether active selection is worth it here, before a campaign or in it."""
    from flows.assessing import assess_campaign, assess_past_screen, assessment_lines
    from flows.console import answer, with_bar
    from tasks.campaigns.reading import read_config

    if config is None and screen is None:
        raise UserError("nothing to assess", where="assess", expected="CAMPAIGN.YAML, or --screen FILE --values COLUMN")
    of_a_screen = {"--values": values, "--strategy": strategy, "--repeats": repeats}
    if screen is None and (given := [name for name, value in of_a_screen.items() if value]):
        told = "an open campaign was assessed in its rounds, as its configuration says"
        raise UserError(told, where=" ".join(given), todo="Add --screen FILE, or change the configuration.")
    if config is not None and library is not None:
        raise UserError("the configuration names the library", where="--library", got=library)
    read = None if config is None else read_config(config)
    if screen is not None:
        past = with_bar(
            "assessing",
            lambda: assess_past_screen(
                screen, values or (), read, library, id_column, features, strategy, seed, repeats
            ),
        )
        answer(past, as_json, assessment_lines(past))
    elif read is not None:
        found = assess_campaign(read)
        answer(found, as_json, assessment_lines(found))


def score(
    screen: Annotated[Path, typer.Argument(metavar="SCREEN.YAML", help="Description of the finished screen.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the results; NAME-scores by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the results of an earlier run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score a finished screen: plate files to quality, scores and a page."""
    from flows.console import answer, with_bar
    from flows.score import score_lines, score_screen

    scored = with_bar("scoring", lambda: score_screen(str(screen), out, force=force))
    answer(scored, as_json, score_lines(scored))
    if not scored.perturbations:
        raise typer.Exit(1)


def replay(
    config: Annotated[Path, typer.Argument(metavar="REPLAY.YAML", help="Configuration of the replay.")],
    as_json: AsJson = False,
) -> None:
    """Play finished screens under several strategies: does any beat random?"""
    from tasks.replays.results import read_replay

    read_replay(config)  # most mistakes are seen here, before Prefect starts

    from flows.console import answer, with_bar
    from flows.replay import replay as play
    from flows.replay import replay_lines
    from flows.server import require_answer

    require_answer()
    replayed = with_bar("replaying", lambda: play(str(config)))
    answer(replayed, as_json, replay_lines(replayed))


def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help="fit, ingest, predict, rerun or select.")],
    plates_: Annotated[int | None, typer.Option("--plates", min=1, help="Plates.")] = None,
    wells: Annotated[int | None, typer.Option(min=96, help="Wells of a plate: 96, 384 or 1536.")] = None,
    features: Annotated[int | None, typer.Option(min=1, help="Features of a well, or of a perturbation.")] = None,
    pool: Annotated[int | None, typer.Option(min=1, help="Perturbations of the library.")] = None,
    members: Annotated[int | None, typer.Option(min=2, help="Members of the ensemble.")] = None,
    hidden: Annotated[int | None, typer.Option(min=1, help="Width of each of two hidden layers.")] = None,
    labels: Annotated[int | None, typer.Option(min=20, help="Labels to learn from.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the labels.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Way of choosing a batch; or an operator, eigenmodes-alone or cobias.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Perturbations to choose.")] = None,
    observed: Annotated[int | None, typer.Option(min=0, help="Perturbations measured before.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Workers of a Dask cluster; 0: threads.")] = None,
    from_disk: Annotated[bool | None, typer.Option("--from-disk", help="Read zarr chunks instead of memory.")] = None,
    peers: Annotated[bool | None, typer.Option("--peers/--no-peers", help="Time the named peers beside it.")] = None,
    storage: Annotated[str | None, typer.Option(help="Folder or URL for a campaign's files, which stay there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure speed and memory on this machine, beside the least that could do the job."""
    from flows.bench import bench_lines, run_bench
    from flows.console import answer, with_bar

    given = {
        "plates": plates_, "wells": wells, "features": features, "pool": pool, "members": members, "hidden": hidden,
        "labels": labels, "epochs": epochs, "strategy": strategy, "batch": batch, "observed": observed,
        "workers": workers, "from_disk": from_disk, "peers": peers, "storage": storage,
    }  # fmt: skip
    sizes = {size: value for size, value in given.items() if value is not None}
    found = with_bar(f"bench {name}", lambda: run_bench(name, sizes))
    answer(found, as_json, bench_lines(found))


def demo(
    folder: Annotated[Path, typer.Option("--into", help="Folder to work in.")] = Path("hybridscreen-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of campaign and lab.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Run the whole loop on real data; no service needed."""
    from flows.demo import run_demo

    run_demo(folder, seed, as_json)
