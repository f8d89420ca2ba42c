"""Whether a tracking server answers at an address, found out within seconds and without mlflow.

MLflow itself keeps trying for a long time, and shows the errors of its libraries, HTML included.
"""

from __future__ import annotations

import json
import ssl
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from search.words import hide_password

PROBE_S = 5.0
_ASKED = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=recsearch"
_OURS = (401, 403)  # answers of a server that asks for a user and a password, which MLflow sends


def unreachable(uri: str, patience_s: float = PROBE_S) -> str | None:
    """Why nothing can be delivered to a server, in one line; None: it may be possible.

    Also None for a store that is not a server, and where only MLflow can tell (certificates, an
    overloaded or slow server). patience_s: seconds to wait for an answer.
    """
    if not uri.startswith(("http://", "https://")):
        return None
    scheme, _, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    plain = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}".rstrip("/")
    shown = hide_password(plain)
    try:
        with urlopen(Request(plain + _ASKED), timeout=patience_s) as answer:
            status, content = answer.status, answer.read(1 << 16)
    except HTTPError as error:
        status, content = error.code, b""
        if status in _OURS or status >= 500:
            return None
        content = error.read(1 << 16)
    except URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            return None
        why = getattr(error.reason, "strerror", None) or str(error.reason)
        return f"nothing answers at {shown}: {why}"
    except TimeoutError:
        return None  # it accepted the connection: perhaps it is only slow
    except (OSError, ValueError) as error:
        return f"something other than an MLflow server answers at {shown}: {error}"
    try:
        known = isinstance(json.loads(content), dict)
    except ValueError:
        known = False
    return None if known else f"no MLflow server at {shown}: it answers HTTP {status}"
