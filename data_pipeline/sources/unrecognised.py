"""What a source holds where no reader knows it: one short line of what was seen and what would be right."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from fersweep.common.errors import InputError
from fersweep.data_pipeline.sources.formats.columns import find_label, listed
from fersweep.data_pipeline.sources.formats.csv_files import Head, is_table
from fersweep.data_pipeline.sources.opening import is_packed
from fersweep.data_pipeline.sources.pictures import is_hidden

TABULAR = {".parquet", ".feather", ".xlsx", ".xls", ".ods", ".json", ".jsonl", ".npy", ".npz", ".pkl", ".pickle", ".h5",
           ".hdf5", ".mat", ".arff", ".txt", ".dat"}  # fmt: skip
RIGHT = (
    "give a CSV (emotion,pixels or path,label or blendshapes and label), a folder with an image folder for each class, "
    "or a .zip, .tar or .tar.gz of either"
)
MOST_SUFFIXES = 4


class Seen:
    """The files of a source, as far as a message needs them."""

    def __init__(self) -> None:
        self.suffixes = Counter[str]()
        """Of the files that are neither hidden nor pictures."""
        self.read: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Format → suffix → those that its reader reads beside the faces."""
        self.read_pictures = Counter[str]()
        """Format → pictures that its reader reads beside the faces, if there are others of them."""
        self.num_hidden = self.num_pictures = 0
        self.left_out: Mapping[str, int] = {}
        """Reason → links and other things that are no files."""
        self.packed: list[str] = []
        self.name, self.head = "", Head()
        """Of the first CSV."""

    def add(self, name: str, head: Head, is_picture: bool) -> None:
        path = PurePosixPath(name)
        if is_hidden(name):
            self.num_hidden += 1
            return
        if is_picture:
            self.num_pictures += 1
            return
        self.suffixes[path.suffix.lower() or "no suffix"] += 1
        if is_packed(name) and len(self.packed) <= MOST_SUFFIXES:
            self.packed.append(name)
        if len(head.columns) > 1 or (is_table(name) and path.suffix.lower() != ".txt"):
            self.name, self.head = self.name or name, self.head if self.name else head

    def refusal(self, path: Path) -> InputError:
        if path.is_file() and self.suffixes.total() == 1 and not self.name and not self.packed:
            as_csv = ": write the table as a CSV" if TABULAR & set(self.suffixes) else ""
            return InputError(f"{path} is neither a CSV nor an image{as_csv}; {RIGHT}")
        return InputError(f"{path} holds no faces: {self.told()}; {RIGHT}")

    def told(self) -> str:
        """What there is."""
        if self.name:
            return _table(self.name, self.head)
        if self.packed:
            more = ", …" if len(self.packed) > MOST_SUFFIXES else ""
            names = ", ".join(self.packed[:MOST_SUFFIXES])
            return f"what it has is packed itself ({names}{more}): give that, or unpack it first"
        if not self.suffixes:
            return "it is empty"
        kinds = [f"{count:,} {suffix}" for suffix, count in self.suffixes.most_common(MOST_SUFFIXES)]
        more = ", …" if len(self.suffixes) > MOST_SUFFIXES else ""
        what = f"it has only files that are neither CSVs nor images ({', '.join(kinds)}{more})"
        return f"{what}: write a table as a CSV" if TABULAR & set(self.suffixes) else what


def _table(name: str, head: Head) -> str:
    """Why a CSV is none of faces."""
    columns, all_columns = head.columns, listed(head.columns)
    if head.problem:
        return head.problem
    if not any(columns):
        return f"{name} is empty, or its first line is"
    if sum(map(_is_number, columns)) * 2 > len(columns):
        return f"{name} has numbers in its first line ({all_columns}), which must name the columns"
    if len(columns) == 1:
        return f"{name} has one column ({all_columns}); columns are separated by a comma, ';', a tab or '|'"
    if (label := find_label(columns, head.first)) is None:
        return f"{name} has no column of labels (label, emotion, class or expression), only {all_columns}"
    return f"{name} has labels ({columns[label]}), but no columns of pixels, paths or blendshapes, only {all_columns}"


def _is_number(name: str) -> bool:
    try:
        float(name.split(" ")[0])
    except ValueError:
        return False
    return True
