"""What `pip install` gives, in an empty environment and an empty directory: `.ci/wheel`, which `make wheel` runs, too."""

from __future__ import annotations

import subprocess

import pytest

from tests.imports import ROOT


@pytest.mark.clusters
def test_a_wheel_does_the_whole_job_where_it_is_installed() -> None:
    done = subprocess.run(
        [ROOT / ".ci" / "wheel"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert "all tries passed" in done.stdout


def test_a_try_that_is_not_there_is_refused_before_anything_is_built() -> None:
    done = subprocess.run([ROOT / ".ci" / "wheel", "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("no try nothing\n")
