"""Campaigns by name: a server's register of campaign files, kept as a Prefect variable."""

from collections.abc import Iterable
from pathlib import Path

from prefect.variables import Variable

from tasks.campaigns.reading import read_config
from tasks.errors import UserError

#: Name of the variable: {campaign: absolute path of its YAML file on the workers' machines}.
VARIABLE = "hybridscreen_campaigns"


def registered() -> dict[str, str]:
    """Paths of the registered campaigns by name, in order of names."""
    found = Variable.get(VARIABLE, default=None)
    return dict(sorted(found.items())) if isinstance(found, dict) else {}


def register(paths: Iterable[Path], forget: Iterable[str] = ()) -> dict[str, str]:
    """Add campaigns to the register, and take some out of it. Doing it again changes nothing.

    Args:
        paths: Campaign files; a name that is registered gets its new path.
        forget: Names to take out.

    Returns:
        The register as it is now.

    Raises:
        UserError: A mistake in a campaign file, two files with one name, or a name to forget that is not registered.
    """
    given: dict[str, str] = {}
    for path in paths:
        name, place = read_config(path).campaign.name, str(path.resolve())
        if given.setdefault(name, place) != place:
            raise UserError("two campaigns of one name", where=f"{given[name]}, {place}", got=name)
    before = registered()
    for name in forget:
        if name not in before:
            raise _unknown(name, before)
    after = {name: path for name, path in {**before, **given}.items() if name not in set(forget)}
    if after != before:
        Variable.set(VARIABLE, after, overwrite=True)
    return dict(sorted(after.items()))


def find_campaign(campaign: str) -> str:
    """Path of a campaign's file.

    Args:
        campaign: A registered name; or a path, which has a slash or ends in .yaml or .yml.

    Raises:
        UserError: No campaign of this name is registered.
    """
    if "/" in campaign or campaign.endswith((".yaml", ".yml")):
        return campaign
    known = registered()
    if campaign not in known:
        raise _unknown(campaign, known)
    return known[campaign]


def _unknown(name: str, known: dict[str, str]) -> UserError:
    return UserError(
        "no campaign of this name is registered",
        where="campaign",
        got=repr(name),
        expected=f"one of {', '.join(known)}" if known else "a registered name",
        todo="Register it: hybridscreen deploy campaign.yaml",
    )
