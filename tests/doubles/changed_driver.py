"""`python -m tests.doubles.changed_driver VERB …` is `fersweep VERB …` for tests that are about something else: without
its recorder, which takes 4 s of CPU time, where UNRECORDED is set; giving up a lost head after LOST_S seconds where that is.
It fails where a driver has imported MLflow.
"""

import os
import sys

VARIABLES = {"UNRECORDED", "LOST_S"}


def change() -> None:
    from fersweep.cluster.driver import watchdog
    from fersweep.results.tracking.recorder import Recorder

    if "UNRECORDED" in os.environ:
        for name in ("start", "finish"):
            setattr(Recorder, name, lambda *_: None)
    if "LOST_S" in os.environ:
        watchdog.LOST_S = watchdog.BEAT_S = float(os.environ["LOST_S"])


if __name__ == "__main__":
    from fersweep.cli.main import main

    change()
    try:
        main()
    finally:
        if "mlflow" in sys.modules:
            sys.exit("a driver imported MLflow")
