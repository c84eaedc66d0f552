"""Runs the nodes of a DAG through the store: a hit is read, a miss is computed, recorded and explained."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.checkpoints.keys import Stage, stage_key
from tasks.checkpoints.payloads import decode, encode
from tasks.checkpoints.pieces import CallingThread, Compute, Piece, Place
from tasks.checkpoints.progress import current_listener
from tasks.checkpoints.reasons import why_computed
from tasks.checkpoints.records import Event, NodeRecord, Status
from tasks.checkpoints.refs import Ref
from tasks.checkpoints.store import CheckpointStore, DamagedCheckpoint, describe

_LOOKING = 8  # checkpoints verified at once: each is held in memory meanwhile


@dataclass(frozen=True)
class Outputs:
    """References to what a node gave, and whether they were there already."""

    refs: Mapping[str, Ref]
    hit: bool
    reason: str

    def __getitem__(self, name: str) -> Ref:
        return self.refs[name]


class Checkpointer:
    """One run over a campaign's store.

    In a plan nothing is written: cheap stages are computed in memory, and the outputs of the others are references to
    values that do not exist yet, so that every stage after them shows as planned too.

    Args:
        store: Where checkpoints live.
        before: Records of the last run, by node, from which reasons are told.
        flow_run: Id of the flow run, for the manifests.
        plan: Tell what would be computed without doing it.
    """

    def __init__(
        self,
        store: CheckpointStore,
        before: Mapping[str, NodeRecord] | None = None,
        *,
        flow_run: str | None = None,
        plan: bool = False,
    ) -> None:
        self.store = store
        self.plan = plan
        self.records: dict[str, NodeRecord] = {}
        self.events: list[Event] = []
        self._before = dict(before or {})
        self._flow_run = flow_run
        self._memory: dict[str, Any] = {}
        self._verified: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._looking = threading.BoundedSemaphore(_LOOKING)
        self._listener = current_listener()

    def run(
        self,
        node: str,
        stage: Stage,
        compute: Compute,
        *,
        outputs: tuple[str, ...],
        params: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Ref] | None = None,
        seed: int | None = None,
        place: Place | None = None,
        device: bool = False,
    ) -> Outputs:
        """Give a node's outputs, from its checkpoint or by computing them.

        Args:
            node: Name of the node in this DAG, as `quality/P3.2`.
            stage: What kind of computation it is.
            compute: Called without arguments on a miss; returns a payload for every name in `outputs`. See `Piece` for
                what can be computed in another process.
            outputs: Names of the outputs.
            params: Everything besides inputs and seed on which the result depends.
            inputs: References by name.
            seed: Seed of the computation, None if it draws nothing.
            place: Where it is computed, the calling thread if not given. No part of the key.
            device: Whether it would use an accelerator. No part of the key.
        """
        params, inputs = _plain(dict(params or {})), dict(inputs or {})
        record = NodeRecord(
            node=node,
            stage=stage.name,
            version=stage.version,
            key=stage_key(stage, params, inputs, seed),
            params=params,
            seed=seed,
            inputs={name: ref.sha256 for name, ref in inputs.items()},
        )
        started = time.perf_counter()
        with self._looking:
            found = self.store.find(stage.name, record.key, take_back=not self.plan)
        status: Status = "cached"
        if found.manifest is not None:
            refs, reason = found.manifest.refs(), "checkpoint found"
            self._verified.update(found.small)
        else:
            reason = why_computed(record, self._before.get(node), found.problem)
            if self.plan:
                refs, status = self._foresee(record, stage, compute, inputs, outputs), "planned"
            else:
                piece = Piece(self.store, record, outputs, compute, reason, self._flow_run, device)
                refs, status = (place or CallingThread()).do(piece, self._listener).refs(), "computed"
        self._note(record.model_copy(update={"outputs": dict(refs)}), status, reason, time.perf_counter() - started)
        return Outputs(refs, status == "cached", reason)

    def load(self, ref: Ref) -> Any:
        """Value of a reference, digest checked: now, or when this run found its checkpoint.

        Raises:
            DamagedCheckpoint: If it is missing, damaged, or only planned.
        """
        if ref.sha256 in self._memory:
            return self._memory[ref.sha256]
        if ref.pending:
            raise DamagedCheckpoint(f"{ref.uri} is only planned")
        if ref.kind == "json" and ref.sha256 in self._verified:
            return decode(ref.kind, {"": self._verified[ref.sha256]})
        return self.store.load(ref)

    def before(self, node: str) -> NodeRecord | None:
        """Record of a node in the runs before this one, None if it was in none."""
        return self._before.get(node)

    def nodes_before(self, prefix: str) -> list[NodeRecord]:
        """Records of the runs before this one whose node begins with `prefix`, by node."""
        return [record for name, record in sorted(self._before.items()) if name.startswith(prefix)]

    def carry(self, record: NodeRecord, node: str) -> Outputs:
        """Take a node over from the runs before this one as it was, because what it was made from is gone.

        Args:
            record: Its record.
            node: Its name in this run.

        Raises:
            DamagedCheckpoint: Its checkpoint is missing or damaged: nothing can compute it again.
        """
        if self.store.find(record.stage, record.key, take_back=not self.plan).manifest is None:
            raise DamagedCheckpoint(
                f"the checkpoint of {record.node} is missing or damaged, and what it was made from is gone. "
                "Put the file back into the inbox as it was"
            )
        self._note(record.model_copy(update={"node": node}), "cached", "taken over from an earlier run", 0.0)
        return Outputs(record.outputs, True, "taken over from an earlier run")

    def _foresee(
        self, record: NodeRecord, stage: Stage, compute: Compute, inputs: Mapping[str, Ref], outputs: tuple[str, ...]
    ) -> dict[str, Ref]:
        if stage.cheap and not any(ref.pending for ref in inputs.values()):
            refs = {}
            for name, payload in compute().items():
                refs[name] = describe(f"plan/{record.node}/{name}", payload, encode(payload)).ref()
                self._memory[refs[name].sha256] = payload.value
            return refs
        pending = f"pending:{record.key}"
        return {name: Ref(uri=f"plan/{record.node}/{name}", sha256=pending, kind="json") for name in outputs}

    def _note(self, record: NodeRecord, status: Status, reason: str, seconds: float) -> None:
        event = Event(node=record.node, status=status, reason=reason, seconds=seconds)
        with self._lock:
            self.records[record.node] = record
            self.events.append(event)
        self._listener.finished(event)


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as plain JSON values, as they stand in manifests and locks."""
    return {
        name: value.model_dump(mode="json") if hasattr(value, "model_dump") else value for name, value in params.items()
    }
