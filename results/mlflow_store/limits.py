"""What MLflow takes as a key and as a value, and what is made of a name or a text that it refuses.

What a user names (classes, labels, sources, notes) is carried as a value. Parameters of a space and metrics are keys, by
which MLflow's page compares: `key` makes one of any name, always the same one.
"""

from __future__ import annotations

import hashlib
import posixpath
import re

KEY, PARAM, TAG, EXPERIMENT_TAG, EXPERIMENT, DATASET = 250, 6000, 8000, 20_000, 500, 500
"""Characters of a key, and of the value of a param, a tag, an experiment's tag, its name, and a dataset's name
(mlflow/utils/validation.py, MLflow 3.17)."""
MADE = 200  # characters of a name that are left in a key that is made of it


def key(name: str) -> str:
    """A name as a key of a param, metric or tag. Of one that MLflow refuses, all but letters, digits, "_", "-", "." and
    spaces becomes "_", and the beginning of the name's sha256 follows, so that two names never have one key:
    `happy, sad` → `happy_ sad-e5af9158`.
    """
    if re.fullmatch(r"[/\w.\- :]{1,250}", name) and posixpath.normpath(name) == name and name[0] not in "./":
        return name
    readable = re.sub(r"[^\w.\- ]", "_", name[:MADE]).lstrip(".")
    return f"{readable}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"


def value(text: str, length: int) -> str:
    """A text as a value: UTF-8 without NUL, which databases refuse, and cut to `length` characters."""
    whole = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    return whole if len(whole) <= length else f"{whole[: length - 1]}…"
