"""A home that was moved: everything goes on at the new place, and nothing is written to the old one."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fersweep.common.errors import InputError
from fersweep.results.dashboards.mlflow_ui import server_command
from fersweep.results.mlflow_store import addresses, connection, other_homes
from fersweep.results.mlflow_store.registry import MODEL
from fersweep.results.predict.prediction import champion
from fersweep.results.promote.promotion import promote
from fersweep.results.record.home import check_home
from fersweep.results.tracking import recorder_process
from tests.recorded import check_all_recorded, client_of, run_ids
from tests.servers import free_port
from tests.sweeps import METRIC, FakeDriver, write_sweep

pytestmark = pytest.mark.slow


def places(home: Path) -> set[str]:
    """Every place that the store keeps."""
    with sqlite3.connect(home / "mlflow.db") as database:
        found = {
            place
            for table, column in other_homes.MOVED
            for (place,) in database.execute(f"SELECT {column} FROM {table}")
        }
    return {place for place in found if place and not place.startswith("models:")}


def promote_elsewhere(sweep_dir: Path) -> dict[str, Any]:
    """In a process that ends before the move: MLflow remembers, while it lives, where it put the files of a run."""
    code = f"import json, pathlib, fersweep.results.promote.promotion as p; print(json.dumps(p.promote(pathlib.Path({str(sweep_dir)!r})).as_json()))"
    command, root = [sys.executable, "-c", code], Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.processes
def test_a_moved_home_goes_on(tmp_path: Path, tiny_dataset: Path) -> None:
    before, home = tmp_path / "h%20x ?#", tmp_path / "elsewhere" / "runs_% b?#'\"é;&+\n"
    sweep_dir = write_sweep(before, tiny_dataset, num_trials=2)
    promoted = promote_elsewhere(sweep_dir)
    ids = run_ids(sweep_dir)
    home.parent.mkdir()
    shutil.move(before, home)
    sweep_dir = home / "sweeps" / "tiny"

    checkpoint = champion(home)
    assert checkpoint.is_relative_to(home)
    assert promote(sweep_dir).version == promoted["version"], "what was promoted is found again"
    driver = FakeDriver(sweep_dir, None)  # pyright: ignore[reportArgumentType]  # it trains nothing
    driver.journal.session("started")
    driver.journal.append("reopened", trial=0)
    driver.report(0, [{**driver.journal.record.trials[0].epochs[-1], "epoch": epoch} for epoch in (10, 11)])
    driver.end(0, "finished")
    driver.journal.session("finished")
    driver.journal.close()
    assert recorder_process.record(sweep_dir)
    check_all_recorded(sweep_dir)
    assert run_ids(sweep_dir) == ids
    client = client_of(sweep_dir)
    assert len(Path(client.download_artifacts(ids["0000"], "history.csv")).read_text().splitlines()) == 1 + 11
    import mlflow

    mlflow.set_tracking_uri(addresses.tracking_uri(home))
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
    assert model.metadata.get_input_schema() is not None
    assert METRIC in client.get_run(ids["0000"]).data.metrics
    assert all(place.startswith(f"{(home / 'artifacts').as_uri()}") for place in places(home))
    assert not before.exists()


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "a b",
        "h%20x",
        "q?x=1&y",
        "h#x",
        "it's",
        '"',
        "é",
        "-x",
        "a;b",
        "n\nl",
        "a@b:c",
        "[x]",
        "%2F..%2Fz",
        "+",
    ],
)
def test_a_homes_store_is_where_its_name_says(name: str, tmp_path: Path) -> None:
    """As SQLAlchemy reads the address, whatever is in the name; and as `sqlite_file` reads it."""
    from sqlalchemy import create_engine, text

    home = tmp_path / name
    home.mkdir()
    uri = addresses.tracking_uri(home)
    engine = create_engine(uri)
    with engine.begin() as database:
        database.execute(text("CREATE TABLE t (x)"))
    engine.dispose()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [home / "mlflow.db"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert addresses.sqlite_file(uri) == home / "mlflow.db"
    assert addresses.sqlite_file("http://127.0.0.1:5000") is None
    assert uri.startswith("sqlite:///") == (name in ("plain", "-x")), "others are not taken for a path by MLflow"


def test_another_users_home_can_be_read(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    before = (tmp_path / "mlflow.db").read_bytes()
    monkeypatch.setattr(connection, "is_read_only", lambda _: True)  # root may write everywhere
    client = connection.open_home(tmp_path)
    assert client.get_experiment("0").name == "Default"
    assert client.tracking_uri != addresses.tracking_uri(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    assert (tmp_path / "mlflow.db").read_bytes() == before


def test_a_home_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file, where a directory is needed"):
        check_home(tmp_path / "file" / "runs")
    with pytest.raises(InputError, match=r"b\\udcff: the name is not UTF-8"):
        check_home(tmp_path / os.fsdecode(b"b\xff"))
    check_home(tmp_path / "new" / "h%20x?")


def test_the_page_of_a_moved_home(tmp_path: Path, tiny_dataset: Path) -> None:
    """The first to look at it is the MLflow page, which asks the store alone."""
    before, home = tmp_path / "before", tmp_path / "after"
    assert recorder_process.record(write_sweep(before, tiny_dataset, num_trials=1))
    server_command(before, free_port())
    untouched = places(before)
    assert all(place.startswith((before / "artifacts").as_uri()) for place in untouched)
    shutil.move(before, home)
    server_command(home, free_port())
    assert len(places(home)) == len(untouched)
    assert all(place.startswith((home / "artifacts").as_uri()) for place in places(home))


def test_other_places_stay(tmp_path: Path) -> None:
    """Artifacts that lie in no home of ours, however similar their names."""
    before, home = tmp_path / "before", tmp_path / "after"
    client = connection.open_home(before)
    connection.experiment_id(client, "fersweep", before)
    others = ["s3://bucket/artifacts", (tmp_path / "before" / "artifacts-of-others").as_uri(), "/somewhere/artifacts"]
    for number, place in enumerate(others):
        client.create_experiment(f"other {number}", artifact_location=place)
    shutil.move(before, home)
    moved = connection.open_home(home)
    for number, place in enumerate(others):
        found = moved.get_experiment_by_name(f"other {number}")
        assert found is not None
        assert found.artifact_location.removeprefix("file://") == place.removeprefix("file://")
    ours = moved.get_experiment_by_name("fersweep")
    assert ours is not None
    assert ours.artifact_location == (home / "artifacts").as_uri()


@pytest.mark.parametrize("content", [None, b""], ids=["no-store", "empty-file"])
def test_no_store_to_move(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "mlflow.db").write_bytes(content)
    other_homes.follow_move(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ([] if content is None else ["mlflow.db"])
