"""From a source's names of its classes to ours (vocabulary.LABELS): known spellings, and what the user says (`--map`).

    naming = Naming(read_map(["joy=happy", "bored=drop"]))
    naming["Joy"], naming["anger"], naming["bored"]   # "happy", "angry", None: dropped

A class that maps to nothing is refused by name; ids are never guessed: sources number their classes differently.
"""

import re
from collections.abc import Iterable, Mapping

from fersweep.common.errors import InputError, hint
from fersweep.data_pipeline.vocabulary import LABELS

DROP = "drop"
SPELLINGS = {
    "angry": ("angry", "anger"),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "fearful", "afraid", "scared"),
    "happy": ("happy", "happiness", "joy", "joyful"),
    "sad": ("sad", "sadness"),
    "surprise": ("surprise", "surprised", "suprise"),
    "neutral": ("neutral", "neutrality"),
    "contempt": ("contempt", "contemptuous"),
}
"""Label → how sources spell it, in lower case."""

_LABEL_OF = {spelling: label for label, spellings in SPELLINGS.items() for spelling in spellings}
MOST_NAMED = 12  # classes of a refusal
# Folders of persons, sequences, splits or images. Two letters may be a code of an emotion, as in JAFFE.
_NO_CLASS = re.compile(
    r"[a-z]{1,3}[ _-]?\d{2,}(?:[ _-]\d+)*|\d+(?:[ _-]\d+)+|[ps]\d|"
    r"(?:actor|batch|clip|fold|frame|id|part|participant|person|seq|sequence|session|set|sub|subj|subject|user|video)"
    r"[ _-]?\d+|"
    r"(?!an|di|fe|ha|ne|sa|su)[a-z]{2}|"
    r"(?:.*[ _-])?(?:aligned|all|annotations?|cropped|crops|data|dataset|faces?|files|frames|images?|imgs?|original|"
    r"photos?|pics|pictures|raw)|"
    r"(?:train|val|valid|test|dev|eval)(?:ing|ation)?(?:[ _-]?(?:set|split))?|(?:public|private)test"
)
_HIGHEST_ID = 12  # a number up to this one may be a class: RAF-DB counts from 1 to 7, AffectNet from 0 to 10


def label_of(name: str) -> str | None:
    """The label of which `name` is a known spelling, in any case; None: it is no known spelling."""
    return _LABEL_OF.get(name.strip().casefold())


def read_map(pairs: Iterable[str]) -> dict[str, str]:
    """`NAME=LABEL` or `NAME=drop` of `--map` → {name: label or "drop"}. InputError where a pair is neither."""
    labels: dict[str, str] = {}
    for pair in pairs:
        name, equals, label = (part.strip() for part in pair.rpartition("="))
        if not equals or not name:
            raise InputError(f"--map {pair}: expected NAME=LABEL, for example joy=happy, or NAME={DROP}")
        label = label_of(label) or label
        if labels.get(name, label) != label:
            raise InputError(f"--map {pair}: {name} was mapped to {labels[name]} before")
        labels[name] = label
    return check_map(labels)


def check_map(labels: Mapping[str, str]) -> dict[str, str]:
    """`labels` as it is. InputError where a value is neither a label nor "drop"."""
    for name, label in labels.items():
        if label not in (*LABELS, DROP):
            raise InputError(f"--map {name}={label}: no such label; {hint(label, (*LABELS, DROP))}")
    return dict(labels)


def refuse_unused(labels: Mapping[str, str], names: Iterable[str]) -> None:
    """InputError where `labels` maps a class that is not among `names`, those of all sources: it is mistyped."""
    names = set(names)
    known = {_folded(name) for name in names}
    for name, label in labels.items():
        if _folded(name) not in known:
            raise InputError(
                f"--map {name}={label}: no source has such a class; {hint(name, sorted(names), 'there are')}"
            )


class Naming(dict[str, str | None]):
    """A source's name of a class → its label, None where it is dropped. KeyError of a class that does not map."""

    def __init__(self, labels: Mapping[str, str] | None = None):
        super().__init__()
        self._map = {_folded(name): label for name, label in check_map(labels or {}).items()}

    def __missing__(self, name: str) -> str | None:
        label = self._map.get(_folded(name)) or label_of(name)
        if label is None:
            raise KeyError(name)
        self[name] = None if label == DROP else label
        return self[name]


def unmapped(where: str, counts: Mapping[str, int], own_reader: str = "") -> InputError:
    """The refusal of classes that do not map: {name: faces, 0 where not counted}.

    own_reader: the name of a user's own reader, which may say itself what its classes are called.
    """
    named = [f"'{name}'" + (f" ({count:,} faces)" if count else "") for name, count in counts.items()]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    classes = "class" if len(named) == 1 else "classes"
    if own_reader:
        first = next(iter(counts))
        return InputError(
            f"{where}: unknown {classes} {', '.join(named[:MOST_NAMED])}{more}; say what each is: LABELS = "
            f"{{{first!r}: 'happy'}} in {own_reader}, or --map {first}=LABEL (one of {', '.join(LABELS)}, or {DROP})"
        )
    no_classes = _no_classes(counts)
    if len(no_classes) == len(counts):
        return InputError(
            f"{where}: the labels are missing, for {', '.join(named[:MOST_NAMED])}{more} looks like a folder of a person, "
            "a sequence, a split or images, not like a class: give them with the images, as the dataset has them (CK+'s "
            "Emotion/…_emotion.txt, AffectNet's annotations/…_exp.npy), or put each image into a folder named after its "
            f"class ({', '.join(LABELS)}), or list them in a CSV with the columns path,label,subject"
        )
    first = next(name for name in counts if name not in no_classes)
    return InputError(
        f"{where}: unknown {classes} {', '.join(named[:MOST_NAMED])}{more}; say what each is: "
        f"--map {first}=LABEL (one of {', '.join(LABELS)}) or --map {first}={DROP}"
    )


def _no_classes(names: Iterable[str]) -> set[str]:
    """Those that do not look like names or ids of classes."""
    numbers = {name for name in names if name.isdecimal()}
    ids = all(len(number) <= 2 and int(number) <= _HIGHEST_ID for number in numbers)
    return {name for name in names if is_no_class(name)} | (set() if ids else numbers)


def is_no_class(name: str) -> bool:
    """Does it look like a folder of a person, a sequence, a split or images? `happy_faces` may be a class."""
    labelled = any(word in _LABEL_OF for word in re.split(r"[ _-]+", _folded(name)))
    return not labelled and _NO_CLASS.fullmatch(_folded(name)) is not None


def _folded(name: str) -> str:
    return name.strip().casefold()
