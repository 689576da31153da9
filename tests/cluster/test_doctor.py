"""The doctor's checks on this machine, and on a cluster one of whose nodes is not well."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fersweep.cluster.doctor import checks, machine_checks, software_checks, storage_checks
from fersweep.cluster.doctor.diagnosis import Diagnosis
from fersweep.cluster.doctor.findings import Asked, Finding, Node, ok, problem, warning
from fersweep.cluster.doctor.software_checks import software
from fersweep.cluster.doctor.tables import render
from fersweep.common.display.console import SafeConsole
from fersweep.search_spaces.sweep_file.read_sweep import read_sweep
from tests.processes import start
from tests.ray_nodes import Cluster
from tests.servers import free_port

OF_RAY = ("places", "lost nodes")  # which is not there
SEES = """import json; print("noise"); print(json.dumps({{"cuda": "13", "gpus": ["H100"] * {number}}}))"""


@pytest.fixture
def asked(tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """This machine, which is well; its frameworks are not asked in earnest: each takes seconds to import."""
    monkeypatch.setattr(software_checks, "ASK", {name: SEES.format(number=0) for name in software_checks.ASK})
    (tmp_path / "runs" / "probe").mkdir(parents=True)
    data = str(tiny_dataset)
    return Asked(
        home=str(tmp_path / "runs"),
        storage=None,
        probe=str(tmp_path / "runs" / "probe"),
        data=data,
        fingerprint=storage_checks.manifest_of(data)["fingerprint"],
        is_sent=True,
        sweep=read_sweep("quick", []),
        framework="tensorflow",
        driver=software(),
        node=Node("one", {"CPU": 2.0, "object_store_memory": 10**6}),
    )


def found(asked: Asked, topic: str) -> list[Finding]:
    known = {checks.topic(check): check for check in (*checks.DRIVER, *checks.EVERY_NODE)}
    return checks.examine(asked, [known[topic]], "one")


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def test_every_check_says_something_that_can_be_shown_and_sent(asked: Asked) -> None:
    every = [check for check in (*checks.DRIVER, *checks.EVERY_NODE) if checks.topic(check) not in OF_RAY]
    assert len(every) >= 11
    findings = checks.examine(asked, every, "one")
    assert {finding.topic for finding in findings} == {checks.topic(check) for check in every} - {"notifications"}
    for finding in findings:
        assert finding.text
        assert finding.text.isprintable()
        assert "could not be checked" not in finding.text
        assert bool(finding.remedy) == (finding.level != "ok")
    assert {"versions": "ok", "storage": "ok", "dataset": "ok", "gpus": "ok"}.items() <= {
        finding.topic: finding.level for finding in findings
    }.items()
    json.dumps(Diagnosis(None, {"one": asked.node.resources}, findings).as_json())
    assert list(Path(asked.probe).iterdir()) == []


def test_a_check_that_hangs_or_breaks_is_a_finding(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LIMIT_S", 0.05)
    release = threading.Event()

    def check_a_share(_: Asked) -> Any:
        yield ok("begins")
        release.wait()

    def check_a_bug(_: Asked) -> Any:
        yield ok(str(1 // 0))

    def check_what_is_well(_: Asked) -> Any:
        yield ok("fine")

    findings = checks.examine(asked, [check_a_share, check_a_bug, check_what_is_well], "one")
    release.set()
    told = [(finding.topic, finding.level, finding.text) for finding in findings]
    assert told == [
        ("a share", "ok", "begins"),
        ("a share", "problem", "no answer within 0.05 s"),
        ("a bug", "problem", "could not be checked: ZeroDivisionError: integer division or modulo by zero"),
        ("what is well", "ok", "fine"),
    ]


@pytest.mark.parametrize(
    ("of_ray", "seen", "wanted", "level", "text"),
    [
        (2, 2, 0.5, ["ok"], "Ray and tensorflow agree: 2 GPUs (H100)"),
        (2, 0, 0.5, ["problem"], "Ray hands out 2 GPUs, tensorflow sees none"),
        (2, 0, 0, ["warning"], "Ray hands out 2 GPUs, tensorflow sees none"),
        (0, 1, 0, ["warning"], "tensorflow sees 1 GPU, Ray hands out none"),
    ],
)
def test_gpus_as_ray_and_a_framework_see_them(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, of_ray: int, seen: int, wanted: float, level: list[str], text: str
) -> None:
    monkeypatch.setattr(software_checks, "ASK", {"tensorflow": SEES.format(number=seen)})
    sweep = read_sweep("quick", [f"resources.gpus={wanted}"])
    findings = found(replace(asked, sweep=sweep, node=Node("one", {"GPU": of_ray})), "gpus")
    assert (levels(findings), findings[0].text) == (level, text)


def test_a_framework_that_does_not_run_stops_the_sweeps_that_need_it(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software_checks, "ASK", {"tensorflow": "import sys; sys.exit('libcudart.so: cannot open')"})
    (finding,) = found(asked, "gpus")
    assert (finding.level, finding.text) == ("problem", "tensorflow does not run: libcudart.so: cannot open")
    assert levels(found(replace(asked, framework="torch"), "gpus")) == ["warning"]


def test_what_a_node_has_in_another_way_than_the_driver(asked: Asked) -> None:
    driver = asked.driver
    older = {**driver.packages, "numpy": "1.0"}
    other = replace(asked, driver=replace(driver, code="0" * 64, python="3.99.0", packages=older))
    code, python, numpy = found(other, "versions")
    assert (code.level, python.level, numpy.level) == ("problem", "warning", "warning")
    assert "runs other code of fersweep" in code.text
    assert python.text.endswith("the driver 3.99.0")
    assert numpy.text.endswith("the driver 1.0")


def test_a_home_that_is_not_shared_and_one_that_takes_nothing(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(asked.probe)
    elsewhere = replace(asked, node=Node("two", is_driver=False))
    (finding,) = found(elsewhere, "storage")
    assert (finding.level, "is not the directory" in finding.text) == ("problem", True)
    assert "NFS" in finding.remedy
    Path(asked.probe).mkdir()
    assert levels(found(elsewhere, "storage")) == ["ok"]
    monkeypatch.setattr(storage_checks, "SLOW_BYTES_S", 1e15)
    assert levels(found(asked, "storage")) == ["warning"]

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(storage_checks, "write_whole", full)
    (finding,) = found(asked, "storage")
    assert (finding.level, finding.text) == ("problem", f"{asked.home}: [Errno 28] No space left on device")


def test_a_dataset_that_is_another_one_or_absent(asked: Asked, tmp_path: Path) -> None:
    (other,) = found(replace(asked, fingerprint="sha256:" + "0" * 64), "dataset")
    assert (other.level, "is another dataset here" in other.text) == ("problem", True)
    gone = replace(asked, data=str(tmp_path / "gone"))
    assert levels(found(gone, "dataset")) == ["problem"]
    elsewhere = replace(gone, node=Node("two", is_driver=False))
    assert levels(found(elsewhere, "dataset")) == ["warning"]
    assert levels(found(replace(elsewhere, is_sent=False), "dataset")) == ["problem"]


def test_limits_of_a_machine(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "available_memory", lambda: 10**9)
    assert levels(found(asked, "memory")) == ["warning"]
    monkeypatch.setattr(machine_checks, "available_memory", lambda: 10**8)
    assert levels(found(asked, "memory")) == ["problem"]
    monkeypatch.setattr(machine_checks, "OPEN_FILES", 2**62)
    (files,) = found(asked, "open files")
    assert (files.level, "ulimit -n" in files.remedy) == ("warning", True)
    large = replace(asked, node=Node("one", {"object_store_memory": 2**62}))
    assert "--shm-size" in found(large, "shared memory")[0].remedy
    monkeypatch.setattr(machine_checks, "DISK_PROBLEM_BYTES", 2**62)
    assert set(levels(found(asked, "free disk"))) == {"problem"}
    monkeypatch.setattr(machine_checks, "LIBRARIES", ("libnothing.so.1",))
    assert "apt-get install libegl1" in found(asked, "mediapipe")[0].remedy


def test_on_a_terminal_problems_come_first_and_what_is_well_is_folded() -> None:
    names = [f"node-{number}" for number in range(5)]
    findings = [ok("2 GPUs")._replace(topic="gpus", node=name) for name in names]
    findings += [ok(f"{9 + i} GB")._replace(topic="memory", node=name) for i, name in enumerate(names)]
    findings += [warning("3 s ahead", "run chrony")._replace(topic="clock", node="node-1")]
    findings += [problem("not shared " * 9, "use NFS")._replace(topic="storage", node=name) for name in names[1:]]
    findings += [ok("500 MB/s")._replace(topic="storage", node="node-0")]
    diagnosis = Diagnosis("10.0.0.1:6379", {name: {} for name in names}, findings)
    console = SafeConsole()
    console.width = 80
    with console.capture() as captured:
        console.print(render(diagnosis))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    assert lines[0].startswith("✗ storage node-1, node-2, node-3 and 1 more: not shared")
    assert [line[0] for line in lines if line[:1] in "✗!✓" and line[:1]] == ["✗", "!", "✓", "✓"]
    assert "→ use NFS" in text
    assert "✓ gpus    2 GPUs (5 nodes)" in lines
    assert "✓ memory  9 GB (node-0; 5 nodes are well)" in lines
    assert "500 MB/s" not in text
    assert " ".join(lines).endswith("could not run on the cluster at 10.0.0.1:6379, 5 nodes: 4 problems, 1 warning")


@pytest.mark.clusters
def test_a_cluster_one_of_whose_nodes_is_not_well(tmp_path: Path, tiny_dataset: Path) -> None:
    """Its home is another file system: a mount namespace of its own, as root."""
    home = tmp_path / "runs"
    home.mkdir()
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("a mount namespace takes root")
    arguments = ("quick", "--data", tiny_dataset, "--json")
    dead = start("doctor", *arguments, "--address", f"127.0.0.1:{free_port()}", home=home)
    _, err = dead.communicate(timeout=60)
    assert (dead.returncode, err.count("\n")) == (2, 1)

    def examined(num_nodes: int, code: int) -> Any:
        for _ in range(5):  # a node joins some seconds after it has started
            process = start("doctor", *arguments, "--address", cluster.address, home=home)
            out, err = process.communicate(timeout=400)
            if len(json.loads(out)["nodes"]) == num_nodes:
                assert process.returncode == code, out + err
                return json.loads(out)
        raise AssertionError(out)

    with Cluster(tmp_path) as cluster:
        cluster.add()
        assert examined(2, 0)["could_run"]
        cluster.wrap = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {home} && exec "$@"', "sh"]
        cluster.add()
        told = examined(3, 1)
    (bad,) = [finding for finding in told["findings"] if finding["level"] == "problem"]
    assert (bad["topic"], "is not the directory" in bad["text"]) == ("storage", True)
    assert {finding["topic"] for finding in told["findings"]} >= {"clock", "versions", "gpus", "storage", "dataset"}
    assert list(home.iterdir()) == []
