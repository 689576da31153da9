"""`--set KEY.PATH=VALUE` and the command line's own options, put into the content of a sweep file."""

from __future__ import annotations

import re
from typing import Any

from fersweep.common.errors import InputError
from fersweep.common.text import SECRET_NAME
from fersweep.common.untrusted import is_object
from fersweep.search_spaces.sweep_file import yaml_file


def change(content: dict[str, Any], override: str) -> None:
    """Apply `key.path=value`, the value read as YAML, to the content of a sweep file. Raises InputError."""
    key, equals, text = override.partition("=")
    if not equals or not re.fullmatch(r"[a-z_0-9]+(\.\w+)*", key):
        raise InputError(f"--set {shown(override)!r}: want KEY.PATH=VALUE, e.g. stop.max_epochs=20")
    try:
        value = yaml_file.load(text)
    except ValueError as error:
        what = f"--set {shown(override)!r}"
        if shown(override) != override:
            raise InputError(f"{what}: not a YAML value") from None
        raise InputError(f"{what}: {text!r} is not a YAML value: {error}") from None
    put(content, key.split("."), value)


def drop(content: dict[str, Any], key: str) -> None:
    """Take out of a sweep file's content what an override of `key.path` replaces, so that nobody looks for its code."""
    *path, last = key.split(".")
    part: Any = content
    for name in path:
        part = part.get(name) if is_object(part) else None
    if is_object(part):
        part.pop(last, None)


def shown(override: str) -> str:
    """An override as a message may quote it: without a value that may be a webhook's address, which is a secret, or that
    has a password before a host, and no scheme by which an address is known, or a mapping with a secret's name.
    """
    key, equals, value = override.partition("=")
    hook = key.strip().lower().startswith("notify") and not key.endswith(".on")
    secret = ("@" in value and "://" not in value) or re.search(rf"({SECRET_NAME})['\"]?\s*:", value, re.IGNORECASE)
    return f"{key}{equals}…" if hook or secret else override


def put(content: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set the value at the path `keys`; a section that is null gets its first part. Raises InputError if something on the
    path is no mapping.
    """
    for i, key in enumerate(keys[:-1]):
        if content.get(key) is None:
            content[key] = {}
        content = content[key]
        if not isinstance(content, dict):
            raise InputError(f"--set {'.'.join(keys)}: {'.'.join(keys[: i + 1])} is {content!r}, which has no parts")
    content[keys[-1]] = value
