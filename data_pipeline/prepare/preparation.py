"""Sources → dataset: `fersweep prepare fer2013.csv.zip --out runs/data/fer2013`.

First the sources are surveyed: labels that do not map and wrong rows are errors before anything is written. Then a
reader streams the faces through Ray Data to one worker a core (workers.py), and their results are staged (staging.py).
With all faces known, splits, folds and twins are settled, augmented copies of train faces go through the workers, and
the parts are written (assemble.py). Killed at any moment, the same command continues after the staged parts; readings
are also kept by face (reading_cache.py), so that another dataset of the same faces needs no MediaPipe. The manifest is
written last.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fersweep.common.errors import InputError
from fersweep.common.files import check_name, lock, readings_directory, write_whole
from fersweep.common.own_code import copies
from fersweep.common.versions import command, own
from fersweep.data_pipeline.dataset.manifest import Manifest
from fersweep.data_pipeline.dataset.seal import seal
from fersweep.data_pipeline.faces.landmarker import Landmarker
from fersweep.data_pipeline.faces.landmarker_bundle import SHA256, find_bundle
from fersweep.data_pipeline.prepare.assemble import Settled, chosen_for_augmentation, settle, write
from fersweep.data_pipeline.prepare.batches import Chosen, Sources
from fersweep.data_pipeline.prepare.begun import LOCK, STATE, Request, begun, request
from fersweep.data_pipeline.prepare.options import Crop, Options
from fersweep.data_pipeline.prepare.progress import OnProgress, Progress
from fersweep.data_pipeline.prepare.ray_stream import running
from fersweep.data_pipeline.prepare.reading_cache import ReadingCache, Sight
from fersweep.data_pipeline.prepare.staging import Stage
from fersweep.data_pipeline.prepare.stored_size import stored_size
from fersweep.data_pipeline.prepare.workers import Augmenter, Extractor, Job, Ready
from fersweep.data_pipeline.sources import split_names
from fersweep.data_pipeline.sources.labels import refuse_unused
from fersweep.data_pipeline.sources.own_reader.own_reader import find_reader
from fersweep.data_pipeline.sources.source import Source, Survey, open_source, open_with

STAGED = "staged"


def prepare(
    sources: Sequence[Path],
    out: Path,
    options: Options | None = None,
    *,
    formats: Sequence[str] = (),
    reader: str | None = None,
    workers: int | None = None,
    landmarker: Path | None = None,
    cache: Path | None = None,
    address: str | None = None,
    progress: OnProgress | None = None,
) -> Manifest:
    """Make the dataset `out` of `sources` and return its manifest; a finished one is left as it is.

    Args:
        formats: of the sources (formats.READERS): none, where they are recognised; one for all; or one each.
        reader: of the user's own: FILE.py, the name of an entry point of the group `fersweep.readers`, or package.module.
        workers: one process and one CPU each (default: all CPUs); one alone is this process, without Ray.
        cache: directory of readings of earlier runs; default: see `files.readings_directory`.
        address: of a Ray cluster, whose workers may share `cache` on shared storage; an initialised Ray is used as it is.

    InputError where sources or options are wrong, or differ from those `out` was begun with; RuntimeError where
    MediaPipe or its bundle is missing.
    """
    out, options = Path(out), options or Options()
    check_name(out, f"--out {out}")
    report = progress or _report_nothing
    if workers is not None and workers < 1:
        raise InputError(f"workers: must be 1 or more, but got {workers}")
    if landmarker is not None:
        find_bundle(landmarker)
    opened = _opened(sources, formats, options) if reader is None else _opened_with(reader, sources, formats, options)
    for source in opened:
        if source.own is not None:
            source.own.tell = lambda num, rate: report(Progress("read", num, None, rate, None))
    surveys = [source.survey() for source in opened]
    refuse_unused(options.labels, (name for survey in surveys for name in survey.labels))
    split_names.refuse_unused(options.split_folders, (name for survey in surveys for name in survey.folders))
    kind = _kind(opened, surveys)
    if kind == "scores" and (options.landmarks or options.augment or options.views > 1):
        raise InputError("ready-made blendshapes have no pictures: leave landmarks, views and augment out")
    image_size = options.image_size
    if kind == "scores":
        image_size = None
    elif image_size is None:
        image_size = stored_size(opened, [survey.num_faces for survey in surveys])
    options = replace(options, image_size=image_size, crop=options.crop or _usual_crop(kind, options))
    wanted = request(opened, options)
    if (manifest := begun(out, wanted)) is not None:
        report(Progress("finished", manifest["num_faces"], manifest["num_faces"], 0.0, 0.0))
        return manifest
    readings = Path(cache or readings_directory()).resolve()
    job = _job(kind, image_size, options, landmarker, readings, strict_boxes=reader is not None)
    code = [source.own.code for source in opened if source.own is not None][:1]
    alone = kind == "scores" or ((workers or os.cpu_count()) == 1 and address is None)
    with running(alone, workers, address) as run, _unfinished(out, wanted):
        sizes = _sizes(np.arange(sum(survey.num_faces for survey in surveys)), options.part_rows)
        stage = Stage(out / STAGED, sizes, options.part_rows)
        worker = Ready if kind == "scores" else Extractor
        anywhere = [replace(source, path=source.path.absolute(), root=source.root.absolute()) for source in opened]
        run("extract", Sources(anywhere, set(stage.missing), options.part_rows), worker, job, stage, report)
        report(Progress("split", 0, None, 0.0, None))
        settled = settle(stage, options, image_size)
        num_faces = len(settled.splits)
        report(Progress("split", num_faces, num_faces, 0.0, None))
        altered = None
        if options.augment:
            chosen = chosen_for_augmentation(settled)
            altered = Stage(out / STAGED / "copies", _sizes(chosen, options.part_rows), options.part_rows)
            run("augment", Chosen(stage, chosen, set(altered.missing)), Augmenter, job, altered, report)
        if job.sight is not None and job.cache is not None:
            ReadingCache(Path(job.cache), job.sight, version("mediapipe")).merge()
        report(Progress("write", 0, num_faces, 0.0, None))
        names = _origins(opened)
        write(out, stage, altered, settled, image_size, names)
        fields = _manifest_fields(opened, surveys, names, options, settled, job.sight)
        for read_by in code:
            copies.write(read_by, out)
        manifest = seal(
            out,
            {
                **wanted,
                **fields,
                **({"code": {read_by.name: read_by.sums for read_by in code}} if code else {}),
                "image_size": image_size,
                "command": command(),
                "fersweep": own(),
            },
        )
        report(Progress("write", num_faces, num_faces, 0.0, None))
        shutil.rmtree(out / STAGED)
        (out / STATE).unlink()
    return manifest


def _opened(sources: Sequence[Path], formats: Sequence[str], options: Options) -> list[Source]:
    if not sources:
        raise InputError("no source was given: give a CSV, a folder of images, or an archive of either")
    if len(formats) not in (0, 1, len(sources)):
        raise InputError(f"format: {len(formats)} are given for {len(sources)} sources; give one for all, or one each")
    names = list(formats) * len(sources) if len(formats) == 1 else list(formats) or [None] * len(sources)
    labels = dict(options.labels)
    folders = None if options.split in ("subject", "stratified") else options.split_folders
    return [open_source(Path(path), name, labels, folders) for path, name in zip(sources, names, strict=True)]


def _opened_with(reader: str, sources: Sequence[Path], formats: Sequence[str], options: Options) -> list[Source]:
    if formats:
        raise InputError(f"--reader {reader} with --format {formats[0]}: give one of them")
    if options.split_folders:
        name, split = next(iter(options.split_folders.items()))
        raise InputError(
            f"--reader {reader} with --split-folder {name}={split}: the reader says the split of each face"
        )
    if not sources:
        raise InputError("no source was given: give what the reader reads, a folder, an archive or a file")
    own = find_reader(reader)
    return [open_with(Path(path), own, options.labels) for path in sources]


def _kind(sources: Sequence[Source], surveys: Sequence[Survey]) -> str:
    """ "scores", or what is decoded ("text", "image"; "image" if any source has images). InputError where they do not go together."""
    for source, survey in zip(sources, surveys, strict=True):
        if survey.num_faces == 0:
            raise InputError(f"{source.path} holds no face of a class that is kept")
    kinds = {survey.kind for survey in surveys}
    if "scores" in kinds and len(kinds) > 1:
        raise InputError("the sources are images and ready-made blendshapes: make a dataset of each")
    return "image" if "image" in kinds else kinds.pop()


def _usual_crop(kind: str, options: Options) -> Crop:
    """`crop` where it is not given. Faces of tables are never searched: those of older datasets say auto."""
    return "none" if kind == "image" and options.pixels_only else "auto"


def _job(
    kind: str,
    image_size: tuple[int, int] | None,
    options: Options,
    landmarker: Path | None,
    readings: Path,
    strict_boxes: bool,
) -> Job:
    """What the workers do. RuntimeError where they need MediaPipe, and it or its bundle is missing."""
    looks, crops = kind != "scores" and not options.pixels_only, kind == "image" and options.crop == "auto"
    bundle = find_bundle(landmarker) if looks or crops else None
    if bundle is not None:
        with Landmarker(bundle):  # what MediaPipe lacks is an error here, not in a worker
            pass
    return Job(
        image_size=image_size or (0, 0),
        sight=Sight(options.border, options.size, options.views) if looks else None,
        with_landmarks=options.landmarks,
        bundle=str(bundle.absolute()) if bundle else None,
        cache=str(readings),
        crop=crops,
        all_faces=options.faces == "all",
        copies=options.augment,
        seed=options.seed,
        strict_boxes=strict_boxes,
    )


def _sizes(rows: np.ndarray, part_rows: int) -> list[int]:
    """How many of `rows` (rising) are in each span of `part_rows`."""
    return np.bincount(rows // part_rows).tolist()


def _origins(sources: Sequence[Source]) -> list[str]:
    """A name for each source: its file's, numbered where two have the same."""
    names: list[str] = []
    for source in sources:
        stem = source.path.resolve().name.split(".")[0] or source.format
        num_equal = sum(name == stem or name.startswith(f"{stem}-") for name in names)
        names.append(f"{stem}-{num_equal + 1}" if num_equal else stem)
    return names


