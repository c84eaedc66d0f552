"""Reads a campaign's YAML file into its model, with one clear line for each kind of mistake."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from tasks.campaigns.config import CampaignConfig
from tasks.campaigns.ensemble_settings import MODEL_NAMES
from tasks.errors import UserError

M = TypeVar("M", bound=BaseModel)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_config(path: str | Path) -> CampaignConfig:
    """Read and check a campaign's configuration. Relative paths (storage, library, TLS files) become absolute.

    Raises:
        UserError: If the file is missing, is not YAML, or does not fit the model.
    """
    path = Path(path)
    return _absolute(parse_config(read_text(path), str(path)), path.resolve().parent)


def read_text(path: Path) -> str:
    """Text of a configuration.

    Raises:
        UserError: If the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError("the configuration cannot be read", where=str(path), got=reason.lower()) from error


def parse_config(text: str, where: str) -> CampaignConfig:
    """Check the text of a campaign's configuration.

    Raises:
        UserError: If it is not YAML or does not fit the model.
    """
    return parse_model(text, where, CampaignConfig, "a campaign")


def parse_model(text: str, where: str, model: type[M], what: str) -> M:
    """Check the text of a configuration against a model.

    Args:
        text: YAML.
        where: Name of the file, for messages.
        model: What it must fit.
        what: What the model describes, as `a campaign`.

    Raises:
        UserError: If it is not YAML or does not fit the model.
    """
    try:
        content = _StrictLoader(text).get_single_data()
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError("not valid YAML", where=where, got=_yaml_problem(error)) from error
    if not isinstance(content, dict):
        raise UserError(f"not {what}", where=where, got=type(content).__name__, expected="sections with keys")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise explain(error, where) from error


def dump_config(config: CampaignConfig) -> str:
    """The configuration as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def explain(error: ValidationError, where: str) -> UserError:
    """The first problem of a validation as one line, and how many more there are."""
    problems = error.errors(include_url=False)
    first = problems[0]
    key = _key(first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    more = f"{len(problems) - 1} more of this kind follow." if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return UserError(f"unknown key {key}", where=where, todo=more or "Remove it or correct its spelling.")
    if first["type"] == "missing":
        return UserError(f"{key} is missing", where=where, todo=more)
    if first["type"] == "unknown_model":
        name, names = first["input"].get("model"), ", ".join(MODEL_NAMES)
        return UserError(
            f"{key}.model: unknown name", where=where, got=repr(name), expected=f"one of {names}", todo=more
        )
    got = None if isinstance(first["input"], dict) else repr(first["input"])
    return UserError(f"{key}: {message}" if key else message, where=where, got=got, todo=more)


def _key(location: tuple[int | str, ...]) -> str:
    """Where a problem is, as the user wrote it: which model's settings were tried stands in no file."""
    parts = [str(part) for part in location]
    if parts[:1] == ["ensemble"] and len(parts) > 1 and parts[1] in MODEL_NAMES:
        del parts[1]
    return ".".join(parts)


def _absolute(config: CampaignConfig, folder: Path) -> CampaignConfig:
    campaign = config.campaign.model_copy(update={"storage": resolve(config.campaign.storage, folder)})
    library = config.library.model_copy(update={"uri": resolve(config.library.uri, folder)})
    compute, tls = config.compute, config.compute.tls
    if tls is not None:
        compute = compute.model_copy(
            update={"tls": tls.model_copy(update={name: resolve(path, folder) for name, path in tls})}
        )
    return config.model_copy(update={"campaign": campaign, "library": library, "compute": compute})


def resolve(uri: str, folder: Path) -> str:
    """A path as it stands in a file of this folder, made absolute; a URL stays."""
    return uri if "://" in uri else str((folder / Path(uri).expanduser()).resolve())


def _yaml_problem(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    text = str(problem or "nested too deeply")
    return f"{text} (line {mark.line + 1})" if mark is not None else text
