"""Whether a sweep can be recorded where its `tracking` says: the address, the experiment's name, and what answers there.

    check(tracking.uri, tracking.experiment, say)   # InputError, or a line where the server is away

What answers is asked once, by a process of its own (`python -m fersweep.results.tracking.address`, which reads the address from
stdin): a driver imports no MLflow, and no server can hold it up.
"""

# Parts of MLflow have no types.
# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownVariableType=false, reportOptionalMemberAccess=false

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import BadStatusLine, RemoteDisconnected
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from fersweep.common.errors import InputError
from fersweep.common.files import check_writable
from fersweep.common.processes import environment, module_command
from fersweep.common.text import masked, one_line
from fersweep.results.mlflow_store import connection, limits
from fersweep.results.mlflow_store.addresses import sqlite_file

REQUEST_S = 5  # for a server to answer
ASK_S = 30  # for the process that asks it, whose imports take seconds
MAX_BYTES = 100_000  # of an answer
EXPERIMENT = "/api/2.0/mlflow/experiments/get-by-name"
NOBODY = "fersweep asks who is there"  # a name that no experiment has
DATABASES = ("postgresql", "mysql", "mssql")
WANT = "want http(s)://HOST:PORT of an MLflow server, sqlite:////PATH/mlflow.db, a database's address, or null: the store under --home"
CREDENTIALS = "MLflow reads MLFLOW_TRACKING_USERNAME with MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, from the environment"


class Answer(NamedTuple):
    """What an address answers. kind: "mlflow", "away" (it may be back), or "wrong" (it never records anything); why: in a
    line that begins with the address.
    """

    kind: Literal["mlflow", "away", "wrong"]
    why: str = ""


def check(uri: str | None, name: str | None, tell: Callable[[str], None], ask: bool = True) -> None:
    """Raises InputError if nothing can ever be recorded at `uri` in the experiment `name` (None: the usual ones).

    Args:
        tell: gets a line where the server does not answer now.
        ask: False: only what can be said without the server.
    """
    if name is not None and (not name.strip() or len(name) > limits.EXPERIMENT or not name.isprintable()):
        raise InputError(
            f"tracking.experiment: {one_line(name, 40)!r} is no name of an experiment in MLflow: want 1 to "
            f"{limits.EXPERIMENT} printable characters"
        )
    if uri is None:
        return
    if masked(uri) != uri:
        raise InputError(
            f"tracking.uri: {masked(uri)} holds a password or a token. Write it without one: {CREDENTIALS}"
        )
    if problem := _problem(uri):
        raise InputError(f"tracking.uri: {one_line(masked(uri), 200)}: {problem}")
    if not ask or sqlite_file(uri) is not None:
        return
    kind, why = asked_elsewhere(uri)
    if kind == "wrong":
        raise InputError(f"tracking.uri: {why}")
    if kind == "away":
        tell(f"note: tracking.uri: {why}: the sweep is recorded when it is back")


def _problem(uri: str) -> str | None:
    """What is wrong with an address itself, and what would be right."""
    scheme, mark, _ = uri.partition("://")
    if not mark and scheme not in ("databricks", "databricks-uc"):
        if re.fullmatch(r"[\w.-]+:\d+(/\S*)?", uri):
            return f"it has no scheme: want http://{uri}"
        return f"a path is no address: {WANT}"
    scheme = scheme.partition("+")[0]
    if (file := sqlite_file(uri)) is not None:
        return _problem_of_file(file)
    if scheme in ("sqlite", "file"):
        return f"MLflow keeps no records there that another process finds: {WANT}"
    if scheme in ("http", "https"):
        try:
            whole = bool(urlsplit(uri).hostname) and urlsplit(uri).port != 0 and uri.isprintable() and " " not in uri
        except ValueError:
            whole = False
        return None if whole else f"it names no server: {WANT}"
    known = {*DATABASES, "databricks", "databricks-uc", "uc"}
    known |= {plugin.name for plugin in entry_points(group="mlflow.tracking_store")}
    return None if scheme in known else f"MLflow knows no {one_line(scheme, 40)}://: {WANT}"