def _manifest_fields(
    sources: Sequence[Source], surveys: Sequence[Survey], names: Sequence[str], options: Options, settled: Settled,
    sight: Sight | None,
) -> Mapping[str, Any]:  # fmt: skip
    """What the manifest says beside counts: where the faces come from, how they were seen and split."""
    mediapipe = {"bundle_sha256": SHA256, "mediapipe": version("mediapipe")}
    pixels = surveys[0].kind != "scores"
    return {
        "origins": {
            name: {
                "format": source.format,
                "num_faces": settled.kept.get(number, 0),
                "labels": {label: count._asdict() for label, count in survey.labels.items()},
                "left_out": survey.left_out,
                "other_files": survey.other_files,
                "warnings": survey.warnings,
            }
            for number, (name, source, survey) in enumerate(zip(names, sources, surveys, strict=True))
        },
        "landmarks": None if sight is None else {**asdict(sight), **mediapipe},
        "has": {"pixels": pixels, "landmarks": options.landmarks},
        "split_by": options.split,
        "folds": options.folds,
        "num_subjects": settled.num_subjects,
        "compared": settled.compared,
        "turned_twins": settled.turned_twins,
        "skipped": settled.skipped,
        "carved": settled.carved,
        **({"carved_by": settled.carved_by} if settled.carved_by else {}),
        **({"fit": "pad", "kept_whole": settled.kept_whole} if pixels else {}),
    }


