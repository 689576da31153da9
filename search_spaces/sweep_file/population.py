"""Which parameters of a sweep PBT may change while a trial trains: `stop.scheduler_options.perturb`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fersweep import trainables
from fersweep.common.errors import hint
from fersweep.search_spaces.sweep_file.schema import Sweep
from fersweep.search_spaces.sweep_file.searched_space import drawn


def perturbed(names: Iterable[str], params: Iterable[str]) -> list[str]:
    """Those of `params` that `names` name: `head_dropout` names `head_dropout_0` and `head_dropout_1`."""
    wanted = set(names)
    return [param for param in params if param in wanted or _stem(param) in wanted]


def _stem(param: str) -> str:
    return re.sub(r"_\d+$", "", param)


def check_population(sweep: Sweep) -> None:
    """Raises ValueError where `stop.scheduler: pbt` has nothing to compare, or names what no trial can change in flight."""
    if sweep.stop.scheduler != "pbt":
        return
    if sweep.search.num_trials < 2:
        raise ValueError(f"search.num_trials: {sweep.search.num_trials}, but pbt compares trials: want 2 or more")
    if sweep.then is not None and sweep.then.best < 2:
        raise ValueError(f"then.best: {sweep.then.best}, but pbt compares trials: want 2 or more")
    if not sweep.stop.rungs():
        interval = sweep.stop.scheduler_options["interval"]
        raise ValueError(
            f"stop.scheduler_options.interval: {interval} must be below stop.max_epochs, {sweep.stop.max_epochs}, or pbt "
            "compares nothing"
        )
    can: frozenset[str] = getattr(trainables.load(sweep.trainable), "PERTURBABLE", frozenset())
    if not can:
        raise ValueError(f"stop.scheduler: pbt changes hparams while a trial trains, which {sweep.trainable} cannot do")
    known = sorted(name for name in drawn(sweep) if name in can or _stem(name) in can)
    offered = sorted({name if name in can else _stem(name) for name in known})
    if not offered:
        raise ValueError(
            f"space: pbt changes {', '.join(sorted(can))} of {sweep.trainable}, and none of them is searched"
        )
    for name in sweep.stop.scheduler_options["perturb"]:
        if not perturbed([name], known):
            raise ValueError(
                f"stop.scheduler_options.perturb: {sweep.trainable} cannot change {name!r} while a trial trains, or it is not "
                f"searched; {hint(name, offered, 'what can be perturbed')}"
            )
