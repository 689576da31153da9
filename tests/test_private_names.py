"""Names of other libraries that they do not promise, and that we rest on: a new version that lacks one shows here."""

from __future__ import annotations

import importlib
import mmap
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from fersweep.cluster.samplers.registry import GOOD, good
from fersweep.common.local_ray.start import PORTS
from fersweep.results.record.recorded_sweep import load_sweep
from fersweep.search_spaces.sweep_file.sections.samplers import Tpe
from tests.sweeps import write_sweep


def names(function: Callable[..., Any]) -> list[str]:
    """Globals and attributes that a function, and those within it, use; in the order in which each first occurs."""

    def walk(code: CodeType) -> Iterator[str]:
        yield from code.co_names
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from walk(constant)

    return list(walk(function.__code__))


def constants(function: Callable[..., Any]) -> list[str]:
    """Strings in the code of a function, also those in tuples of them."""
    found = [
        part
        for constant in function.__code__.co_consts
        for part in (constant if isinstance(constant, tuple) else [constant])
    ]
    return [part for part in found if isinstance(part, str)]


def check(true: Any, library: str, file: str, what: str) -> None:
    if not true:
        pytest.fail(f"{library} {version(library)}: {what} is gone, or is another; {file} needs it", pytrace=False)


def holds(path: Path, text: str) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text.encode()) >= 0


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("ray.air.execution._internal.actor_manager", "RayActorManager._actor_task_failed"),
        ("ray.tune.execution.tune_controller", "TuneController._schedule_trial_task"),
    ],
)
def test_ray_takes_the_death_of_an_actor_by_a_name_that_can_be_changed(module: str, function: str) -> None:
    from ray.exceptions import OutOfMemoryError, RayActorError

    home: Any = importlib.import_module(module)
    owner, name = function.split(".")
    used = names(getattr(getattr(home, owner), name))
    check("RayActorError" in used, "ray", "cluster/driver/tune_adapters.py", f"{function}'s RayActorError")
    check(home.RayActorError is RayActorError, "ray", "cluster/driver/tune_adapters.py", f"{module}.RayActorError")
    needed = not issubclass(OutOfMemoryError, RayActorError)
    check(
        needed,
        "ray",
        "cluster/driver/tune_adapters.py",
        "the OutOfMemoryError that is no RayActorError, so the patch can go: it",
    )


def test_the_patch_of_ray_is_refused_where_its_name_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import tune_controller

    from fersweep.cluster.driver.tune_adapters import memory_is_a_trials_fault

    original = tune_controller.RayActorError  # type: ignore[attr-defined]
    with memory_is_a_trials_fault():
        assert tune_controller.RayActorError != original  # type: ignore[attr-defined]
    assert tune_controller.RayActorError is original  # type: ignore[attr-defined]
    monkeypatch.delattr(tune_controller, "RayActorError")
    with pytest.raises(RuntimeError, match=r"^Ray [\d.]+: ray\.tune\.execution\.tune_controller has no RayActorError"):
        memory_is_a_trials_fault().__enter__()


def test_tune_takes_the_keys_it_gives_away_from_a_set_that_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution import class_cache

    from fersweep.cluster.driver.tune_adapters import keys_stay_here

    used = names(class_cache._ActorClassCache.get)
    check("ENV_VARS_TO_PROPAGATE" in used, "ray", "cluster/driver/tune_adapters.py", "ENV_VARS_TO_PROPAGATE")
    original = class_cache.ENV_VARS_TO_PROPAGATE
    check(
        "AWS_SECRET_ACCESS_KEY" in original,
        "ray",
        "cluster/driver/tune_adapters.py",
        "the key that Tune gives away, so the patch can go: it",
    )
    with keys_stay_here():
        assert not any("AWS" in name for name in class_cache.ENV_VARS_TO_PROPAGATE)
    assert class_cache.ENV_VARS_TO_PROPAGATE is original
    monkeypatch.delattr(class_cache, "ENV_VARS_TO_PROPAGATE")
    with pytest.raises(RuntimeError, match=r"^Ray [\d.]+: ray\.tune\.execution\.class_cache has no set"):
        keys_stay_here().__enter__()