def _report_nothing(_: Progress) -> None:
    """`report` where nobody asked for the progress."""


@contextlib.contextmanager
def _unfinished(out: Path, wanted: Request) -> Iterator[None]:
    """`out` is locked, and STATE in it says what it is to become. An InputError of the sources leaves nothing behind."""
    with _told(out), _locked(out):
        if begun(out, wanted) is not None:  # since this process looked; or begun as another dataset
            raise InputError(f"{out} was finished by another process meanwhile")
        write_whole(out / STATE, json.dumps(wanted, indent=1).encode())
        try:
            yield
        except InputError:
            shutil.rmtree(out / STAGED, ignore_errors=True)
            for name in (STATE, LOCK):
                (out / name).unlink()
            with contextlib.suppress(OSError):  # other files are in it
                out.rmdir()
            raise


@contextlib.contextmanager
def _told(out: Path) -> Iterator[None]:
    """What the disk refuses is said with the place. InputError where nothing can be written, RuntimeError where it is full."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR):
            raise InputError(f"--out {out}: cannot be written ({error.strerror})") from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise RuntimeError(f"{out}: {error.strerror}; what is done is kept: run the same command again") from None
        raise


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    out.mkdir(parents=True, exist_ok=True)
    try:
        alone = lock(out / LOCK, 0)
    except TimeoutError:
        raise InputError(f"{out} is being prepared by another process: wait for it") from None
    with alone:
        try:
            yield
        finally:
            (out / LOCK).unlink(missing_ok=True)
