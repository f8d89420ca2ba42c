"""Whether a tracking server answers at an address, found out within seconds and without mlflow.

MLflow itself keeps trying for a long time, and shows the errors of its libraries, HTML included.
"""

from __future__ import annotations

import json
import ssl
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from recsys.errors import ConfigError
from search.words import hide_password

PROBE_S = 5.0
_ASKED = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=recsearch"
_ASKS_WHO = (401, 403)  # of a server that asks for a user and a password, which MLflow sends
_READ = 1 << 16  # bytes of an answer
_STRANGE_NAME = b"Invalid Host header"  # what MLflow's server says, with HTTP 403


def unreachable(uri: str, patience_s: float = PROBE_S) -> str | None:
    """Why nothing can be delivered to a server, in one line; None: it may be possible.

    Also None for a store that is not a server, and where only MLflow can tell (certificates, an
    overloaded or slow server). patience_s: seconds to wait for an answer.
    """
    if not _is_server(uri):
        return None
    plain = _without_user(uri)
    shown = hide_password(plain)
    try:
        status, content = _ask(plain, patience_s)
    except URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return None
        why = getattr(error.reason, "strerror", None) or str(error.reason)
        return f"nothing answers at {shown}: {why}"
    except TimeoutError:
        return None  # it accepted the connection: perhaps it is only slow
    except (OSError, ValueError, HTTPException) as error:
        return f"something other than an MLflow server answers at {shown}: {error}"
    if _does_not_know(status, content):
        return _name_is_strange(plain)
    if status in _ASKS_WHO or status >= 500:
        return None
    try:
        known = isinstance(json.loads(content), dict)
    except ValueError:
        known = False
    return None if known else f"no MLflow server at {shown}: it answers HTTP {status}"


def check_name(uri: str, patience_s: float = PROBE_S) -> None:
    """Raise ConfigError where an MLflow server answers, but not to the name in its address.

    Nothing would ever arrive there, however long a courier tries; any other trouble may end.
    patience_s: seconds to wait for an answer.
    """
    if not _is_server(uri):
        return
    plain = _without_user(uri)
    try:
        status, content = _ask(plain, patience_s)
    except (OSError, ValueError, HTTPException):
        return
    if _does_not_know(status, content):
        raise ConfigError(f"--tracking-uri {hide_password(plain)}: {_name_is_strange(plain)}")


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _without_user(uri: str) -> str:
    """The address of a server without user, password and a slash at its end."""
    scheme, _, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


def _ask(plain: str, patience_s: float) -> tuple[int, bytes]:
    """Status and content of a server's answer. Raises OSError (URLError and TimeoutError are),
    ValueError or HTTPException where there is none.
    """
    try:
        with urlopen(Request(plain + _ASKED), timeout=patience_s) as answer:
            return answer.status, answer.read(_READ)
    except HTTPError as error:
        with error:
            return error.code, error.read(_READ)


def _does_not_know(status: int, content: bytes) -> bool:
    """Whether this is the answer of MLflow's server to a name that is none of its own."""
    return status == 403 and content.startswith(_STRANGE_NAME)


def _name_is_strange(plain: str) -> str:
    name = plain.partition("://")[2].partition("/")[0]
    return (
        f"the MLflow server there does not answer to the name {name}: start it with "
        f"MLFLOW_SERVER_ALLOWED_HOSTS={name} (more names with commas) in its environment"
    )
