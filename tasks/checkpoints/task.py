"""How a node of the DAG becomes a Prefect task: thin, and *Cached* when its checkpoint was found."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.checkpoints.checkpointer import Outputs

P = ParamSpec("P")


def node_task(name: str, run_name: str | None = None) -> Callable[[Callable[P, Outputs]], Task[P, Outputs]]:
    """Make a Prefect task of a function that runs one node through a `Checkpointer`.

    Prefect's own cache and results stay off: the store is the only memory, and what passes on are references.

    Args:
        name: Name of the task, the same for all nodes of a kind.
        run_name: Name of a task run, with the function's arguments in braces.
    """

    def wrap(function: Callable[P, Outputs]) -> Task[P, Outputs]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> State[Outputs]:
            outputs = function(*args, **kwargs)
            return Completed(name="Cached" if outputs.hit else "Completed", message=outputs.reason, data=outputs)

        decorate = task(name=name, task_run_name=run_name or name, cache_policy=NO_CACHE, persist_result=False)
        # Prefect takes a returned state as the run's own and hands out its data.
        return cast("Task[P, Outputs]", decorate(run))

    return wrap
