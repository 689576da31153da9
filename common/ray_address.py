"""Which Ray cluster is meant, and whether it answers: told within seconds, where Ray itself waits for many minutes."""

# Parts of Ray have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from pathlib import Path
from typing import Any, NamedTuple

from fersweep.common.errors import InputError

PROBE_S = 5.0
LOCAL = "local"
NOBODY = ("refused", "no route", "unreachable", "not found", "timed out", "domain name", "connection reset")


class Address(NamedTuple):
    """HOST:PORT of a cluster's head, and who named it: `--address HOST:PORT`, `RAY_ADDRESS=HOST:PORT`, `--address auto`."""

    where: str
    named: str


def resolve(address: str | None) -> Address | None:
    """The cluster that `address` means; None: Ray is to be started on this machine.

    None is RAY_ADDRESS, where it is set, else this machine; "local" always is this machine; "auto" is RAY_ADDRESS, else the
    cluster that runs on this machine. InputError for what is no address, and where "auto" finds none, or several.
    """
    named = f"--address {address}"
    if address in (None, "auto") and (of_environment := os.environ.get("RAY_ADDRESS")):
        named, address = f"RAY_ADDRESS={of_environment}", of_environment
    if address in (None, LOCAL):
        return None
    if address == "auto":
        return Address(_on_this_machine(), named)
    if "@" in address:
        option = named.partition(" ")[0].partition("=")[0]
        raise InputError(f"{option}: an address holds no user and no password: want HOST:PORT")
    scheme, mark, rest = address.rpartition("://")
    if scheme == "ray":
        raise InputError(
            f"{named}: Ray Client loses a sweep with its connection; on a machine of the cluster want HOST:PORT of its head "
            f"(6379 by default), from elsewhere `fersweep launch --submit --address http://HOST:8265`"
        )
    if mark:
        raise InputError(
            f"{named}: want HOST:PORT of the head (6379 by default); {scheme}:// addresses are for --submit"
        )
    host, _, port = rest.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"{named}: want HOST:PORT of a Ray cluster's head (6379 by default), or auto, or local")
    return Address(address, named)


def _on_this_machine() -> str:
    from ray._private.services import find_bootstrap_address, find_gcs_addresses

    heads: set[str] = set(find_gcs_addresses())
    newest = find_bootstrap_address(None)
    if newest and (newest in heads or not heads):
        heads.add(newest)
    if not heads:
        raise InputError("--address auto: no Ray cluster answers there: none runs on this machine; want HOST:PORT")
    if len(heads) > 1:
        raise InputError(
            f"--address auto: several Ray clusters run on this machine ({', '.join(sorted(heads))}): name one of them"
        )
    return heads.pop()


def check(address: Address) -> bool:
    """See to it that a Ray cluster of our version answers → whether it asks for a token. InputError if it does not.

    The question is the one that Ray's own nodes ask their head (NodeInfoGcsService.CheckAlive in gcs_service.proto).
    """
    import ray

    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return token() is not None  # asked in the clear, it would not answer
    version, asks_for_token = _version(address, None), False
    if version is None:
        asks_for_token, secret = True, token()
        if secret is None:
            if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
                raise InputError(f"{address.named}: the cluster asks for a token: RAY_AUTH_TOKEN_PATH={path} has none")
            raise InputError(
                f"{address.named}: the cluster asks for a token: put it into ~/.ray/auth_token, or its file's name into "
                f"RAY_AUTH_TOKEN_PATH"
            )
        version = _version(address, secret)
        if version is None:
            raise InputError(
                f"{address.named}: the cluster has another token than {token_place()}: want the one of its head"
            )
    if version != ray.__version__:
        raise InputError(
            f"{address.named}: the cluster runs Ray {version}, this machine {ray.__version__}: want the same on both"
        )
    return asks_for_token


def _version(address: Address, secret: str | None) -> str | None:
    """The cluster's version of Ray; None where it does not take the token. InputError where no cluster answers."""
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    answer: Any = None
    credentials = [("authorization", f"Bearer {secret}")] if secret else None
    with grpc.insecure_channel(address.where, options=(("grpc.enable_http_proxy", 0),)) as channel:
        try:
            messages: Any = gcs_service_pb2
            request = messages.CheckAliveRequest()
            service = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            answer = service.CheckAlive(request, timeout=PROBE_S, metadata=credentials)
        except grpc.RpcError as error:
            code = error.code()
            if code == grpc.StatusCode.UNAUTHENTICATED:
                return None
            reason = str(error.details()).rpartition(": ")[2].rstrip("]")
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                reason = f"nothing within {PROBE_S:g} s"
            elif not any(word in reason.lower() for word in NOBODY):
                reason = "what listens there is no head of Ray (its port is 6379 by default; 8265 is the dashboard's)"
            raise InputError(f"{address.named}: no Ray cluster answers there: {reason}") from None
    return answer.ray_version


def token() -> str | None:
    """The token of this process for clusters that ask for one, where Ray looks for it; None: there is none."""
    if secret := os.environ.get("RAY_AUTH_TOKEN"):
        return secret.strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or _own_token())
    for_its_owner(_own_token())
    try:
        return path.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def token_place() -> str:
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    return os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token"


def keep_token() -> None:
    """See to it that there is a token for a Ray that is started here, which nobody but this user can read. Raises OSError.

    Ray itself would write it with the rights that the umask leaves.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = _own_token()
    if path.exists():
        for_its_owner(path)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another process was first: its token is the one
            os.link(whole, path)
    finally:
        whole.unlink(missing_ok=True)


def _own_token() -> Path:
    return Path.home() / ".ray" / "auth_token"


def for_its_owner(path: Path) -> None:
    """Take from others the right to read a token, with a line that says so."""
    try:
        found = path.stat()
        if found.st_uid != os.getuid() or not stat.S_IMODE(found.st_mode) & 0o077:
            return
        path.chmod(0o600)
        line = f"{path}: others could read this token; from now on only you can"
    except FileNotFoundError:
        return
    except OSError as error:
        line = f"{path}: others can read this token ({error.strerror}): `chmod 600` it"
    print(line, file=sys.stderr)
