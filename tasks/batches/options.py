"""Options of a strategy: the keyword-only parameters of its function, checked before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ValidationError, create_model

from tasks.batches.pool import Picks
from tasks.campaigns.section import Section
from tasks.errors import UserError


def options_model(pick: Callable[..., Picks]) -> type[BaseModel]:
    """The keyword-only parameters of a strategy's function as a model: names, types with bounds, defaults."""
    hints = get_type_hints(pick, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], parameter.default)
        for name, parameter in inspect.signature(pick).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return create_model("Options", __base__=Section, **fields)


def read_options(name: str, pick: Callable[..., Picks], given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options that a slot gives a strategy.

    Args:
        name: The strategy.
        pick: Its function.
        given: Options as the user wrote them.

    Returns:
        All options of the strategy, defaults filled in.

    Raises:
        UserError: An option that the strategy does not have, or a value that does not fit.
    """
    model = options_model(pick)
    try:
        return dict(model.model_validate(dict(given)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f"batch, strategy {name}, option {'.'.join(str(part) for part in first['loc'])}"
        if first["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields) or "no options"
            raise UserError("the strategy has no such option", where=where, expected=known) from error
        raise UserError(first["msg"], where=where, got=repr(first["input"])) from error
