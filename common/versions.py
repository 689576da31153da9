"""Which fersweep this is: its version, and the commit where it runs from a checkout."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from importlib import metadata

from fersweep.common.processes import ROOT


def own_version() -> str:
    """As installed; "unknown" of a checkout that is not."""
    try:
        return metadata.version("fersweep")
    except metadata.PackageNotFoundError:
        return "unknown"


def installed(names: Iterable[str]) -> dict[str, str]:
    """Package → version, of those that are installed; imports none of them."""
    versions: dict[str, str] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def own() -> str:
    """Version and commit in one: "0.1.0", or "0.1.0, commit 76c0d88…"."""
    commit = own_commit()
    return own_version() + (f", commit {commit}" if commit else "")


def own_commit() -> str | None:
    """The commit of fersweep's own checkout; None where it is installed, also below somebody else's repository."""
    if not (ROOT / ".git").exists() or not (ROOT / "fersweep" / "common").is_symlink():  # as it is in a checkout alone
        return None
    try:
        git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return None
    return git.stdout.strip() or None
