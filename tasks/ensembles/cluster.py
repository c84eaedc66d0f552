"""Where the pieces of an ensemble are computed: this process, worker processes, or a Dask cluster.

The only module that opens Dask. Pieces are plain functions that read and write storage themselves; what travels is
their description there and their manifest back. A worker that is lost costs the piece it was at: the scheduler gives
it to another. Nothing here enters a key: the same pieces come out wherever they are computed.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from tasks.campaigns.compute_settings import ComputeSection
from tasks.checkpoints.manifest import Manifest
from tasks.checkpoints.pieces import Piece, Place, ThisProcess, compute_and_save
from tasks.checkpoints.progress import Listener, listening
from tasks.ensembles.workers import Relay, pass_on, refuse_other, surroundings
from tasks.errors import HybridScreenError, UserError

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster, Security

# One thread each, and to be found by nobody else.
_ON_THIS_MACHINE = {
    "threads_per_worker": 1,
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",  # None would be 8787
    "silence_logs": logging.CRITICAL,
}


class ClusterError(HybridScreenError):
    """The cluster was lost, or a piece of work killed the workers that tried it."""


@contextmanager
def open_cluster(config: ComputeSection) -> Iterator[Place]:
    """A place for pieces, as configured. Nothing starts before the first piece comes, and all ends with the context.

    Raises:
        UserError: With the first piece: the cluster cannot be had, or its workers run other versions.
        ClusterError: With any piece: the cluster was lost, or the piece killed several workers.
    """
    place = ThisProcess() if config.dask == "local" and not config.workers else DaskCluster(config)
    with place as opened:
        yield opened


class DaskCluster:
    """A place whose pieces are computed by the workers of a Dask cluster.

    Args:
        config: Which cluster.
    """

    def __init__(self, config: ComputeSection) -> None:
        self._config = config
        self._opened = ExitStack()
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._refusal: HybridScreenError | None = None
        self._gpus = False
        self._listeners: dict[str, Listener] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._client, self._refusal = None, ClusterError("the cluster was closed before this piece came")
            self._opened.close()

    def do(self, piece: Piece, listener: Listener) -> Manifest:
        """Do a piece on a worker.

        Each submission has a name of its own: Dask would hand out the error of an earlier one of the same name, or the
        manifest of another campaign. Of two that are the same, one checkpoint wins, and the other reads it.
        """
        client = self._connected()
        self._listeners[piece.record.node] = listener
        future = client.submit(
            do_piece,
            pickle.dumps(piece),
            surroundings(),
            self._topic(client),
            key=f"{piece.record.stage}-{uuid4().hex}",
            resources={"GPU": 1} if piece.device and self._gpus else None,
        )
        try:
            return self._result(client, piece.record.node, future)
        finally:
            future.release()

    def _connected(self) -> Client:
        with self._lock:
            if self._refusal is not None:  # waited for once, not by each of many threads
                raise self._refusal
            if self._client is None:
                try:
                    self._client = self._connect()
                except HybridScreenError as error:
                    self._refusal = error
                    raise
            return self._client

    def _connect(self) -> Client:
        client = self._opened.enter_context(connect(self._config))
        refuse_others(client)
        client.subscribe_topic(self._topic(client), self._hear)
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        self._gpus = any(worker.get("resources", {}).get("GPU") for worker in workers)
        return client

    def _result(self, client: Client, node: str, future: Future) -> Manifest:
        from distributed import KilledWorker

        while True:
            try:
                manifest: Manifest = future.result(timeout=self._config.wait_seconds)
            except TimeoutError as error:
                if future.done():
                    raise  # the piece's own
                if not self._workers(client, node):
                    raise ClusterError(f"{node}: no worker is left, and none came for {self._patience()}") from error
            except KilledWorker as error:
                raise ClusterError(
                    f"{node}: {error.allowed_failures + 1} workers died while they computed it, the last one was "
                    f"{error.last_worker.address}. Probably it needs more memory than a worker has: make pieces "
                    "smaller (compute.group_members, compute.chunk_rows) or give each worker more"
                ) from error
            except CancelledError as error:
                raise _lost(node, error) from error
            else:
                return manifest

    @staticmethod
    def _workers(client: Client, node: str) -> Mapping[str, int]:
        try:
            workers: Mapping[str, int] = client.nthreads()
        except (OSError, CancelledError) as error:  # the scheduler went away while it was asked
            raise _lost(node, error) from error
        return workers

    def _patience(self) -> str:
        return f"{self._config.wait_seconds:g} s (compute.wait_seconds)"

    def _topic(self, client: Client) -> str:
        return f"hybridscreen-{client.id}"

    def _hear(self, event: tuple[float, Mapping[str, Any]]) -> None:
        _, news = event
        if (listener := self._listeners.get(news["node"])) is not None:
            pass_on(news, listener)


def _lost(node: str, error: BaseException) -> ClusterError:
    return ClusterError(f"{node}: the connection to the scheduler was lost ({error})")


def do_piece(pickled: bytes, expected: Mapping[str, str], topic: str) -> Manifest:
    """Do a piece on this worker.

    Args:
        pickled: What to do, as it came from the flow; unpacked only where the versions are the same.
        expected: Surroundings of the flow. A worker may have joined after the flow looked at the others.
        topic: Under which the flow listens.

    Raises:
        UserError: This worker runs other versions, or does not see the campaign's folder.
    """
    from distributed import get_worker

    worker = get_worker()
    refuse_other(surroundings(), expected, f"worker {worker.address}")
    # As bytes, because the scheduler unpickles what a task graph holds, and a piece holds an open storage; and because
    # versions are to be compared before anything is unpacked. It comes from the flow, never from storage: who can send
    # to the scheduler can run any function here anyway, which is what compute.tls is for.
    piece: Piece = pickle.loads(pickled)  # noqa: S301
    piece.store.storage.require_seen(f"worker {worker.address}")
    with listening(Relay(partial(worker.log_event, topic))):
        return compute_and_save(piece)


def refuse_others(client: Client) -> None:
    """Refuse a cluster whose scheduler or workers run other versions than this process.

    Raises:
        UserError: Names the first of them, the package, and both versions.
    """
    for address, found in sorted(client.run(surroundings, on_error="return").items()):
        refuse_other(found, surroundings(), f"worker {address}")
    try:
        scheduler = client.run_on_scheduler(surroundings)
    except (ImportError, AttributeError) as error:  # it has no such package, or no such function in it
        scheduler = error
    refuse_other(scheduler, surroundings(), "scheduler")


@contextmanager
def connect(config: ComputeSection) -> Iterator[Client]:
    """A client of the configured cluster, which is started before and stopped afterwards where it is our own.

    Raises:
        UserError: There is no such cluster, or no worker comes.
    """
    from distributed import Client

    with ExitStack() as stack:
        stack.enter_context(_quiet())
        if config.dask in ("local", "cuda"):
            start = _local_cluster if config.dask == "local" else _cuda_cluster
            yield stack.enter_context(Client(stack.enter_context(start(config)), set_as_default=False))
        else:
            yield stack.enter_context(_client_of(config))


@contextmanager
def _quiet() -> Iterator[None]:
    """No log of Dask in this process: what goes wrong comes back as an error, and is said once."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _local_cluster(config: ComputeSection) -> LocalCluster:
    from distributed import LocalCluster

    return LocalCluster(n_workers=config.workers, **_ON_THIS_MACHINE)


