"""A callback of your own: a CSV with a line for each trial that has ended.

    callbacks: [{class: "csv_callback.py:CsvTable", options: {path: trials.csv}}]     # in a sweep file

It is written anew each time, so a trial that is told of twice, as after a crash, still has one line.
"""

import csv
from pathlib import Path


class CsvTable:
    def __init__(self, path):
        self.path, self.rows = Path(path), {}

    def started(self, sweep):
        if self.path.exists():  # an earlier session's
            with self.path.open(newline="") as file:
                self.rows = {int(row["trial"]): row for row in csv.DictReader(file)}

    def ended(self, trial):
        self.rows[trial.number] = {
            "trial": trial.number,
            "state": trial.state,
            "value": trial.value,
            "best_epoch": trial.best_epoch,
            "train_s": round(trial.train_s, 3),
            **{f"hparam/{name}": value for name, value in trial.hparams.items()},
        }
        names = dict.fromkeys(name for row in self.rows.values() for name in row)
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows[number] for number in sorted(self.rows))