def test_tune_writes_what_ended_an_attempt_before_it_asks(tmp_path: Path) -> None:
    from ray.exceptions import ActorDiedError, OutOfMemoryError
    from ray.tune import TuneError
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

    from fersweep.cluster.driver.tune_adapters import raised

    order = names(TuneController._process_trial_failure)
    asked_after = order.index("handle_error") < order.index("on_trial_error")
    check(
        asked_after,
        "ray",
        "cluster/driver/tune_adapters.py",
        "TuneController's order of handle_error and on_trial_error",
    )
    text = "1 worker(s) were killed due to the node running low on memory."
    for number, error in enumerate([ActorDiedError(), OutOfMemoryError(text), TuneError("no metrics")]):
        directory = tmp_path / str(number)
        directory.mkdir()
        trial = type("Trial", (Trial,), {"local_path": str(directory)})("a", stub=True)  # Ray's own needs a session
        trial.handle_error(error)
        same = type(raised(trial)) is type(error) and str(error) in str(raised(trial))
        check(same, "ray", "cluster/driver/tune_adapters.py", f"the file of a trial's {type(error).__name__}")
    check(
        hasattr(trial.temporary_state, "ray_actor"),
        "ray",
        "cluster/driver/tune_adapters.py",
        "Trial.temporary_state.ray_actor",
    )


def test_what_tune_counts_callbacks_with() -> None:
    from ray.air._internal import usage
    from ray.tune.tune import run

    counts = "tag_callbacks" in names(run) and hasattr(usage, "tag_callbacks")
    check(counts, "ray", "cluster/driver/tune_adapters.py", "usage.tag_callbacks, which tune.run calls,")


def test_the_averages_that_tune_keeps() -> None:
    from ray.tune.experiment import Trial
    from ray.tune.trainable.metadata import _TrainingRunMetadata

    keeps = "update_metric" in names(Trial.update_last_result) and "update_metric" in vars(_TrainingRunMetadata)
    check(keeps, "ray", "cluster/driver/lean_trials.py", "_TrainingRunMetadata.update_metric, which keeps averages,")


def test_what_ray_starts_its_monitors_with() -> None:
    from ray._private.node import Node

    started = [*names(Node.start_head_processes), *names(Node.start_ray_processes)]
    from ray import _raylet
    from ray._private import services

    file = "common/local_ray/start.py"
    for name in ("start_log_monitor", "start_monitor", "start_api_server"):
        check(hasattr(Node, name) and name in started, "ray", file, f"Node.{name}")
    check("_webui_url" in names(Node.start_api_server), "ray", file, "Node._webui_url")
    worker = "common/local_ray/new_worker.py"
    begins = "worker_command" in " ".join(names(services.start_raylet))
    check(begins, "ray", worker, "start_worker_command, which begins with Python and setup_worker.py,")
    from ray._private.workers import setup_worker

    for option in ("--serialized-runtime-env-context", "--language"):
        check(option in Path(setup_worker.__file__).read_text(), "ray", worker, f"setup_worker's option {option}")
    called = names(services.start_raylet)
    check("start_ray_process" in called, "ray", file, "services.start_ray_process, which start_raylet calls,")
    parts = " ".join(constants(services.start_raylet))
    for option in (
        "session_dir",
        "node_id",
        "node_ip_address",
        "static_resource_list",
        "num_prestart_python_workers",
        "dashboard_agent_command",
        "runtime_env_agent_command",
        "python_worker_command",
    ):
        check(f"--{option}=" in parts, "ray", file, f"raylet's option --{option}")
    for name in ("persist_port", "get_port_filename", "RUNTIME_ENV_AGENT_PORT_NAME", *PORTS):
        check(hasattr(_raylet, name), "ray", file, f"_raylet.{name}")
    for function in (services.get_node_ip_address, services.resolve_ip_for_localhost):
        asked = {"ENABLE_RAY_CLUSTER", "get_node_ip_address"} & set(names(function))
        check(
            asked, "ray", "common/ray_connection.py", f"ENABLE_RAY_CLUSTER, by which {function.__name__} is loopback,"
        )


def test_how_ray_takes_up_a_token() -> None:
    from ray._private.authentication.authentication_token_setup import _enable_token_auth

    read_again = {"Config", "initialize"} <= set(names(_enable_token_auth))
    check(
        read_again,
        "ray",
        "common/ray_connection.py",
        "Config.initialize, with which Ray itself reads RAY_AUTH_MODE again,",
    )


def test_names_of_ray() -> None:
    from ray.actor import ActorHandle
    from ray.data import DataContext

    check(hasattr(ActorHandle, "_actor_id"), "ray", "cluster/driver/tune_adapters.py", "ActorHandle._actor_id")
    context = DataContext.get_current()
    for name in ("target_max_block_size", "enable_progress_bars", "print_on_execution_start"):
        check(hasattr(context, name), "ray", "data_pipeline/prepare/ray_stream.py", f"DataContext.{name}")


