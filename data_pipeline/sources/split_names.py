"""How sources call their splits: in tables, and in the names of folders and files."""

import re
from collections.abc import Iterable, Mapping, Sequence

from fersweep.common.errors import InputError, hint
from fersweep.data_pipeline.vocabulary import SPLITS

SPELLINGS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev", "devel", "development", "publictest"),
    "test": ("test", "testing", "tst", "privatetest"),
}
"""Split → how sources spell it, in lower case."""
AMBIGUOUS = {"eval", "evaluation", "holdout", "heldout", "unseen"}
"""Words of folders that may be a split, and do not say which."""
MAY_BE = "?"
NO_SPLIT = "none"
_SPLIT_OF = {spelling: split for split, spellings in SPELLINGS.items() for spelling in spellings}


def split_of(name: str) -> str | None:
    """The split of which `name` is a known spelling, in any case; None: it is no known spelling."""
    return _SPLIT_OF.get(name.strip().lower())


def split_in(name: str) -> str | None:
    """The split that a folder's name says by one of its words (`train_set`, `TestImages`, `val2017`).

    None: no word does. MAY_BE: several do, or one is of AMBIGUOUS.
    """
    words = re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower())
    if whole := split_of("".join(words)):  # PublicTest
        return whole
    splits = {split for word in words if (split := split_of(word)) is not None}
    if len(splits) > 1 or AMBIGUOUS & set(words):
        return MAY_BE
    return next(iter(splits), None)


def split_of_folders(folders: Sequence[str]) -> str | None:
    """The split of a file by the folders above its class's, the outermost first; the innermost that says one decides."""
    said = next((split for name in reversed(folders) if (split := split_in(name)) is not None), None)
    return None if said == MAY_BE else said


def read_split_folders(pairs: Sequence[str]) -> dict[str, str]:
    """`NAME=SPLIT` of `--split-folder` → {name: split or "none"}. InputError where a pair is neither."""
    folders: dict[str, str] = {}
    for pair in pairs:
        name, equals, split = (part.strip() for part in pair.rpartition("="))
        if not equals or not name:
            raise InputError(f"--split-folder {pair}: expected FOLDER=SPLIT, for example eval=test")
        folders[name] = split
    return check_split_folders(folders)


def refuse_unused(folders: Mapping[str, str], names: Iterable[str]) -> None:
    """InputError where `folders` names a folder that is not among `names`, those of all sources: it is mistyped."""
    there = {name.casefold(): name for name in names}
    for name, split in folders.items():
        if name.casefold() not in there:
            raise InputError(
                f"--split-folder {name}={split}: no class folder is below such a folder; "
                f"{hint(name, sorted(there.values()), 'there are')}"
            )


def check_split_folders(folders: Mapping[str, str]) -> dict[str, str]:
    """`folders` as it is. InputError where a value is neither a split nor "none"."""
    for name, split in folders.items():
        if split not in (*SPLITS, NO_SPLIT):
            raise InputError(f"--split-folder {name}={split}: no such split; {hint(split, (*SPLITS, NO_SPLIT))}")
    return dict(folders)