def _cuda_cluster(config: ComputeSection) -> LocalCluster:
    where, todo = "compute.dask: cuda", "Install the extra: pip install 'hybridscreen[gpu]'."
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise UserError("dask-cuda is not installed", where=where, got=error, todo=todo) from error
    import torch

    if not torch.cuda.is_available():
        todo = "Use compute.dask: local, or a machine with a GPU and a torch that was built for it."
        raise UserError("torch sees no GPU on this machine", where=where, got=f"torch {torch.__version__}", todo=todo)
    return LocalCUDACluster(resources={"GPU": 1}, **_ON_THIS_MACHINE)  # dask-cuda itself does not say that it has GPUs


@contextmanager
def _client_of(config: ComputeSection) -> Iterator[Client]:
    """A client of a running cluster, once it has a worker."""
    from distributed import Client

    where, todo = "compute.dask", "Start the cluster, correct its address, or give it longer (compute.wait_seconds)."
    security = _security(config)
    try:
        asyncio.run(_knock(config, security))
    except OSError as error:  # also what a refused certificate comes up as
        got = f"{config.dask}: {_reason(error)}"
        raise UserError("no scheduler answers", where=where, got=got, todo=todo) from error
    with Client(config.dask, security=security, set_as_default=False) as client:
        try:
            client.wait_for_workers(1, timeout=config.wait_seconds)
        except TimeoutError as error:
            got = f"none within {config.wait_seconds:g} s"
            raise UserError("the cluster has no worker", where=f"{where}: {config.dask}", got=got, todo=todo) from error
        yield client


def _reason(error: BaseException) -> str:
    """What the operating system or TLS said of a connection, without what Dask put around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


async def _knock(config: ComputeSection, security: Security | None) -> None:
    """Connect once: a client that cannot connect would leave its threads behind."""
    from distributed.comm import connect as connect_to

    given = {} if security is None else security.get_connection_args("client")
    comm = await connect_to(config.dask, timeout=config.wait_seconds, **given)
    await comm.close()


def _security(config: ComputeSection) -> Security | None:
    from distributed import Security

    if config.tls is None:
        return None
    for name, path in config.tls:
        if not Path(path).is_file():
            raise UserError("no such file", where=f"compute.tls.{name}", got=path)
    tls = config.tls
    security = Security(
        require_encryption=True, tls_ca_file=tls.ca, tls_client_cert=tls.certificate, tls_client_key=tls.key
    )
    try:
        security.get_connection_args("client")
    except OSError as error:  # ssl.SSLError is one
        raise UserError("cannot be used", where="compute.tls", got=error, expected="PEM files") from error
    return security
