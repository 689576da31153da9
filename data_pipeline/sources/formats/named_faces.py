"""Datasets whose file names say who it is and what is felt, in any folders: JAFFE, KDEF, RaFD.

Where somebody has sorted the files into class folders, those say the class; split folders around them are kept.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath

from fersweep.data_pipeline.sources.containers import Files
from fersweep.data_pipeline.sources.formats.file_names import Said, jaffe, kdef, rafd
from fersweep.data_pipeline.sources.formats.reader import Clue, RawFace, Reader
from fersweep.data_pipeline.sources.labels import label_of
from fersweep.data_pipeline.sources.pictures import is_picture
from fersweep.data_pipeline.sources.split_names import split_of_folders


def _read(
    files: Files, names: tuple[str, ...], *, parse: Callable[[str], Said | None], other: str
) -> Iterator[RawFace]:
    for member in files:
        if not is_picture(member):
            continue
        path = PurePosixPath(member.name)
        said, folder = parse(path.stem), path.parent
        if said is None:
            yield RawFace(member.name, "", member, drop=other)
        else:
            label = folder.name if label_of(folder.name) else said.label
            yield RawFace(member.name, label, member, split_of_folders(folder.parts[:-1]), said.subject)


def _reader(name: str, example: str, parse: Callable[[str], Said | None]) -> Reader:
    def fits(clue: Clue) -> bool:
        return clue.is_image and parse(PurePosixPath(clue.name).stem) is not None

    read = partial(_read, parse=parse, other=f"not named as in {name}")
    return Reader(kind="image", expects=f"images named like {example}", fits=fits, read=read)


JAFFE = _reader("JAFFE", "KA.AN1.39.tiff", jaffe)
KDEF = _reader("KDEF", "AF01ANS.JPG", kdef)
RAFD = _reader("RaFD", "Rafd090_01_Caucasian_female_angry_frontal.jpg", rafd)