@pytest.mark.parametrize(
    ("place", "text", "file"),
    [
        ("tune/utils/callback.py", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "cluster/driver/run_sweep.py"),
        ("tune/tune.py", "TUNE_DISABLE_SIGINT_HANDLER", "cluster/driver/run_sweep.py"),
        ("tune/execution/tune_controller.py", "TUNE_GLOBAL_CHECKPOINT_S", "cluster/driver/run_sweep.py"),
        ("tune/execution/tune_controller.py", "TUNE_PRINT_ALL_TRIAL_ERRORS", "cluster/driver/run_sweep.py"),
        ("tune/experimental/output.py", "RAY_AIR_NEW_OUTPUT", "cluster/driver/run_sweep.py"),
        ("_private/accelerators/__init__.py", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "common/ray_connection.py"),
        ("_common/usage/usage_constants.py", "RAY_USAGE_STATS_ENABLED", "common/ray_connection.py"),
        ("_raylet.so", "RAY_BACKEND_LOG_LEVEL", "common/ray_connection.py"),
        ("core/src/ray/raylet/raylet", "preload_python_modules", "common/local_ray/start.py"),
        ("core/src/ray/raylet/raylet", "idle_worker_killing_time_threshold_ms", "common/local_ray/start.py"),
        ("_raylet.so", "RAY_AUTH_MODE", "common/ray_connection.py"),
        ("core/src/ray/gcs/gcs_server", "node has died", "cluster/driver/tune_adapters.py"),
        ("core/src/ray/gcs/gcs_server", "node was terminated", "cluster/driver/tune_adapters.py"),
        ("_raylet.so", "Worker exits with an exit code", "cluster/driver/worker_log.py"),
        ("core/src/ray/raylet/raylet", "running low on memory", "cluster/driver/tune_adapters.py"),
        ("core/src/ray/raylet/raylet", "Selected to kill: ", "cluster/driver/tune_adapters.py"),
        ("core/src/ray/raylet/raylet", "actual memory used=%sGB", "cluster/driver/tune_adapters.py"),
    ],
)
def test_ray_knows_this_variable_or_says_this(place: str, text: str, file: str) -> None:
    import ray

    path = Path(ray.__file__).parent / place
    check(path.exists() and holds(path, text), "ray", file, f"{text!r} of ray/{place}")


def test_ray_says_where_a_workers_log_is() -> None:
    from ray._private import state, worker
    from ray._private.node import Node

    file = "cluster/driver/worker_log.py"
    check("_connect_and_get_accessor" in names(state.GlobalState.actor_table), "ray", file, "state.actors")
    check({"Pid", "NodeID"} <= set(constants(state.GlobalState._gen_actor_info)), "ray", file, "an actor's Pid, NodeID")
    check(hasattr(worker, "_global_node"), "ray", file, "worker._global_node")
    check(hasattr(Node, "get_logs_dir_path"), "ray", file, "Node.get_logs_dir_path")


def test_names_of_mlflow() -> None:
    from fersweep.results.dashboards import mlflow_ui
    from fersweep.results.mlflow_store import connection, other_homes

    connection.quiet()
    from mlflow import environment_variables
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.tracking.dbmodels import models as __  # noqa: F401 - both fill Base
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking import MlflowClient
    from mlflow.tracking._tracking_service import utils

    opens = callable(getattr(MlflowClient, "_get_registry_client", None))
    check(opens, "mlflow", "results/mlflow_store/connection.py", "MlflowClient._get_registry_client")
    from mlflow.tracking._tracking_service.client import TrackingServiceClient

    for name in [*connection.ENVIRONMENT, *(name for name in mlflow_ui.SERVER if name.startswith("MLFLOW"))]:
        check(
            hasattr(environment_variables, name),
            "mlflow",
            "results/mlflow_store/connection.py and ui.py",
            f"the variable {name}",
        )
    check(
        "_tracking_client" in names(MlflowClient.__init__),
        "mlflow",
        "results/mlflow_store/connection.py",
        "_tracking_client",
    )
    check(
        hasattr(utils, "_artifact_repos_cache"),
        "mlflow",
        "results/mlflow_store/connection.py",
        "utils._artifact_repos_cache",
    )
    check(
        hasattr(TrackingServiceClient, "store"),
        "mlflow",
        "results/mlflow_store/connection.py",
        "_tracking_client.store",
    )
    check(
        "engine" in names(SqlAlchemyStore.__init__),
        "mlflow",
        "results/mlflow_store/connection.py",
        "SqlAlchemyStore.engine",
    )
    tables = Base.metadata.tables
    for table, column in other_homes.MOVED:
        known = table in tables and column in tables[table].columns
        check(known, "mlflow", "results/mlflow_store/other_homes.py", f"the column {table}.{column}")
    columns = {(column.table.name, column.name) for table in tables.values() for column in table.columns}
    places = {(table, name) for table, name in columns if "uri" in name or "location" in name}
    new = places - {*other_homes.MOVED, ("workspaces", "trace_archival_location")}  # nobody here has workspaces
    check(not new, "mlflow", "results/mlflow_store/other_homes.py", f"the list of columns with places (new: {new})")


