"""The Jobs API of a cluster: HTTP on the port of the head's dashboard, 8265 by default."""

# requests has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import ipaddress
import os
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fersweep.common import ray_address
from fersweep.common.errors import InputError
from fersweep.common.text import printable

PORT = 8265
HERE = f"http://127.0.0.1:{PORT}"
TIMEOUT_S = 10.0
TUNNEL = f"ssh -N -L {PORT}:127.0.0.1:{PORT} HEAD"
MAKE_TOKEN = (
    "make one on the head with `ray get-auth-token --generate`, start every node with RAY_AUTH_MODE=token and this token, "
    "and copy it to ~/.ray/auth_token here"
)


class JobsApi(NamedTuple):
    """An API that answers. named: the address, and who gave it. headers: hold the token, where the cluster asks for one.

    version: of the cluster's Ray.
    """

    address: str
    named: str
    headers: dict[str, str]
    version: str

    @property
    def has_token(self) -> bool:
        return bool(self.headers)

    def get(self, path: str) -> Any:
        """The JSON that the dashboard answers. Raises RuntimeError."""
        import requests

        try:
            answer = requests.get(f"{self.address}{path}", headers=self.headers, timeout=TIMEOUT_S)
            answer.raise_for_status()
            return answer.json()
        except (requests.RequestException, ValueError) as error:
            raise RuntimeError(f"{self.named}: {path}: {_reason(error)}") from None

    def client(self) -> Any:
        """Ray's own client. Raises RuntimeError."""
        import logging

        from ray.dashboard.modules import dashboard_sdk
        from ray.dashboard.modules.job import sdk
        from ray.job_submission import JobSubmissionClient

        for logger in (logging.getLogger("ray"), sdk.logger, dashboard_sdk.logger):
            logger.setLevel(logging.WARNING)
        variable = "RAY_API_SERVER_ADDRESS"
        before = os.environ.get(variable)
        os.environ[variable] = self.address  # Ray's client prefers it, and RAY_ADDRESS, to the address that it is given
        try:
            return JobSubmissionClient(self.address, headers=dict(self.headers))
        finally:
            del os.environ[variable]
            os.environ.update({} if before is None else {variable: before})


def open_api(address: str | None) -> JobsApi:
    """The Jobs API at `address`; None: RAY_API_SERVER_ADDRESS, or RAY_ADDRESS where it is one of HTTP, or this machine's.

    Its token is taken from where Ray has it (common/ray_address.py), and sent only to a cluster that asks for one.
    Raises InputError where no Jobs API answers, and for a wrong or missing token.
    """
    url, named = _resolve(address)
    code, version = _ask(url, named, {})
    if code == 200:
        return JobsApi(url, named, {}, version)
    secret = ray_address.token()
    if secret is None:
        raise InputError(
            f"{named}: the cluster asks for a token: put that of its head into ~/.ray/auth_token (or RAY_AUTH_TOKEN, or its "
            f"file's name into RAY_AUTH_TOKEN_PATH)"
        )
    headers = {"Authorization": f"Bearer {secret}"}
    code, version = _ask(url, named, headers)
    if code != 200:
        raise InputError(
            f"{named}: the cluster has another token than {ray_address.token_place()}: want the one of its head"
        )
    return JobsApi(url, named, headers, version)


def refuse_open(api: JobsApi, head: str | None) -> None:
    """InputError where anybody on the network could run code there: beyond loopback, without a token. `head`: its IP."""
    if api.has_token:
        return
    url = urlsplit(api.address)
    elsewhere = [url.hostname or ""]
    if head is not None:  # through a tunnel, or on the head itself, the address is loopback, whatever it listens on
        elsewhere.append(head)
    for host in elsewhere:
        if not is_loopback(host) and (host == url.hostname or _answers(host, url.port or PORT)):
            raise InputError(
                f"{api.named}: whoever reaches {host}:{url.port} can run code on the cluster: its Jobs API listens beyond "
                f"loopback and asks for no token; {MAKE_TOKEN}; or keep the dashboard on loopback and come through a tunnel "
                f"({TUNNEL}); --trust-network if nobody else reaches this network"
            )


def is_loopback(host: str) -> bool:
    """Of an IP address or a name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _resolve(address: str | None) -> tuple[str, str]:
    """(address, what named it)."""
    named = f"--address {address}"
    if address is None:
        address, named = HERE, f"{HERE} (by default; --address and RAY_API_SERVER_ADDRESS name another)"
        for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            value = os.environ.get(variable, "")
            if value.startswith(("http://", "https://")):
                address, named = value, f"{variable}={value}"
    if address in ("auto", "local"):
        raise InputError(f"{named}: want the address of the cluster's Jobs API, e.g. http://HEAD:{PORT}")
    if "://" not in address:
        address = f"http://{address}"
    try:
        url = urlsplit(address)
        sound = url.scheme in ("http", "https") and url.hostname and (url.port or True) and not url.username
    except ValueError:
        sound = False
    if not sound or not re.fullmatch(r"[!-~]+", address):
        raise InputError(f"{named}: want the address of the cluster's Jobs API, e.g. http://HEAD:{PORT}")
    return address.rstrip("/"), named


def _ask(url: str, named: str, headers: dict[str, str]) -> tuple[int, str]:
    """(status, Ray's version) that the API answers. InputError where none does."""
    import requests

    try:
        answer = requests.get(f"{url}/api/version", headers=headers, timeout=TIMEOUT_S, allow_redirects=False)
        if answer.status_code in (401, 403):
            return answer.status_code, ""
        answer.raise_for_status()
        return 200, str(answer.json()["ray_version"])
    except requests.ConnectionError as error:
        speaks = not isinstance(error, requests.ConnectTimeout) and "refused" not in str(error)
        what = f"; {PORT} is the port of the Jobs API, 6379 that of Ray itself" if speaks else ""
        raise InputError(
            f"{named}: no Jobs API answers there: {_reason(error)}{what} (from outside the cluster: {TUNNEL})"
        ) from None
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{named}: what answers there is no Jobs API of Ray: {_reason(error)}; want http://HEAD:{PORT}"
        ) from None


def _answers(host: str, port: int) -> bool:
    import requests

    try:
        place = f"[{host}]" if ":" in host else host
        return "ray_version" in requests.get(f"http://{place}:{port}/api/version", timeout=2).text
    except requests.RequestException:
        return False


def _reason(error: Exception) -> str:
    """The innermost reason that requests wraps, without its objects."""
    text = str(error)
    found = re.search(r"\[Errno -?\d+\] ([^'\")]+)|(timed out)|(Remote end closed[^'\")]*)|(BadStatusLine)", text)
    line = next(filter(None, found.groups()), text) if found else text
    return printable(line or type(error).__name__)[:200]
