"""Where the heavy work is done, and how it is cut into pieces."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.campaigns.section import Section


class TlsSection(Section):
    """Files with which client, scheduler and workers of a Dask cluster know each other (PEM)."""

    ca: str = Field(min_length=1, description="Certificate of the authority that signed the others; a path.")
    certificate: str = Field(min_length=1, description="Certificate of the client; a path.")
    key: str = Field(min_length=1, description="Private key of the client; a path.")


class ComputeSection(Section):
    """How the heavy work is cut into pieces, and where they are done."""

    dask: str = Field(
        default="local",
        pattern=r"^(local|cuda|(tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5})$",
        description="local: this machine. cuda: a worker for each GPU of this machine (extra gpu). Else the address of "
        "the scheduler of a running Dask cluster, tcp://host:port or tls://host:port.",
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="local: worker processes, each on one core. 0: the threads of this process, without Dask.",
    )
    wait_seconds: float = Field(
        default=60.0, gt=0, description="An address: wait so long for the scheduler, and for the first worker [s]."
    )
    tls: TlsSection | None = Field(default=None, description="tls:// alone: the files that prove who is who.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="What networks are computed on. auto: a GPU where the worker has one. GPUs round in another way: "
        "results are then close to those of the CPU, not the same bits.",
    )
    group_members: int = Field(
        default=4,
        ge=1,
        le=512,
        description="Members fitted together; each group is a checkpoint. Sets which pieces there are, whatever the "
        "number of workers.",
    )
    chunk_rows: int = Field(
        default=16384, ge=1, description="Perturbations predicted at a time; each chunk is a checkpoint."
    )

    @model_validator(mode="after")
    def _one_kind_of_cluster(self) -> Self:
        if self.workers and self.dask != "local":
            raise ValueError("workers goes with dask: local; another cluster brings its own")
        if self.dask.startswith("tls:") != (self.tls is not None):
            raise ValueError("tls:// needs the files in tls, and tls needs an address that begins with tls://")
        return self