def _problem_of_file(file: Path) -> str | None:
    if not file.is_absolute():
        return f"the file is another one in each working directory: want sqlite:///{file.absolute()}"
    if not file.parent.is_dir():
        return f"there is no directory {file.parent}"
    if file.exists():
        with file.open("rb") if file.is_file() else open(os.devnull, "rb") as opened:
            start = opened.read(16)
        if not file.is_file() or start not in (b"", b"SQLite format 3\0"):
            return "it is no SQLite file"
    check_writable(file.parent, f"tracking.uri: {file}")
    return None


def asked_elsewhere(uri: str) -> Answer:
    """What `asked` says, in a process of its own that is given `ASK_S`."""
    variables = {**environment(), "MLFLOW_HTTP_REQUEST_TIMEOUT": str(REQUEST_S)}
    command = module_command(__name__)
    try:
        process = subprocess.run(
            command, input=uri, env=variables, capture_output=True, text=True, timeout=ASK_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer("away", f"{uri} does not answer within {ASK_S} s")
    try:
        return Answer(*json.loads(process.stdout.splitlines()[-1]))
    except (ValueError, IndexError, TypeError):
        last = (process.stderr.strip().splitlines() or ["no answer"])[-1]
        return Answer("away", f"{uri} cannot be asked ({one_line(masked(last), 200)})")


def asked(uri: str) -> Answer:
    """Ask what is there, once. Raises nothing."""
    connection.quiet()
    scheme = uri.partition(":")[0].partition("+")[0]
    try:
        if scheme in ("http", "https"):
            return _asked_server(uri)
        if scheme in DATABASES:
            return _asked_database(uri)
        connection.connect(uri).search_experiments(max_results=1)
    except Exception as error:  # stores raise what their drivers raise
        line = one_line(connection.one_line(error, uri), 200)
        is_wrong = any(map(_is_wrong, _causes(error)))
        return Answer("wrong" if is_wrong else "away", line if line.startswith(uri) else f"{uri}: {line}")
    return Answer("mlflow")


def _is_wrong(cause: BaseException) -> bool:
    """An error that says that no MLflow of this address will ever answer."""
    from requests.exceptions import InvalidURL, TooManyRedirects

    not_http = isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected)
    return not_http or isinstance(cause, ssl.SSLError | InvalidURL | TooManyRedirects)


def _asked_server(uri: str) -> Answer:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    answer = http_request(
        get_default_host_creds(uri),
        EXPERIMENT,
        "GET",
        max_retries=0,
        timeout=REQUEST_S,
        raise_on_status=False,
        params={"experiment_name": NOBODY},
        stream=True,
    )
    body = b""
    for piece in answer.iter_content(4096):
        body += piece
        if len(body) > MAX_BYTES:
            break
    status, said = answer.status_code, one_line(masked(body[:1000].decode(errors="replace").strip()), 100)
    if status in (401, 403):
        return Answer("wrong", f"{uri} does not let this user in ({status}: {said}): {CREDENTIALS}")
    if status == 429 or status >= 500:
        return Answer("away", f"{uri} answers {status} ({said})")
    content: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(body)
    if status == 404 and isinstance(content, dict) and content.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
        return Answer("mlflow")
    return Answer("wrong", f"{uri}: what answers is no MLflow server ({status}: {said}): {WANT}")


def _asked_database(uri: str) -> Answer:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        create_engine(uri).connect().close()
    except ImportError as error:  # of the database's driver
        return Answer("wrong", f"{uri}: {connection.driver_missing(error)}")
    except (ArgumentError, NoSuchModuleError) as error:
        return Answer("wrong", f"{uri}: {one_line(error, 200)}")
    return Answer("mlflow")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from; urllib3 also passes that on as an argument."""
    while error is not None:
        yield error
        error = connection.below(error)


if __name__ == "__main__":
    print(json.dumps(asked(sys.stdin.read())))
