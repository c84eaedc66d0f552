"""Does it beat random? Finished screens stand in for the lab: every strategy beside random, to tables and a page."""

import platform
from pathlib import Path
from typing import Any, cast

from prefect import flow
from prefect.artifacts import create_link_artifact
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.following import artifact_key, follow_pieces
from flows.forms import Place as PathOfFile
from flows.results import Result
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.manifest import package_versions
from tasks.checkpoints.payloads import Payload, encode, encode_json
from tasks.checkpoints.pieces import Place, cores
from tasks.checkpoints.progress import Listener, Watch, current_listener, listening
from tasks.checkpoints.records import Event
from tasks.checkpoints.store import CheckpointStore
from tasks.ensembles.cluster import open_cluster
from tasks.replays.cell import Cell
from tasks.replays.front import hits_front
from tasks.replays.page import ReplayData, render_replay
from tasks.replays.results import dump_replay, newest, read_replay, storage_of, unchanged, write_result
from tasks.replays.settings import ReplayConfig
from tasks.replays.summary import as_json, compare, measures
from tasks.replays.task import cell_node, costs, gather, load_screen

_AT_ONCE = 64  # campaigns that wait for a worker; the others wait for these


class Replayed(Result):
    """Answer of `replay`.

    `campaign` is its name, `campaigns` how many there are, `computed` how many of them were played now. `summary` holds
    the comparisons, `page` is where they are drawn.
    """

    campaigns: int
    computed: int
    newly: bool
    result: str
    page: str
    summary: dict[str, Any]


class Campaigns:
    """Tells a listener how many campaigns are played, instead of what each of them does.

    Args:
        listener: Hears it.
        total: How many there are.
    """

    def __init__(self, listener: Listener, total: int) -> None:
        self._listener, self._total, self._done = listener, total, 0

    def started(self, node: str, worker: str = "") -> None:
        """Ignore: many run at once."""

    def advanced(self, node: str, done: int, total: int) -> None:
        """Ignore."""

    def finished(self, event: Event) -> None:
        """Count a campaign."""
        if event.node.startswith("cell/"):
            self._done += 1
            self._listener.advanced("campaigns", self._done, self._total)


def run_name() -> str:
    """Name of a flow run: which file it plays."""
    return f"replay {Path(str(flow_run.get_parameters().get('config'))).name}"


@flow(
    name="replay",
    flow_run_name=run_name,
    persist_result=False,
    validate_parameters=False,
    task_runner=cast(TaskRunner[PrefectFuture[Any]], ThreadPoolTaskRunner(max_workers=_AT_ONCE)),
)
def replay(config: PathOfFile) -> Replayed:
    """Play finished screens under every strategy and seed. What was played before is not played again.

    Args:
        config: Path of the replay's YAML file on the worker's machine.
    """
    settings = read_replay(config)
    storage = storage_of(settings)
    storage.prove_create_if_absent()
    cells = cells_of(settings)
    watch = Watch(Campaigns(current_listener(), len(cells)))
    with listening(watch):
        cp = Checkpointer(CheckpointStore(storage), flow_run=flow_run.get_id())
    loading = {section.name: load_screen.submit(cp, section) for section in settings.screens}
    screens = {name: future.result() for name, future in loading.items()}
    with open_cluster(settings.compute) as place:
        outputs = play_all(cp, place, settings, cells, screens, watch)
    return publish(cp, settings, cells, outputs)


def cells_of(config: ReplayConfig) -> dict[str, tuple[str, Cell]]:
    """Screen and campaign of every cell by its node; all arms of a seed before the next seed."""
    return {
        f"cell/{screen.name}/{arm.name}/{seed}": (screen.name, Cell(config, arm, config.noise_of(screen), seed))
        for seed in config.seeds
        for screen in config.screens
        for arm in config.played
    }


def play_all(
    cp: Checkpointer,
    place: Place,
    config: ReplayConfig,
    cells: dict[str, tuple[str, Cell]],
    screens: dict[str, Outputs],
    watch: Watch,
) -> list[Outputs]:
    """Outputs of all cells, in their order."""
    futures = {
        node: cell_node.submit(cp, place, node, screens[screen]["screen"], cell)
        for node, (screen, cell) in cells.items()
    }
    name = config.replay.name
    return follow_pieces(watch, artifact_key(name, "replay"), f"{name}: {len(cells)} campaigns", futures)


def publish(
    cp: Checkpointer, config: ReplayConfig, cells: dict[str, tuple[str, Cell]], outputs: list[Outputs]
) -> Replayed:
    """Compare, draw, and write the result, unless it is there already."""
    storage = storage_of(config)
    played = [(screen, cell, found) for (screen, cell), found in zip(cells.values(), outputs, strict=True)]
    table, spent = gather(cp, played), costs(cp, played, list(cells))
    compared = {measure.name: compare(table, measure) for measure in measures(config) if measure.name in table}
    front = hits_front(table)
    summary = as_json(config, compared, front, spent)
    (figures,) = encode(Payload("table", table)).values()
    files = {"figures.parquet": figures, "replay.yaml": dump_replay(config).encode()}
    number = newest(storage)
    newly = not unchanged(storage, number, files)
    if newly:
        number += 1
        data = ReplayData(config, number, table, compared, front, spent, package_versions(), machine())
        files |= {"report.html": render_replay(data).encode(), "summary.json": encode_json(summary)}
        write_result(storage, number, files)
    folder = storage.locate(f"results/{number:04d}")
    page = f"{folder}/report.html"
    show_page(config, page, local=storage.is_local)
    return Replayed(
        campaign=config.replay.name,
        location=storage.url,
        campaigns=len(cells),
        computed=sum(not each.hit for each in outputs),
        newly=newly,
        result=folder,
        page=page,
        summary=summary,
    )


def show_page(config: ReplayConfig, page: str, *, local: bool) -> None:
    """`<name>-replay-page`: where the page is."""
    link = Path(page).as_uri() if local else page
    create_link_artifact(link=link, link_text="Replay", key=artifact_key(config.replay.name, "replay-page"))


def machine() -> str:
    """What computes, in words."""
    return f"{platform.machine()} {platform.system()}, {cores()} cores, Python {platform.python_version()}"


def replay_lines(replayed: Replayed) -> list[str]:
    """The answer in lines for a terminal: the decisive figure over all screens, then where everything is."""
    name, first = next(iter(replayed.summary["figures"].items()))
    of_logs = first["difference"] == "of logarithms"
    screens = len(replayed.summary["screens"])
    lines = [
        f"{replayed.campaigns} campaigns, {replayed.computed} played now. {name} against random, mean over rounds, "
        f"seeds and {screens} screen{'' if screens == 1 else 's'}"
        + (" (difference of logarithms):" if of_logs else ":")
    ]
    for row in sorted(first["overall"], key=lambda row: row["difference"], reverse=not first["low_is_good"]):
        ends = "" if row["low"] is None else f"  ({row['low']:+.3f} to {row['high']:+.3f})"
        lines.append(f"  {row['arm']:<24} {row['difference']:+.3f}{ends}  worst screen {row['worst']:+.3f}")
    return [*lines, f"Page: {replayed.page}" + ("" if replayed.newly else " (as before)")]
