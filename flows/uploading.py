"""Put plate files into a campaign's inbox, and say so to the Prefect server, which then looks at once."""

from collections.abc import Sequence
from pathlib import Path

from flows.results import Result
from tasks.campaigns.ledger import Ledger
from tasks.campaigns.reading import read_config
from tasks.errors import UserError


class Uploaded(Result):
    """Answer of `upload`: names of new files, and of those that were there with the same content before."""

    new: list[str]
    known: list[str]
    announced: bool


def upload(config_path: str, paths: Sequence[Path], server: str | None) -> Uploaded:
    """Upload files: all of them, or, if one cannot be, none.

    Args:
        config_path: The campaign's YAML file.
        paths: Plate files or exclusion logs.
        server: Address of a Prefect server's API; None: nobody is told.

    Raises:
        UserError: A file cannot be read, two have one name, or the inbox has another file of that name.
    """
    config = read_config(config_path)
    ledger = Ledger.of(config)
    ledger.require_open()
    contents = {f"inbox/{_name(path)}": _content(path) for path in paths}
    if len(contents) < len(paths):
        raise UserError("two files of one name", where="upload", got=", ".join(sorted(path.name for path in paths)))
    there = set(ledger.storage.list("inbox"))  # a lab's key may not ask for a file that is missing
    found = ledger.storage.read_many(name for name in contents if name in there)
    new = [name for name in contents if name not in found]
    for name in contents:
        if found.get(name, contents[name]) != contents[name]:
            todo = "The inbox is never overwritten: name a corrected file or a repeat anew."
            raise UserError("another file of this name is there", where=ledger.storage.locate(name), todo=todo)
    for name in new:
        if not ledger.storage.create(name, contents[name]):
            raise UserError("somebody uploads a file of this name", where=ledger.storage.locate(name))
    announced = bool(new) and server is not None and _tell(config.campaign.name, len(new))
    return Uploaded(
        campaign=config.campaign.name,
        location=ledger.storage.url,
        new=[Path(name).name for name in new],
        known=[Path(name).name for name in contents if name not in new],
        announced=announced,
    )


def _tell(campaign: str, files: int) -> bool:
    """Announce new files; False where no server answers, or it refuses the login."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    from flows.announcing import announce

    with get_client(sync_client=True) as client:
        if client.api_healthcheck() is not None:
            return False
        try:
            client.api_version()  # unlike the health check, it needs the password
        except PrefectHTTPStatusError:
            return False
    announce("plate.received", campaign, files=files)
    return True


def _name(path: Path) -> str:
    if not path.name.isprintable() or "\\" in path.name:
        raise UserError("not a name for an upload", where=str(path.parent), got=ascii(path.name), todo="Rename it.")
    return path.name


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError("cannot be read", where=str(path), got=error.strerror) from error


def upload_lines(uploaded: Uploaded) -> list[str]:
    """The answer in lines for a terminal."""
    lines = [f"{len(uploaded.new)} new in {uploaded.location}/inbox: {', '.join(uploaded.new) or 'none'}"]
    lines += [f"There before, unchanged: {', '.join(uploaded.known)}"] if uploaded.known else []
    if uploaded.announced:
        return [*lines, "The Prefect server was told; it starts the round."]
    return (
        lines
        if not uploaded.new
        else [*lines, "No Prefect server was told: none answers at PREFECT_API_URL, or it refuses the login."]
    )