def test_the_view_in_mlflows_page(tmp_path: Path) -> None:
    import mlflow

    from fersweep.results.mlflow_store import experiments, saved_view

    scripts = sorted((Path(mlflow.__file__).parent / "server/js/build/static/js").glob("*.js"))
    content = b"\n".join(path.read_bytes() for path in scripts)
    view = saved_view._state(load_sweep(write_sweep(tmp_path, num_trials=0)).sweep)
    charts = {name for chart in view["compareRunCharts"] for name in chart}
    for name in (
        saved_view.PREFIX,
        "viewStateShareKey",
        "workflowType",
        *experiments.KIND,
        *experiments.KIND.values(),
        *view,
        *charts,
    ):
        check(
            name.rstrip(".").encode() in content,
            "mlflow",
            "results/mlflow_store/saved_view.py",
            f"{name!r} of its page",
        )


def test_names_of_optuna() -> None:
    import optuna

    number = optuna.distributions.FloatDistribution(0.1, 0.5)
    check(
        number._contains(0.5) and not number._contains(0.6),
        "optuna",
        "search_spaces/sweep_file/searched_space.py",
        "Distribution._contains",
    )
    from optuna.samplers._tpe.sampler import default_gamma

    same = all(default_gamma(number) == good(Tpe(), number) for number in range(10_000))
    check(same, "optuna", "cluster/samplers/registry.py", f"default_gamma, which takes {GOOD} trials at most for good")
    study = optuna.create_study()
    is_storage = isinstance(study._storage, optuna.storages.BaseStorage)
    check(is_storage, "optuna", "results/dashboards/optuna_ui.py", "Study._storage")


def test_names_of_keras() -> None:
    """With which exports walk through a net."""
    from fersweep.trainables.keras_training.runtime import import_keras

    _, keras = import_keras()
    inputs = keras.Input((2,))
    functional = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    sequential = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    (node,) = [node for nodes in functional._nodes_by_depth.values() for node in nodes if not node.is_input]
    tells = isinstance(node.operation, keras.layers.Dense) and node.input_tensors[0] is functional.inputs[0]
    check(tells, "keras", "trainables/exports/keras_onnx.py", "Functional._nodes_by_depth")
    tells = hasattr(sequential._functional, "_nodes_by_depth")
    check(tells, "keras", "trainables/exports/keras_onnx.py", "Sequential._functional")
    kinds = {type(layer).__name__ for layer in sequential._flatten_layers()}
    check("Dense" in kinds, "keras", "trainables/keras_training/classifier.py", "Layer._flatten_layers")


def test_names_of_torch() -> None:
    import torch

    tells = callable(getattr(torch.cpu, "_is_avx512_bf16_supported", None))
    check(tells, "torch", "trainables/torch_training/device.py", "torch.cpu._is_avx512_bf16_supported")
    for name in ("norm", "mul", "add_", "sub_"):
        is_there = hasattr(torch, f"_foreach_{name}")
        check(is_there, "torch", "trainables/torch_training/optimisation.py", f"torch._foreach_{name}")
    moved = [torch.ones(2)]
    torch._foreach_add_(moved, torch._foreach_mul(moved, 2.0))
    check(
        moved[0].tolist() == [3.0, 3.0],
        "torch",
        "trainables/torch_training/optimisation.py",
        "what torch._foreach_ computes",
    )


def test_names_of_typer() -> None:
    import typer

    from fersweep.cli.main import USAGE_ERROR

    check(USAGE_ERROR.__name__ == "UsageError", "typer", "fersweep/cli/main.py", "the base of typer.BadParameter")
    check(issubclass(typer.BadParameter, USAGE_ERROR), "typer", "fersweep/cli/main.py", "typer.BadParameter")
