"""The formats that `prepare` reads. A new one is a reader and a row here; tests/data_pipeline/test_sources.py runs over all."""

from data_pipeline.readers.affectnet import AFFECTNET
from data_pipeline.readers.base import Reader
from data_pipeline.readers.blendshape_csv import BLENDSHAPE_CSV
from data_pipeline.readers.ckplus import CKPLUS
from data_pipeline.readers.faces_csv import FACES_CSV
from data_pipeline.readers.fer2013 import CKEXTENDED, FER2013_CSV
from data_pipeline.readers.ferplus import FERPLUS
from data_pipeline.readers.folders import FOLDERS, JONATHANOHEIX_FOLDERS
from data_pipeline.readers.jaffe import JAFFE
from data_pipeline.readers.rafdb import RAFDB

READERS: dict[str, Reader] = {
    "fer2013_csv": FER2013_CSV,
    "ferplus": FERPLUS,
    "ckextended": CKEXTENDED,
    "folders": FOLDERS,
    "jonathanoheix": JONATHANOHEIX_FOLDERS,
    "ckplus": CKPLUS,
    "jaffe": JAFFE,
    "rafdb": RAFDB,
    "affectnet": AFFECTNET,
    "faces_csv": FACES_CSV,
    "blendshape_csv": BLENDSHAPE_CSV,
}
