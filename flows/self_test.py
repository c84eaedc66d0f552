"""Does everything still work here? A tiny campaign from its opening to its second screen, in a temporary folder."""

from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import flow

from flows.campaign import open_campaign
from flows.results import Result, RoundResult
from flows.round import run_round
from flows.verifying import verify_campaign
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.reading import read_config
from tasks.errors import HybridScreenError
from tasks.labs.rounds import answer_round
from tasks.labs.tiny import tiny_lab, write_tiny_campaign


class SelfTested(Result):
    """Answer of `self-test`: what was repeated, and how many steps and files there were."""

    repeated: list[str]
    steps: int
    files: int


@flow(name="self-test", persist_result=False)
def self_test() -> SelfTested:
    """Run a tiny campaign through two rounds with a failed plate, and check that a rerun computes nothing.

    Raises:
        HybridScreenError: Something is not as it should be.
    """
    with TemporaryDirectory(prefix="hybridscreen-self-test-") as folder:
        path = write_tiny_campaign(Path(folder))
        config, lab = read_config(path), tiny_lab()
        storage = Ledger.of(config).storage
        open_campaign(str(path))
        answer_round(storage, lab, 0)
        require(run_round(str(path)), "decided", repeats=False)
        answer_round(storage, lab, 1)
        failed = require(run_round(str(path)), "decided", repeats=True)
        answer_round(storage, lab, 1)
        last = require(run_round(str(path)), "decided", repeats=False)
        again = require(run_round(str(path)), "unchanged", repeats=False)
        if again.computed:
            raise HybridScreenError(f"self-test: a rerun computed {again.computed[0].node}: {again.computed[0].reason}")
        verified = verify_campaign(config)
        if verified.problems:
            raise HybridScreenError(f"self-test: {verified.problems[0]}")
    return SelfTested(
        campaign=last.campaign,
        location=last.location,
        repeated=failed.repeats,
        steps=len(last.events),
        files=verified.files,
    )


def require(result: RoundResult, status: str, *, repeats: bool) -> RoundResult:
    """A round's answer, if it is the one that was to come.

    Raises:
        HybridScreenError: It is another.
    """
    if result.status != status or bool(result.repeats) != repeats:
        raise HybridScreenError(f"self-test: round {result.round} is {result.status}: {result.message}")
    return result
