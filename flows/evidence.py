"""Is active selection worth it? Asked of the training labels in every round, before the next batch is chosen."""

from flows.fitting import named
from flows.following import follow
from flows.parts import Round
from tasks.assessing.findings import Assessment
from tasks.assessing.recipe import Labelled, parts
from tasks.assessing.task import assess_library, assess_replay, assess_round
from tasks.campaigns.ledger import Ledger
from tasks.checkpoints.checkpointer import Outputs
from tasks.checkpoints.pieces import Place
from tasks.checkpoints.record_files import stored_record
from tasks.checkpoints.refs import Ref
from tasks.operators.task import Omega

FILE = "assessment.json"


def assess(this: Round, place: Place, labels: Outputs, standing: Ref, omega: Omega) -> Outputs:
    """Evidence, verdict, and the share of the next batch that is drawn at random for it."""
    cp, config = this.cp, this.config
    labelled = Labelled(this.library, labels["training"], labels["incidence"], labels["noise"], standing)
    library = assess_library.submit(cp, place, this.library, config)
    pieces = named("assess/replay/", 3, parts(config.batch.adaptive.repeats))
    replays = follow(
        this,
        "assess",
        {node: assess_replay.submit(cp, place, node, labelled, config, repeats) for node, repeats in pieces.items()},
    )
    before = earlier_share(this.ledger, this.number)
    return assess_round.submit(cp, labelled, library.result(), replays, omega, config, this.number, before).result()


def earlier_share(ledger: Ledger, number: int) -> float:
    """Share of random picks that the newest run of the round before decided; 0 where there is none."""
    run = ledger.last_decided(number - 1) if number > 0 else None
    path = "" if run is None else f"{run.folder}/{FILE}"
    if run is None or not ledger.storage.exists(path):
        return 0.0
    return stored_record(ledger.storage, path, Assessment).random_share
