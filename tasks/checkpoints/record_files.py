"""Small JSON files that the project wrote for itself: each of one form, or it is damaged."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from tasks.checkpoints.storage import Storage
from tasks.checkpoints.store import DamagedCheckpoint
from tasks.checkpoints.strict_json import parse_json

T = TypeVar("T")


def stored_record(storage: Storage, path: str, kind: type[T]) -> T:
    """Content of a record that must be there.

    Raises:
        DamagedCheckpoint: It is missing, not JSON, or not of this form.
    """
    data = storage.read_or_none(path)
    if data is None:
        raise DamagedCheckpoint(f"{storage.locate(path)} is missing")
    return read_record(storage, path, data, kind)


def read_record(storage: Storage, path: str, data: bytes, kind: type[T]) -> T:
    """Content of a record.

    Args:
        storage: Where it lies, for the message.
        path: Its path.
        data: Its bytes.
        kind: What it is: a pydantic model, a dataclass or a type.

    Raises:
        DamagedCheckpoint: It is not JSON, or not of this form.
    """
    where = storage.locate(path)
    try:
        content: T = _adapter(cast(Hashable, kind)).validate_python(parse_json(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "content"
        raise DamagedCheckpoint(f"{where} is damaged: {place}: {first['msg']}") from error
    except ValueError as error:
        raise DamagedCheckpoint(f"{where} is damaged: not JSON ({error})") from error
    return content


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))
