"""Three rounds through the pages, by schedule and by event, on the whole stack: what the operator's guide describes.

PostgreSQL, Redis, an S3 store that refuses wrong keys, Prefect servers with a password, a worker, a Dask scheduler and
two workers run in processes of their own, Chromium shows the pages. HYBRIDSCREEN_PICTURES is where pictures are kept.
"""

import os
import subprocess
from pathlib import Path

import psutil
import pytest
from pages import CHROMIUM, opened
from stack import POSTGRES, VALUES, needs_servers
from three_rounds import NAME, Runs, running

from tasks.campaigns.ledger import Ledger
from tasks.campaigns.reading import read_config

pytestmark = [
    pytest.mark.browser,
    needs_servers,
    pytest.mark.skipif(not os.environ.get("HYBRIDSCREEN_REAL_S3"), reason="no real S3 store: run by make stack-test"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
]


def processes_of(stack):
    """Processes that know this stack's server, however they were started."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.environ().get("PREFECT_API_URL", "").startswith(stack.url):
                found.append(" ".join(each.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.fixture
def site(tmp_path):
    """The stack with its campaign and lab, and the pages; nothing of it is left afterwards."""
    pictures = Path(os.environ.get("HYBRIDSCREEN_PICTURES", tmp_path / "pictures"))
    pictures.mkdir(parents=True, exist_ok=True)
    with running(tmp_path) as (stack, campaign, lab), opened(stack.url, pictures) as pages:
        pages.log_in(VALUES["API_AUTH_STRING"])
        yield stack, campaign, lab, pages
    assert processes_of(stack) == []


def test_three_rounds(site):
    stack, campaign, lab, pages = site
    runs = Runs(stack)
    runs.schedule("watch", active=False)
    opened_by_form(runs, pages)
    first_round_by_form(runs, pages, lab)
    plate_repeated(runs, pages, lab)
    gone = batch_vetoed(runs, pages, campaign)
    batch_approved(runs, pages, 2)
    assert gone not in file_of(campaign, "rounds/0001/design/batch.csv")
    second_round_by_schedule(runs, pages, lab)
    batch_approved(runs, pages, 3)
    third_round_by_upload(runs, pages, lab, stack, campaign)
    said_the_same_everywhere(stack, campaign)
    secret_is_nowhere(stack, campaign)
    nothing_was_dropped(stack)
    assert pages.foreign == []


def file_of(campaign, path):
    return Ledger.of(read_config(campaign)).storage.read(path).decode()


def opened_by_form(runs, pages):
    pages.see("deployments", "repeat-plates", "self-test", "watch")
    pages.picture("deployments")
    pages.form("open")
    pages.pick("campaign", NAME)
    pages.submit()
    assert runs.ended("open", 1)["state"]["name"] == "Completed"


def first_round_by_form(runs, pages, lab):
    """A wrong value is refused at its field; with the right one the round waits, and says for which plate and why."""
    lab.deliver(lab.measure(0))
    pages.form("round")
    pages.pick("campaign", NAME)
    pages.number("round_index", -1)
    pages.submit()
    assert "-1" in pages.refusal("round_index")
    pages.picture("form-refused")
    assert runs.of("round") == []
    pages.number("round_index", 0)
    pages.submit()
    run = runs.ended("round", 1)
    assert (run["state"]["name"], run["name"]) == ("Waits for plates", f"round 0 of {NAME}"), run["state"]
    assert "Another round" not in runs.log(run)
    (failed,) = [state for state in runs.tasks(run).values() if state["name"] == "Plate failed"]
    assert "zprime" in failed["message"]
    pages.see(f"runs/flow-run/{run['id']}", "Waits for plates", "Plate failed")
    pages.picture("plate-failed")
    pages.artifact(f"{NAME}-plates", f"{NAME}-R00-P02")
    pages.picture("plates")


def plate_repeated(runs, pages, lab):
    """The same round again computes what depends on the repeat, and nothing else."""
    files = lab.measure(0)
    assert [file.name for file in files] == [f"{NAME}-R00-P02.attempt2.csv"]
    lab.deliver(files)
    pages.form("round")
    pages.pick("campaign", NAME)
    pages.submit()
    run = runs.ended("round", 2)
    assert run["state"]["name"] == "Waits for approval", run["state"]
    states = runs.tasks(run)
    kept = {name for name, state in states.items() if state["name"] == "Cached"}
    assert any(f"{NAME}-R00-P01" in name for name in kept)
    assert not any(f"{NAME}-R00-P01" in name for name in states.keys() - kept)
    pages.see(f"runs/flow-run/{run['id']}", "Waits for approval", "Cached")
    pages.picture("round")


def batch_vetoed(runs, pages, campaign):
    """One perturbation of the batch is vetoed; the watch hears of it, and the round proposes anew. Its id."""
    pages.artifact(f"{NAME}-proposal", "sample wells")
    pages.picture("proposal")
    (proposal,) = [
        path for path in Ledger.of(read_config(campaign)).storage.list("rounds/0000/runs") if "proposal/batch" in path
    ]
    gone = next(line.split(",")[0] for line in file_of(campaign, proposal).splitlines() if ",measure," in line)
    pages.form("release")
    pages.pick("campaign", NAME)
    pages.pick("decision", "veto")
    pages.item("veto", gone)
    pages.text("note", "precipitates")
    pages.picture("veto")
    pages.submit()
    assert runs.ended("release", 1)["state"]["name"] == "Completed"
    again = runs.ended("round", 3)
    assert again["state"]["name"] == "Waits for approval", again["state"]
    return gone


def batch_approved(runs, pages, count):
    """The watch hears of it, and finds that nothing is to be done before plates come."""
    looks = len(runs.of("watch"))
    pages.form("release")
    pages.pick("campaign", NAME)
    pages.submit()
    answer = runs.ended("release", count)
    assert answer["state"]["name"] == "Completed", answer["state"]
    assert runs.ended("watch", looks + 1)["state"]["name"] == "Nothing new"


def second_round_by_schedule(runs, pages, lab):
    """Plates lie in the inbox, nobody says so: the next look finds them."""
    lab.deliver(lab.measure(1))
    runs.schedule("watch", active=True, schedule={"interval": 20})
    run = runs.ended("round", 4)
    runs.schedule("watch", active=False)
    runs.settled("watch")  # a look that was due may not find the next upload
    assert (run["state"]["name"], run["name"]) == ("Waits for approval", f"round 1 of {NAME}"), run["state"]
    watch = [each for each in runs.of("watch") if each["state"]["name"] == "Started"][-1]
    assert watch["created_by"]["type"] == "SCHEDULE"
    assert watch["name"] == "look at all campaigns"


def third_round_by_upload(runs, pages, lab, stack, campaign):
    said = stack.run("prefect-worker", "hybridscreen", "upload", campaign, *lab.measure(2))
    assert "round" in said
    run = runs.ended("round", 5)
    assert run["name"] == f"round 2 of {NAME}"
    assert run["state"]["name"] in ("Waits for approval", "Completed"), run["state"]
    watch = [each for each in runs.of("watch") if each["state"]["name"] == "Started"][-1]
    assert watch["created_by"]["type"] == "AUTOMATION"
    assert watch["name"] == f"look at {NAME}"
    pages.artifact("watch", "round 2")
    pages.picture("watch")
    pages.artifact(f"{NAME}-verdict", "Round 2")
    pages.picture("verdict")


def said_the_same_everywhere(stack, campaign):
    """Every round published a screen; what is stored is what its digests say."""
    storage = Ledger.of(read_config(campaign)).storage
    assert len(storage.folders("screens")) == 4  # one of the proposal that was vetoed
    stack.run("prefect-worker", "hybridscreen", "verify", campaign)  # ends with 1 if anything is damaged


def nothing_was_dropped(stack):
    """Each server does its own tasks: one that gets another's drops it, and a schedule waits a minute longer."""
    assert [path.name for path in stack.folder.glob("*.log") if "Unknown task" in path.read_text()] == []


def secret_is_nowhere(stack, campaign):
    """Neither in logs nor in the database nor in the bucket."""
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    logs = {path.name: path.read_bytes() for path in stack.folder.glob("*.log")}
    assert len(logs) > 5
    address = ["-h", "127.0.0.1", "-p", str(stack.ports["postgres"]), "-U", "prefect", "prefect"]
    login = {"PGPASSWORD": VALUES["DATABASE_PASSWORD"], "PATH": os.environ["PATH"]}
    dump = subprocess.run([POSTGRES.with_name("pg_dump"), *address], env=login, capture_output=True, check=True)
    assert f"round 2 of {NAME}".encode() in dump.stdout
    storage = Ledger.of(read_config(campaign)).storage
    files = {path: storage.read(path) for path in storage.list()}
    assert [name for name, data in {**logs, **files, "database": dump.stdout}.items() if secret in data] == []
