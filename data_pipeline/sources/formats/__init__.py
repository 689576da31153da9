"""The formats that `prepare` reads. A new one is a reader and a row here; tests/data_pipeline/sources/test_sources.py runs over all."""

from fersweep.data_pipeline.sources.formats.affectnet import AFFECTNET
from fersweep.data_pipeline.sources.formats.affectnet_npy import AFFECTNET_NPY
from fersweep.data_pipeline.sources.formats.blendshape_csv import BLENDSHAPE_CSV
from fersweep.data_pipeline.sources.formats.ckplus import CKPLUS
from fersweep.data_pipeline.sources.formats.faces_csv import FACES_CSV
from fersweep.data_pipeline.sources.formats.fer2013 import CKEXTENDED, FER2013_CSV
from fersweep.data_pipeline.sources.formats.ferplus import FERPLUS
from fersweep.data_pipeline.sources.formats.folders import FOLDERS, JONATHANOHEIX_FOLDERS
from fersweep.data_pipeline.sources.formats.named_faces import JAFFE, KDEF, RAFD
from fersweep.data_pipeline.sources.formats.rafdb import RAFDB
from fersweep.data_pipeline.sources.formats.reader import Reader

READERS: dict[str, Reader] = {
    "fer2013_csv": FER2013_CSV,
    "ferplus": FERPLUS,
    "ckextended": CKEXTENDED,
    "folders": FOLDERS,
    "jonathanoheix": JONATHANOHEIX_FOLDERS,
    "ckplus": CKPLUS,
    "jaffe": JAFFE,
    "kdef": KDEF,
    "rafd": RAFD,
    "rafdb": RAFDB,
    "affectnet": AFFECTNET,
    "affectnet_npy": AFFECTNET_NPY,
    "faces_csv": FACES_CSV,
    "blendshape_csv": BLENDSHAPE_CSV,
}
