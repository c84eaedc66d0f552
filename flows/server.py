"""The Prefect server that a command would speak to: does it answer, and does it know who asks?"""

import httpx  # in which errors of the client of Prefect come
from prefect.client.orchestration import get_client
from prefect.exceptions import MissingResult, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from tasks.errors import HybridScreenError, UserError

#: What a flow raises when its server breaks; one that lost what it was told says that a result is missing.
FAILURES = (httpx.HTTPError, MissingResult)


class ServerLost(HybridScreenError):
    """The Prefect server failed while a command was at work."""


def lost(error: Exception) -> ServerLost:
    """What to tell of one of the `FAILURES`."""
    first = str(error).partition("\n")[0]
    where = f" ({PREFECT_API_URL.value()})" if PREFECT_API_URL.value() else ""
    return ServerLost(f"the Prefect server{where} failed: {first}. What is stored stays: start the same command again.")


def require_server() -> None:
    """Raise a UserError unless a server is named, answers, and takes the login.

    A client would start a server of its own where none is named.
    """
    if not PREFECT_API_URL.value():
        expected = "the address of a running server, as http://127.0.0.1:4200/api"
        raise UserError("no Prefect server is named", where="PREFECT_API_URL", expected=expected)
    require_answer()


def require_answer() -> None:
    """Raise a UserError where a server is named that does not answer, or refuses the login."""
    address = PREFECT_API_URL.value()
    if not address:
        return
    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
        if problem is not None:
            todo = "Start it, or take PREFECT_API_URL out of the environment."
            raise UserError("no Prefect server answers", where=address, got=problem, todo=todo)
        try:
            client.api_version()
        except PrefectHTTPStatusError as error:
            if error.response.status_code != 401:
                raise
            todo = "Set PREFECT_API_AUTH_STRING to the server's user:password."
            raise UserError("the Prefect server refuses the login", where=address, todo=todo) from error
