"""Does the certificate hold? Runs the demo's campaign with many seeds and sets every bound beside the truth.

    make validity            100 seeds, results to tests/benchmarks/results/certificate_validity.csv

Each campaign goes through the real flows, plate files and all. A seed is valid when no screen that the campaign
published, at whatever look, claimed more than the true accuracy that only the lab knows.
"""

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COLUMNS = "seed,rounds,looks,certified,bound,true,wells_used,wells_full_screen,last_look_valid,every_look_valid"


def one_seed(seed: int) -> str:
    """Run one campaign; a line of the table."""
    import anndata

    from flows.demo import run_demo
    from tasks.campaigns.reading import read_config
    from tasks.labs.solubility import measured
    from tasks.labs.truth import true_accuracy

    folder = Path(tempfile.mkdtemp())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            final = run_demo(folder, seed, as_json=True)
        readout, truth = read_config(folder / "campaign.yaml").readout, measured()
        valid = []
        for path in sorted(Path(final.location).glob("screens/*/screen.zarr")):
            screen = anndata.read_zarr(path)
            assert screen.obs_names.tolist() == truth["perturbation"].tolist()
            valid.append(float(screen.uns["certificate"]["bound"]) <= true_accuracy(screen.obs, truth, readout))
    finally:
        shutil.rmtree(folder)
    facts = (seed, final.rounds, len(valid), final.certified, f"{final.bound:.6f}", f"{final.true:.6f}")
    return ",".join(map(str, (*facts, final.wells_used, final.wells_full_screen, valid[-1], all(valid))))


def work(seeds: list[int]) -> None:
    """Run seeds one after the other in this process, with a Prefect database of its own; a line each."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["PREFECT_HOME"] = home
        from flows.cli import prepare_environment

        prepare_environment()
        for seed in seeds:
            sys.stdout.write(one_seed(seed) + "\n")
            sys.stdout.flush()


def run_all(seeds: range, jobs: int, out: Path) -> None:
    """Share the seeds out to processes; finished seeds of an earlier start are kept."""
    lines = out.read_text().splitlines()[1:] if out.exists() else []
    done = {int(line.split(",")[0]) for line in lines}
    waiting = [str(seed) for seed in seeds if seed not in done]
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = threading.Lock()

    def follow(share: list[str]) -> int:
        command = [sys.executable, __file__, "--worker", *share]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as worker:
            for line in worker.stdout or ():
                with lock:
                    lines.append(line.strip())
                    lines.sort(key=lambda text: int(text.split(",")[0]))
                    out.write_text("\n".join([COLUMNS, *lines]) + "\n")
        return worker.returncode

    shares = [share for i in range(jobs) if (share := waiting[i::jobs])]
    with ThreadPoolExecutor(len(shares) or 1) as pool:
        if any(pool.map(follow, shares)):
            raise SystemExit("a campaign failed; start again to go on with the seeds that are left")


def summary(out: Path) -> str:
    """The table in two lines."""
    rows = [line.split(",") for line in out.read_text().splitlines()[1:]]
    last, every, certified = (sum(row[i] == "True" for row in rows) for i in (8, 9, 3))
    return (
        f"{len(rows)} seeds: the final bound was not above the truth in {last}, no bound at any look was in {every}.\n"
        f"{certified} campaigns reached their target."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "certificate_validity.csv")
    parser.add_argument("--worker", type=int, nargs="+", help="seeds to run in this process")
    given = parser.parse_args()
    if given.worker is not None:
        work(given.worker)
    else:
        run_all(range(given.seeds), given.jobs, given.out)
        sys.stdout.write(summary(given.out) + "\n")
