"""How many trials fit, and what is refused; without Ray."""

from __future__ import annotations

from typing import Any

import pytest

from fersweep.cluster import capacity
from fersweep.cluster.capacity import Group, places_on
from fersweep.common.errors import InputError
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from fersweep.search_spaces.sweep_file.schema import Resources


def resources(**amounts: Any) -> Resources:
    return Resources.model_validate(amounts)


@pytest.mark.parametrize(
    ("node", "amounts", "number"),
    [
        ({"CPU": 8}, {}, 8),
        ({"CPU": 8}, {"cpus": 3}, 2),
        ({"CPU": 1}, {"cpus": 0.1}, 10),
        ({"CPU": 64, "GPU": 8}, {"gpus": 0.15}, 48),
        ({"CPU": 64, "GPU": 8}, {"gpus": 1}, 8),
        ({"CPU": 64, "GPU": 2}, {"gpus": 0.6}, 2),
        ({"CPU": 64, "GPU": 1}, {"gpus": 0.3333}, 3),
        ({"CPU": 4, "GPU": 8}, {"gpus": 0.25}, 4),
        ({"CPU": 8}, {"gpus": 0.5}, 0),
        ({"CPU": 8, "GPU": 2, "accelerator_type:A100": 1.0}, {"gpus": 0.5, "accelerator": "A100"}, 4),
        ({"CPU": 8, "GPU": 2, "accelerator_type:T4": 1.0}, {"gpus": 0.5, "accelerator": "A100"}, 0),
        ({}, {}, 0),
    ],
)
def test_shares_never_straddle_gpus(node: dict[str, float], amounts: dict[str, Any], number: int) -> None:
    assert places_on(node, resources(**amounts)) == number


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("resources.gpus=2", r"resources\.gpus: 2, but a trial trains on one GPU, .* want 1, or a share such as 0\.5"),
        ("resources.gpus=1.5", r"a trial trains on one GPU"),
        ("resources.gpus=0.00001", r"resources\.gpus: 1e-05 is less than 0\.01"),
        ("resources.cpus=0.001", r"resources\.cpus: 0\.001 is less than 0\.01"),
        ("resources.cpus=1.5", r"resources\.cpus: 1\.5 must be whole"),
        ("resources.accelerator=A100", r"resources\.gpus is 0: want 1, or a share"),
    ],
)
def test_amounts_that_no_trial_can_use(override: str, line: str) -> None:
    with pytest.raises(InputError, match=f"^--set {override}: .*{line}"):
        read_sweep("quick", [override])


def test_what_the_cluster_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    live: list[dict[str, float]] = [{"CPU": 4}]
    more: list[Group] = []
    monkeypatch.setattr(capacity, "nodes", lambda: live)
    monkeypatch.setattr(capacity, "groups", lambda: more)
    monkeypatch.setattr(capacity, "autoscales", lambda: False)
    gpu = resources(gpus=0.5)
    capacity.check(resources())
    with pytest.raises(InputError, match=r"^resources\.gpus: a trial wants 0\.5 GPUs, but the largest node has 0$"):
        capacity.check(gpu)
    more.append(Group({"CPU": 8.0, "GPU": 1.0}, 4))
    capacity.check(gpu)
    assert capacity.shortage(gpu) == (
        "waiting for a node: a trial wants 1 CPU, 0.5 GPU; the cluster has 1 node with 4 CPUs and 0 GPUs, and may add 4 "
        "that hold trials"
    )
    with pytest.raises(
        InputError, match=r"a trial wants 16 CPUs, but the largest node that the cluster may have has 8"
    ):
        capacity.check(resources(cpus=16, gpus=1))
    more[0] = Group({"CPU": 8.0, "GPU": 1.0}, 0)
    with pytest.raises(InputError, match=r"a trial wants 0\.5 GPUs"):
        capacity.check(gpu)
    live += [{"CPU": 1, "GPU": 1}]
    with pytest.raises(InputError, match=r"wants 4 CPUs and 1 GPUs, which no node has together"):
        capacity.check(resources(cpus=4, gpus=1))
    with pytest.raises(InputError, match=r"accelerator: 'A1000' is no kind that Ray knows: did you mean 'A100'\?"):
        capacity.check(resources(gpus=1, accelerator="A1000"))
    assert "and others use them" in capacity.shortage(resources())


def test_a_bundle_names_what_ray_reserves() -> None:
    wanted = resources(cpus=2, gpus=0.25, accelerator="A100")
    assert capacity.bundle(wanted) == {"CPU": 2, "GPU": 0.25, "accelerator_type:A100": 0.001}
    assert capacity.bundle(resources()) == {"CPU": 1}
