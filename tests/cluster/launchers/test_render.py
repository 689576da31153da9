"""What every target's files must be: one suite over the registry. And the cluster file, and what `render` leaves alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fersweep.cli.main import main
from fersweep.cluster import launchers
from fersweep.cluster.launchers import templates
from fersweep.cluster.launchers.cluster_file import MAX_NAME, ClusterFile, read_cluster_file
from fersweep.cluster.launchers.rendering import EXAMPLE, example, render
from fersweep.cluster.launchers.ssh import temporary_directory
from fersweep.common.errors import InputError

HOSTILE = "/x y'z\"\\ $(touch PWNED) `touch PWNED`; touch PWNED #"
OF_TARGET: dict[str, dict[str, Any]] = {  # what the example lacks for a target
    target: {
        "run": "cnn --data s3://bucket/fer2013",
        "storage": "s3://bucket/sweeps",
        "accelerator": "T4",
        "image": "registry.example/fersweep:1",
        "aws": {"ami": "ami-0123456789abcdef0", "instance_profile": "fersweep", "worker_instance": "g4dn.2xlarge"},
    }
    for target in ("sky", "aws", "gcp", "kuberay")
}
COMMANDS = re.compile(r"(_commands|setup|run|entrypoint)$")  # keys of YAML under which shell commands stand


def content(**changes: Any) -> dict[str, Any]:
    """The example, as a mapping."""
    return {**yaml.safe_load(EXAMPLE.read_text()), **changes}


def write(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump(content(**changes)))
    return path


def is_script(name: str, text: str) -> bool:
    return text.startswith("#!") or name.endswith(".sh")


def commands(node: Any, under: str = "") -> Iterator[str]:
    """Shell commands in YAML."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from commands(value, str(key) if COMMANDS.search(str(key)) else under)
    elif isinstance(node, list):
        for value in node:
            yield from commands(value, under)
    elif isinstance(node, str) and under:
        yield node


@pytest.mark.parametrize("target", launchers.TARGETS)
def test_files_parse(target: str, tmp_path: Path) -> None:
    cluster = ClusterFile.model_validate(content(**OF_TARGET.get(target, {})))
    module = launchers.load(target)
    assert module.SUMMARY
    assert templates.fill_line(module.NEXT, cluster=cluster, out="files")
    files = module.render(cluster)
    assert files
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        assert text == text.rstrip("\n") + "\n", name
        if is_script(name, text):
            subprocess.run(["bash", "-n", path], check=True)
            if shutil.which("shellcheck"):
                checked = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
                assert checked.returncode == 0, checked.stdout
        if name.endswith((".yaml", ".yml")):
            assert list(yaml.safe_load_all(text))


@pytest.mark.parametrize("target", launchers.TARGETS)
def test_hostile_names_are_not_executed(target: str, tmp_path: Path) -> None:
    """Everything is run where there is no command but `touch`."""
    changes: dict[str, Any] = {
        "run": f"'{HOSTILE.replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}' --data '$(touch PWNED)'",
        "storage": HOSTILE,
        "ssh": {"hosts": ["u@h1", "u@h2"], "key": HOSTILE, "python": HOSTILE, "path": HOSTILE},
        "slurm": {"activate": HOSTILE},
    }
    cluster = ClusterFile.model_validate(content(**changes))
    assert cluster.arguments[0] == HOSTILE
    try:
        files = launchers.load(target).render(cluster)
    except InputError:
        return  # refused
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "touch").symlink_to(str(shutil.which("touch")))
    environment = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "SLURM_JOB_ID": "7", "RAY_HEAD_IP": "10.0.0.1"}
    bash = str(shutil.which("bash"))
    for name, text in files.items():
        scripts = [text] if is_script(name, text) else []
        if name.endswith((".yaml", ".yml")):
            scripts += [line for document in yaml.safe_load_all(text) for line in commands(document) if "PWNED" in line]
        for script in scripts:
            (tmp_path / "script").write_text(script)
            subprocess.run(
                [bash, tmp_path / "script"], cwd=tmp_path, env=environment, capture_output=True, timeout=20, check=False
            )
            assert not (tmp_path / "PWNED").exists(), f"{name}: {script}"


