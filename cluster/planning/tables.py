"""What `fersweep plan` shows on a terminal: how long and what for first, then what each trial takes, then whence that is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fersweep.cluster.planning.costs import Costs
from fersweep.cluster.planning.estimate import Estimate, Range
from fersweep.common.display.tables import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fersweep.cluster.planning.plan import Memory, Plan

ADVICE = {
    "training": "more CPUs or GPUs, or fewer epochs or faces, make it shorter",
    "worker start-up": "loading frameworks and building models; fewer places or more epochs a trial waste less",
    "driver and sampler": "more places gain little; a larger stop.report_s makes reports rarer",
    "storage writes": "a larger stop.report_s saves less often; or a faster disk or bucket for --home or storage",
    "reading data": "the sweep is too short for its data; task.fraction reads less",
}


def render(plan: Plan) -> RenderableType:
    """The whole page."""
    from rich.console import Group
    from rich.text import Text

    of = f"{plan.sweep}: {plan.stages[0].num_trials} trials of {plan.trainable} on {plan.dataset}"
    faces = f"{plan.num_train:,} train faces, {plan.num_val:,} val; a trial gets {_resources(plan)}"
    parts: list[RenderableType] = [Text(f"{of}\n{faces}")]
    if plan.estimates:
        parts.append(_times(plan.estimates))
        parts += [Text(line) for line in _bottlenecks(plan.estimates)]
    parts.append(_trained(plan))
    parts.append(_each(plan))
    parts.append(Text("\n".join([*_source(plan.costs), *(f"note: {note}" for note in plan.notes)])))
    return Group(*parts)


def _resources(plan: Plan) -> str:
    gpus, cpus = plan.resources["gpus"], plan.resources["cpus"]
    share = "" if not gpus else ", 1 GPU" if gpus == 1 else f", {gpus:g} of a GPU"
    return f"{cpus:g} CPU{'' if cpus == 1 else 's'}{share}"


def _times(estimates: Sequence[Estimate]) -> RenderableType:
    costly = any(estimate.cost is not None for estimate in estimates)
    rows = table(["where", "at once", "time", "from", "to", *(["cost", "at most"] if costly else [])], 1)
    for estimate in estimates:
        total, limit = estimate.total_s, "≤ " if estimate.is_a_limit else ""
        row = [
            estimate.where,
            str(estimate.at_once),
            limit + seconds(total.likely),
            seconds(total.low, total.likely),
            seconds(total.high, total.likely),
        ]
        if costly:
            cost = estimate.cost
            row += ["–", "–"] if cost is None else [money(cost.likely), money(cost.high)]
        rows.add_row(*row)
    return rows


def _bottlenecks(estimates: Sequence[Estimate]) -> list[str]:
    first = estimates[0]
    around = (
        f"of that: {seconds(first.before_s)} to start, "
        f"{' + '.join(seconds(each.likely) for each in first.sweep_s)} of trials, "
        f"{seconds(first.after_s)} for MLflow to catch up"
    )
    lines = [around]
    for estimate in estimates:
        share = estimate.shares[estimate.bottleneck]
        where = "" if len(estimates) == 1 else f" ({estimate.where})"
        lines.append(f"bottleneck{where}: {estimate.bottleneck}, {percent(share)} of the workers' time")
        lines[-1] += f": {ADVICE[estimate.bottleneck]}"
        if estimate.shares["waiting"] > 0.25:
            lines.append(f"  workers wait {percent(estimate.shares['waiting'])} of it for the last trials")
    return lines


def _trained(plan: Plan) -> RenderableType:
    rows = table(["trained", "epoch", "trials", "from", "to"], 1)
    for stage in plan.stages:
        number = str(stage.num_trials)
        rows.add_row(stage.name, "1", number, number, number)
        each = len(stage.rungs) // 12 + 1
        for level, reached in list(stage.rungs.items())[::each]:
            rows.add_row("  come to rung", f"{level:.10g}{'' if stage.unit == 'epochs' else ' s'}", *_numbers(reached))
        rows.add_row("  to the end", str(stage.max_epochs), *_numbers(stage.finished))
        rows.add_row("  epochs in all", "", *_numbers(stage.epochs))
    return rows


def _each(plan: Plan) -> RenderableType:
    costs, memory = plan.costs, plan.memory
    rows = table(["a trial takes", "median", "from", "to"], 1)
    for name, field in (
        ("an epoch", "epoch_s"),
        ("building", "build_s"),
        ("first epoch, beside", "first_s"),
        ("saving", "report_s"),
    ):
        values = sorted(getattr(cost, field) for cost in costs.trials)
        rows.add_row(name, seconds(getattr(costs.typical(), field)), seconds(values[0]), seconds(values[-1]))
    rows.add_row("start of a worker", seconds(costs.start_s), "", "")
    rows.add_row("memory", size(memory.rss), "", "")
    if memory.gpu is not None:
        rows.add_row("GPU memory", size(memory.gpu), "", "")
    rows.add_row("a checkpoint", size(max(cost.checkpoint_bytes for cost in costs.trials)), "", "")
    rows.add_row(
        "disk, the whole sweep", size(plan.disk_bytes.likely), size(plan.disk_bytes.low), size(plan.disk_bytes.high)
    )
    from rich.console import Group
    from rich.text import Text

    return Group(rows, *map(Text, _memory(memory, plan)))


def _memory(memory: Memory, plan: Plan) -> list[str]:
    lines: list[str] = []
    if memory.here > 0.8 * memory.machine:
        lines.append(f"memory: all trials at once take {size(memory.here)} of this machine's {size(memory.machine)}")
    if memory.gpu is not None and memory.gpu_share is not None and memory.gpu_total is not None:
        asked = plan.resources["gpus"]
        least = memory.gpu_share * 1.2
        lines.append(
            f"GPU memory: {size(memory.gpu)} of {size(memory.gpu_total)}, its kernels' {size(512 * 2**20)} among them; the sweep asks for "
            f"{asked:g} of a GPU, {max(least, 0.01):.2f} would hold it"
        )
    return lines


def _source(costs: Costs) -> list[str]:
    tried = len(costs.trials)
    if costs.source == "calibration":
        share = "" if costs.faces_share > 0.995 else f" on {percent(costs.faces_share)} of the faces"
        differed = f"; epochs of a trial differed by {percent(costs.spread)}" if costs.spread >= 0.005 else ""
        return [
            f"from a calibration: {tried} trials of this sweep's space, {costs.epochs_tried} epochs{share}, "
            f"{costs.at_once} at once{differed}"
        ]
    return [f"from past sweeps: {tried} trials of {', '.join(costs.sweeps)}; --calibrate measures anew"]


def _numbers(values: Range) -> list[str]:
    return [f"{value:,.0f}" for value in (values.likely, values.low, values.high)]


def seconds(value: float, beside: float | None = None) -> str:
    """A time with two digits that can be meant: `0.31 s`, `48 s`, `12 min`, `3.4 h`, `2.5 days`; in the unit of `beside`."""
    of = value if beside is None else beside
    for length, unit in ((48 * 3600, "days"), (90 * 60, "h"), (90, "min")):
        if of >= length:
            amount = value / {"days": 86400, "h": 3600, "min": 60}[unit]
            return f"{amount:.0f} {unit}" if amount >= 10 else f"{amount:.1f} {unit}"
    if value < 0.995:
        return f"{value:.2g} s" if value >= 0.0095 else "0.01 s" if value >= 0.005 else "0 s"
    return f"{value:.0f} s" if value >= 9.95 else f"{value:.1f} s"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def size(num_bytes: float) -> str:
    """`8.0 MiB`, `1.2 GiB`."""
    for unit, length in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= length:
            value = num_bytes / length
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{num_bytes:.0f} B"


def money(amount: float) -> str:
    """In the currency of the price."""
    return f"{amount:.2f}" if amount < 100 else f"{amount:,.0f}"
