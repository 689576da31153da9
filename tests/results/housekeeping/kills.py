"""A process that kills itself before its nth change of a file, here or in a bucket: for what `rm` and `mv` survive."""

import subprocess
import sys
from pathlib import Path

from fersweep.common.processes import environment

CODE = """
import os, signal, sys
from pathlib import Path
home, at = sys.argv[1], int(sys.argv[2])
left = [at]
def tick():
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
def hook(event, arguments):
    if event in ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree") and str(arguments[0]).startswith(home):
        tick()
def ticking(call):
    return lambda *arguments: (tick(), call(*arguments))[1]
from fersweep.common.stores.buckets import Bucket
for name in ("write", "remove", "remove_file"):
    setattr(Bucket, name, ticking(getattr(Bucket, name)))
from fersweep.results.housekeeping.removal import rm
from fersweep.results.housekeeping.renaming import mv
import fersweep.results.tracking.recorder_process
from fersweep.results.mlflow_store.connection import open_home
open_home(Path(home))
sys.addaudithook(hook)
{call}
print("to its end")
"""


def killed(call: str, home: Path, at: int) -> bool:
    """Run `call`, in which `home` is a Path, and kill it before its `at`th change → whether it was killed, and did not end before."""
    code = CODE.replace("{call}", call.replace("home", "Path(home)"))
    command = [sys.executable, "-c", code, str(home), str(at)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9
