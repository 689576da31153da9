"""A callback of your own: each trial is a run in Weights & Biases.

    pip install wandb
    export WANDB_API_KEY=…
    callbacks: [{class: "wandb_callback.py:WandbRuns", options: {project: faces}}]    # in a sweep file

Without the package it says so, and does nothing.
"""

import sys

try:
    import wandb
except ModuleNotFoundError:
    wandb = None


class WandbRuns:
    def __init__(self, project, mode="online"):
        self.project, self.mode, self.runs, self.sweep = project, mode, {}, None

    def started(self, sweep):
        self.sweep = sweep
        if wandb is None:
            print("wandb is not installed: pip install wandb", file=sys.stderr)

    def run_of(self, trial):
        """The trial's run; after a restart of this process it is resumed."""
        if trial.number not in self.runs:
            name = f"{trial.sweep}-{trial.name}"
            run_id = f"{self.sweep.id}-{trial.number}" if self.sweep else name
            self.runs[trial.number] = wandb.init(
                project=self.project, mode=self.mode, group=trial.sweep, name=name, id=run_id, config=trial.hparams,
                resume="allow", reinit="create_new",
            )  # fmt: skip
        return self.runs[trial.number]

    def report(self, trial, epochs):
        if wandb is not None:
            for row in epochs:
                self.run_of(trial).log(row, step=int(row["epoch"]))

    def ended(self, trial):
        if wandb is not None:
            run = self.run_of(trial)
            run.summary.update({"state": trial.state, "reason": trial.reason, **trial.best})
            run.finish(exit_code=int(trial.state == "failed"))
            del self.runs[trial.number]
