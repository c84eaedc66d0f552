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


_SHOWN = 200  # characters of a wrong value
_LONGEST = 1_000_000  # characters of a configuration
_MOST_VALUES = 100_000


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error, and in which aliases cannot make much of little."""

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            self._values(node, {})
        return node

    def _values(self, node: yaml.Node, known: dict[int, int]) -> int:
        """Values below a node, those of an alias counted wherever it stands; 0 in `known` while they are counted."""
        if known.get(id(node)) == 0:
            raise yaml.composer.ComposerError(None, None, "an anchor holds itself", node.start_mark)
        if id(node) not in known:
            known[id(node)] = 0
            children = node.value if isinstance(node, yaml.SequenceNode | yaml.MappingNode) else []
            flat = [each for pair in children for each in (pair if isinstance(pair, tuple) else (pair,))]
            known[id(node)] = 1 + sum(self._values(child, known) for child in flat)
        if known[id(node)] > _MOST_VALUES:
            problem = f"aliases make it more than {_MOST_VALUES:,} values"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        return known[id(node)]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for each, _ in node.value:
            key = self.construct_object(each, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key is no single value", node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:  # as !!int abc, or a date that is in no calendar
            raise yaml.constructor.ConstructorError(None, None, f"not a value: {error}", node.start_mark) from None


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
    if len(text) > _LONGEST:
        raise UserError(f"too long for {what}", where=where, got=f"{len(text):,} characters")
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
        given, names = first["input"], ", ".join(MODEL_NAMES)
        name = given.get("model") if isinstance(given, dict) else given
        return UserError(
            f"{key}.model: unknown name", where=where, got=repr(name), expected=f"one of {names}", todo=more
        )
    got = None if isinstance(first["input"], dict) else repr(first["input"])[:_SHOWN]
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
