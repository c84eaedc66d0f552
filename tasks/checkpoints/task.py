"""How a node of the DAG becomes a Prefect task: thin, and *Cached* when its checkpoint was found."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, cast

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.checkpoints.checkpointer import Checkpointer, Outputs

P = ParamSpec("P")


Remark = Callable[[Checkpointer, Outputs], tuple[str, str] | None]


def node_task(
    name: str, run_name: str | None = None, remark: Remark | None = None
) -> Callable[[Callable[P, Outputs]], Task[P, Outputs]]:
    """Make a Prefect task of a function that runs one node through a `Checkpointer`.

    Prefect's own cache and results stay off: the store is the only memory, and what passes on are references.

    Args:
        name: Name of the task, the same for all nodes of a kind.
        run_name: Name of a task run, with the function's arguments in braces.
        remark: What a person should read of outputs that were computed now: a state's name, and why. None: nothing.
    """

    def wrap(function: Callable[P, Outputs]) -> Task[P, Outputs]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> State[Outputs]:
            outputs = function(*args, **kwargs)
            if outputs.hit:  # not looked into: a rerun should not read what it does not need
                return Completed(name="Cached", message=outputs.reason, data=outputs)
            said = None if remark is None else remark(cast(Checkpointer, args[0]), outputs)
            state, message = said or ("Completed", outputs.reason)
            return Completed(name=state, message=message, data=outputs)

        decorate = task(name=name, task_run_name=run_name or name, cache_policy=NO_CACHE, persist_result=False)
        # Prefect takes a returned state as the run's own and hands out its data.
        return cast("Task[P, Outputs]", decorate(run))

    return wrap


def plainly(node: Task[P, Outputs]) -> Callable[P, Outputs]:
    """The function of a node, to be called here and now: a replay computes thousands of nodes that nobody follows."""
    return cast("Callable[P, Outputs]", cast(Any, node.fn).__wrapped__)
