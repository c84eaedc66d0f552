"""Nodes of the campaigns room: who is chosen, who is hidden."""

from collections.abc import Mapping, Sequence

from tasks.campaigns.designs import read_table
from tasks.campaigns.membership import membership_table
from tasks.campaigns.vetoes import read_vetoes
from tasks.checkpoints.checkpointer import Checkpointer, Outputs
from tasks.checkpoints.keys import Stage
from tasks.checkpoints.payloads import Payload
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.task import node_task

MEMBERSHIP = Stage("membership", 2, cheap=True)


@node_task("membership")
def membership(
    cp: Checkpointer, library: Ref, batches: Mapping[int, Ref], veto: str | None = None, vetoed: Sequence[str] = ()
) -> Outputs:
    """Where every perturbation stands: chosen, hidden, vetoed, round and arm of its first batch (round -1 if in none).

    `veto`: annotation of the library that tells who is vetoed. `vetoed`: who was vetoed by a person since.
    """

    def compute() -> dict[str, Payload]:
        annotation = cp.load(library).obs
        ids = annotation.index.tolist()
        tables = {number: read_table(cp.load(ref)) for number, ref in batches.items()}
        barred = read_vetoes(annotation, veto) | annotation.index.isin(list(vetoed))
        return {"table": Payload("table", membership_table(ids, tables, barred))}

    inputs = {"library": library, **{f"batch/{number:04d}": ref for number, ref in batches.items()}}
    params = {"veto": veto, **({"vetoed": sorted(vetoed)} if vetoed else {})}
    return cp.run("membership", MEMBERSHIP, compute, outputs=("table",), params=params, inputs=inputs)
