"""Datasets: `fersweep.prepare`, `describe`, `data_verify`, `data_export`, `data_diff`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep.api.options import documented
from fersweep.api.settings import Data, Place, data_of, listed, path_of, quiet_process, say, write
from fersweep.common.errors import InputError, hint
from fersweep.common.ray_connection import left_as_found
from fersweep.common.versions import call, called
from fersweep.data_pipeline.prepare.options import Options

if TYPE_CHECKING:
    from fersweep.data_pipeline.dataset.diff import Difference
    from fersweep.data_pipeline.dataset.export import Export
    from fersweep.data_pipeline.dataset.verify import Verification
    from fersweep.data_pipeline.describe.description import Description
    from fersweep.data_pipeline.sources.own_reader.trial import Trial


@documented(Options)
def prepare(
    sources: Place | Sequence[Place],
    out: Place,
    options: Options | None = None,
    *,
    format: str | Sequence[str] | None = None,
    reader: Place | None = None,
    landmarker: Place | None = None,
    workers: int | None = None,
    cache: Place | None = None,
    address: str | None = None,
    **fields: Any,
) -> Description:
    """Make a dataset: faces through MediaPipe into Parquet. The same call picks up an interrupted run.

        fersweep.prepare("fer2013.csv", out="runs/data/fer2013")
        fersweep.prepare(["a.zip", "b"], out="runs/data/both", landmarks=True, image_size=96)

    Args:
        sources: CSVs, folders or archives of faces, one or several.
        out: directory of the dataset. A finished one is left as it is.
        options: instead of the fields below, a `fersweep.PrepareOptions`.
        format: of all sources, or one for each; default: found out.
        reader: your own, FILE.py, package.module, or an installed one's name; see docs/how-to/own-reader.md.
        landmarker: path of face_landmarker.task; default: cache, package, download.
        workers: processes; default: one per CPU.
        cache: directory of MediaPipe's readings of earlier runs; default: FERSWEEP_READINGS, else
            ~/.cache/fersweep/readings.
        address: of a Ray cluster, as of `fersweep.launch`.

    {options}

    Returns:
        The dataset in figures, as `fersweep.describe`; `fersweep.launch` takes it as `data`.

    Raises:
        InputError: a source, a label or an option is wrong; nothing was written.
        KeyboardInterrupt: what was read is staged: the same call goes on with it.
    """
    import os

    from rich.console import Console

    from fersweep.data_pipeline.describe.summary import describe
    from fersweep.data_pipeline.prepare.preparation import prepare as run
    from fersweep.data_pipeline.prepare.progress import bars

    if re.match(r"\w+:/", str(out)):
        raise InputError(
            f"--out {out}: a dataset is made on a disk; `aws s3 sync` or `rclone copy` then takes it to a bucket"
        )
    quiet_process()
    chosen = _options(options, fields)
    given = [Path(source) for source in listed(sources)]
    readings = cache or os.environ.get("FERSWEEP_READINGS")
    said = call("prepare", [str(source) for source in given], out=str(out), format=format, reader=reader, **fields)
    with called(said), left_as_found(), bars(Console(stderr=True)) as progress:
        manifest = run(
            given,
            Path(out),
            chosen,
            formats=[] if format is None else listed(format),
            reader=None if reader is None else str(reader),
            workers=workers,
            landmarker=path_of(landmarker),
            cache=path_of(readings),
            address=address,
            progress=progress,
        )
    for name, origin in manifest.get("origins", {}).items():
        for warning in origin.get("warnings", []):
            say(f"{name}: {warning}")
    return describe(Path(out))


def _options(options: Options | None, given: dict[str, Any]) -> Options:
    known = [field.name for field in fields(Options)]
    for name in given:
        if options is not None:
            raise InputError(f"{name}: options were given, too: want one of them")
        if name not in known:
            raise InputError(f"prepare has no option {name!r}; {hint(name, known)}")
    side = given.get("image_size")
    if isinstance(side, int):
        given = {**given, "image_size": (side, side) if side else None}
    return options or Options(**given)


def describe(
    dataset: Data,
    *,
    html: Place | None = None,
    faces: bool = True,
    tell: Callable[[str, float], None] = lambda step, done: None,
) -> Description:
    """What a dataset holds: faces per split and class, those lost, twins, what the scores tell.

    Args:
        dataset: its directory, or its address in a bucket.
        html: a file to write all there is to see in it to, as a page.
        faces: whether faces may be on the page.
        tell: gets what is done next for the page, and the share that is done.

    Raises InputError where it is no finished dataset, or is damaged.
    """
    from fersweep.data_pipeline.dataset.staged import local
    from fersweep.data_pipeline.describe import summary

    directory = local(str(data_of(dataset)))
    if html is not None:
        from fersweep.data_pipeline.describe.page import render

        write(Path(html), render(directory, faces=faces, tell=tell))
    return summary.describe(directory)


def data_verify(dataset: Data) -> Verification:
    """Check every part of a dataset against its manifest, and pixels against their names: `sound`, `findings`."""
    from fersweep.common.stores.buckets import is_address
    from fersweep.data_pipeline.dataset.staged import damaged, local
    from fersweep.data_pipeline.dataset.verify import verify

    place = str(data_of(dataset))
    if is_address(place) and (findings := damaged(place)):
        lines = "; ".join(findings[:3]) + (f"; and {len(findings) - 3} more" if len(findings) > 3 else "")
        raise RuntimeError(f"{place} is damaged: {lines}: copy it anew")
    result = verify(local(place))
    return replace(result, directory=place) if is_address(place) else result


def data_export(dataset: Data, out: Place, layout: str) -> Export:
    """Write a dataset's faces for other tools, to a new directory `out`.

    layout: "csv" (Kaggle's layout and a table of scores), "numpy" (mapped arrays) or "imagefolder" (PNGs).
    """
    from fersweep.data_pipeline.dataset.export import export_dataset
    from fersweep.data_pipeline.dataset.staged import local

    return export_dataset(local(str(data_of(dataset))), Path(out), layout)


def data_diff(a: Data, b: Data) -> Difference:
    """What differs between two datasets: faces, labels, splits, scores, options and sources."""
    from fersweep.data_pipeline.dataset.diff import diff
    from fersweep.data_pipeline.dataset.staged import local

    return diff(local(str(data_of(a))), local(str(data_of(b))))


def check_reader(
    reader: Place,
    source: Place,
    *,
    map: Mapping[str, str] | None = None,
    most: int | None = None,
    tell: Callable[[int, float], None] | None = None,
) -> Trial:
    """Read a source with a reader of your own, and write nothing: `fersweep check reader`.

        fersweep.check_reader("my_reader.py", "faces.zip").faults

    Args:
        reader: FILE.py, package.module, or an installed one's name.
        source: a folder, an archive or a file.
        map: what a class of the source is called here, or "drop".
        most: stop after so many faces; None: read all.
        tell: is called with the number of faces so far, and how many are read a second.

    Returns:
        Counts by class, split and reason; `faults`, in words. Raises InputError where it cannot be read to the end.
    """
    from fersweep.data_pipeline.sources.own_reader.trial import try_reader

    return try_reader(str(reader), Path(source), dict(map or {}), most, tell)