def test_the_ssh_script_says_the_same_on_a_host(tmp_path: Path) -> None:
    """Names reach a host as they are: `status` through an ssh that is a shell on this machine."""
    hostile = {"hosts": ["u@h1", "u@h2"], "key": HOSTILE, "python": HOSTILE, "path": HOSTILE}
    render("ssh", write(tmp_path / "c.yaml", ssh=hostile, name="nobody"), tmp_path / "out")
    (tmp_path / "ssh").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >>arguments\nexec bash -s\n')
    (tmp_path / "ssh").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    call = [tmp_path / "out" / "cluster.sh", "status"]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "u@h1: FAILED: does not run\nu@h2: FAILED: does not run\n" in done.stderr
    assert HOSTILE in (tmp_path / "arguments").read_text().split("\n")
    assert not (tmp_path / "PWNED").exists()


def test_rays_yaml_is_what_ray_up_takes() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    text = launchers.load("ssh").render(read_cluster_file(EXAMPLE))["ray.yaml"]
    config = prepare_config(yaml.safe_load(text))
    validate_config(config)
    assert config["available_node_types"]["local.cluster.node"]["max_workers"] == 1
    assert "ray stop" not in " ".join(commands(config))


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[object, str]:
        monkeypatch.setattr("sys.argv", ["fersweep", "cluster", "render", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code, out + err

    code, said = run()
    assert code == 0
    assert all(f"\n{target}" in said for target in launchers.TARGETS)
    assert run("slurm") == (2, "fersweep: cluster.yaml: no such file; `fersweep cluster render example` writes one\n")
    assert run("example")[1].startswith("written: cluster.yaml\nnext: fersweep cluster render TARGET")
    assert run("slurm") == (0, "written: fer-slurm/job.sh\nnext: sbatch fer-slurm/job.sh\n")
    assert run("ssh", "--out", "a b")[1].endswith("next: 'a b/cluster.sh' up\n")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodse": 1}, "unknown key 'nodse'; did you mean 'nodes'?"),
        ({"ssh": {"hosts": [{"host": "a", "gpu": 2}], "path": "/x"}}, "'ssh.hosts.0.gpu'; did you mean 'gpus'?"),
        ({"nodes": "2"}, "nodes: Input should be a valid integer, but got '2'"),
        ({"name": "a; b"}, "name: may hold small letters"),
        ({"name": "a" * (MAX_NAME + 1)}, "name: String should have at most 40 characters"),
        ({"min_nodes": 5}, "min_nodes: 5 is more than nodes, 2"),
        ({"ssh": {"hosts": ["-oProxyCommand=x"], "path": "/x"}}, "ssh.hosts.0: must be HOST or USER@HOST"),
        ({"ssh": {"hosts": ["a", "a"], "path": "/x"}}, "ssh.hosts: 'a' is there twice"),
        ({"ssh": {"hosts": ["u@a", "v@b"], "path": "/x"}}, "one user on all hosts, not u, v"),
        ({"ssh": {"hosts": ["a"], "path": "x"}}, "ssh.path: must be an absolute path"),
        ({"slurm": {"options": ["--x=$(a)"]}}, "'--x=$(a)' is no option of the form --name=value"),
        ({"slurm": {"partition": "a b"}}, "slurm.partition: may hold letters"),
        ({"run": "cnn"}, "run: lacks --data"),
        ({"run": "fersweep launch cnn --data x"}, "run: holds the arguments of `fersweep launch` alone"),
        ({"run": "cnn --data x --address=y"}, "run: without --address"),
        ({"run": "cnn 'x --data x"}, "run: no words of a command"),
        ({"gpus": 0, "accelerator": "A100"}, "accelerator: A100 wants gpus"),
    ],
)
def test_a_mistake_in_a_cluster_file(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_cluster_file(write(tmp_path / "c.yaml", **changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_sweeps_lie() -> None:
    def arguments(**changes: str) -> list[str]:
        return ClusterFile.model_validate(content(**changes)).arguments

    run = "cnn --data /d"
    assert arguments(run=run, storage="/s") == [*run.split(), "--home", "/s"]
    assert arguments(run=f"{run} --home=/h", storage="/s") == [*run.split(), "--home=/h"]
    assert arguments(run=run, storage="s3://b/x") == [*run.split(), "--set", "storage=s3://b/x"]
    assert arguments(run=f"{run} --set=storage=gs://c", storage="s3://b/x") == [*run.split(), "--set=storage=gs://c"]


def test_the_example_says_the_defaults(tmp_path: Path) -> None:
    given = content()
    needed = {key: given[key] for key in ("name", "nodes", "gpus", "cpus", "memory_gb")}
    alone = ClusterFile.model_validate(needed)
    whole = read_cluster_file(EXAMPLE)
    differ = {key for key in given if getattr(alone, key) != getattr(whole, key)}
    assert differ == {"run", "ssh", "gcp"}
    assert set(given) == set(ClusterFile.model_fields)
    written = example(tmp_path / "cluster.yaml").written
    assert read_cluster_file(written[0]) == whole
    with pytest.raises(InputError, match="is there already"):
        example(tmp_path / "cluster.yaml")


def test_what_a_person_changed_stays(tmp_path: Path) -> None:
    out, file = tmp_path / "out", write(tmp_path / "c.yaml")
    first = render("slurm", file, out)
    assert [path.name for path in first.written] == ["job.sh"]
    assert render("slurm", file, out).unchanged == first.written
    write(file, cpus=3)
    assert render("slurm", file, out).written == first.written, "nobody has changed it"
    script = out / "job.sh"
    script.write_text(script.read_text() + "# mine\n")
    with pytest.raises(InputError, match=r"job.sh was changed since it was rendered; --force overwrites it"):
        render("slurm", file, out)
    assert script.read_text().endswith("# mine\n")
    render("slurm", file, out, force=True)
    assert not script.read_text().endswith("# mine\n")
    (out / ".rendered.json").write_text("[")
    assert render("slurm", file, out).unchanged == [script]


def test_what_a_target_lacks_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"c.yaml: the target ssh wants hosts"):
        render("ssh", write(tmp_path / "c.yaml", ssh=None), tmp_path / "out")
    with pytest.raises(InputError, match=r"c.yaml: the cluster file has no `run`"):
        render("slurm", write(tmp_path / "c.yaml", run=None), tmp_path / "out")
    with pytest.raises(InputError, match="did you mean 'slurm'"):
        render("slum", tmp_path / "c.yaml")
    with pytest.raises(InputError, match="`fersweep cluster render example` writes one"):
        render("ssh", tmp_path / "none.yaml")
    assert not (tmp_path / "out").exists()


def test_a_value_that_a_template_forgets_to_quote() -> None:
    with pytest.raises(TypeError, match="leaves 'a; b' unquoted"):
        templates.fill_line("{{ name }}", name="a; b")
    assert (
        templates.fill_line("{{ name | shell }} {{ words | shell }}", name="a; b", words=["c d", 1]) == "'a; b' 'c d' 1"
    )
    with pytest.raises(InputError, match="cannot stand unquoted"):
        templates.fill_line("{{ name | word }}", name="a; b")


def test_sockets_have_room() -> None:
    """A Unix socket's path has at most 107 bytes; Ray's longest is a session's, of 42 characters, and a name within."""
    for name in ("a", "a" * MAX_NAME):
        assert len(f"{temporary_directory(name)}-4294967294/session_2026-11-28_18-07-01_412804_4194304/sockets/") <= 87
    assert temporary_directory("a" * 40) != temporary_directory("a" * 39)
