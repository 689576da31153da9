"""What results/compare/sweeps.py found, as tables for the terminal; 80 columns are enough for three sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fersweep.common.display.tables import short, table
from fersweep.results.compare.trials import AGAINST, HPARAMS, score_title
from fersweep.results.scores import paired

if TYPE_CHECKING:
    from rich.console import RenderableType


WARNING = "val chose these trials: it makes them look better than they are, and only test can say what is left of it."


def render(found: dict[str, Any]) -> RenderableType:
    """Several sweeps: facts, what keeps their scores from being compared, their best trials, all their trials."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_side_by_side(found["sweeps"])]
    parts += [Text(f"not comparable: {line}", "yellow") for line in found["reasons"]]
    if found["pairs"]:
        parts += [Text(""), Text(f"The best of each, on the same faces; {paired.corrected(len(found['pairs']))}.")]
        parts += [_pairs(found["pairs"], found["score"])]
    if found["trials"]:
        parts += [_trials(found["trials"]), _hparams(found["trials"])]
    if found["differences"]:
        parts.append(_other_hparams(found["differences"]))
    return Group(*parts, Text(WARNING, "dim"))


def render_differences(found: dict[str, Any]) -> RenderableType:
    """Two trials: their scores, the difference of their answers, the hparams that differ."""
    from rich.console import Group
    from rich.text import Text

    a, b = found["a"], found["b"]
    made = table(["", a["name"], b["name"]], num_text=1)
    made.add_row("trainable", a["trainable"], b["trainable"])
    made.add_row("state", *(one["state"] + (f" ({one['point']})" if one["point"] else "") for one in (a, b)))
    made.add_row("best epoch", *(f"{one['best_epoch']}/{one['epochs']}" for one in (a, b)))
    for name in dict.fromkeys([*a["scores"], *b["scores"]]):
        made.add_row(name, *(f"{one['scores'][name]:.4f}" if name in one["scores"] else "–" for one in (a, b)))
    parts: list[RenderableType] = [made, *(Text(f"not comparable: {line}", "yellow") for line in found["reasons"])]
    parts.append(_pairs([{"a": a["name"], "b": b["name"], **found["difference"]}], found["score"]))
    return Group(*parts, _other_hparams(found), Text(WARNING, "dim"))


def duration(seconds: float) -> str:
    """`1 h 23 min`, `4 min`, `12 s`."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"


def facts(one: dict[str, Any]) -> dict[str, str]:
    """What there is to say of a sweep, under its headings."""
    best, dataset, baseline = one["best"], one["dataset"], one["baseline"]
    states = ", ".join(f"{number} {state}" for state, number in one["states"].items() if number)
    told = {
        "trainable": one["trainable"],
        "dataset": f"{dataset['name']} {dataset['fingerprint'].removeprefix('sha256:')[:12]}",
        "classes": ", ".join(one["classes"]),
        "faces of val": one["faces"] if one["num_faces"] is None else f"{one['num_faces']} {one['faces']}",
        "share of train": f"{one['fraction']:g}",
        "ranked by": f"{one['mode']} {one['metric']}",
        "best": "none yet",
    }
    if best is not None:
        told["best"] = f"{best['value']:.4f}"
        if best["low"] is not None:
            told["95 % interval"] = f"[{best['low']:.4f}, {best['high']:.4f}]"
        told["best trial"] = f"{best['trial']:04d}, epoch {best['best_epoch']}"
    if baseline["value"] is not None:
        told[baseline["name"]] = f"{baseline['value']:.4f}"
    return told | {
        "trials": states or "none yet",
        "epochs": str(one["total_epochs"]),
        "trials' time": duration(one["trial_s"]),
        "wall time": duration(one["wall_s"]),
        "session": one["session"] or "",
    }


def difference_cells(pair: dict[str, Any], score: str) -> list[str]:
    """Difference, interval, p, McNemar's p and faces of a comparison; the reason where there was none."""
    if "missing" in pair:
        return ["–", "–", "–", "–", pair["missing"]]
    one = pair[score]
    interval = f"[{one['low']:+.4f}, {one['high']:+.4f}]"
    return [
        f"{one['difference']:+.4f}",
        interval,
        paired.told(pair),
        f"{pair['mcnemar']['p']:.2g}",
        pair["faces"],
    ]


def _side_by_side(sweeps: list[dict[str, Any]]) -> RenderableType:
    names = [one["sweep"] for one in sweeps]
    made, told = table(["", *names], num_text=1 + len(names), wraps=names), [facts(one) for one in sweeps]
    for heading in dict.fromkeys(heading for one in told for heading in one):
        made.add_row(heading, *(one.get(heading, "–") for one in told))
    return made


def _pairs(pairs: list[dict[str, Any]], score: str) -> RenderableType:
    columns = ["trials", f"{score_title(score)}, 1st − 2nd", "p", "McNemar p", "on"]
    made = table(columns, num_text=1, wraps=["trials", "on", columns[1]])
    for pair in pairs:
        difference, interval, p, mcnemar, faces = difference_cells(pair, score)
        told = difference if "missing" in pair else f"{difference} {interval}"
        made.add_row(f"{pair['a']} {pair['b']}", told, p, mcnemar, faces)
    return made


def _trials(rows: list[dict[str, Any]]) -> RenderableType:
    made = table(["trial", "state", "epoch", "value", AGAINST], num_text=2)
    for row in rows:
        against = paired.told(row["against_best"]) if row["against_best"] else "best"
        epoch = f"{row['best_epoch']}/{row['epochs']}"
        made.add_row(row["name"], row["state"], epoch, f"{row['value']:.4f}", against)
    return made


def _hparams(rows: list[dict[str, Any]]) -> RenderableType:
    from rich.text import Text

    made = table(["trial", HPARAMS], num_text=2, wraps=[HPARAMS])
    for row in rows:
        made.add_row(row["name"], Text("  ".join(f"{name}={short(value)}" for name, value in row["hparams"].items())))
    return made


def _other_hparams(found: dict[str, Any]) -> RenderableType:
    a, b = found["a"]["name"], found["b"]["name"]
    made = table(["hparams that differ", a, b], num_text=3, wraps=[a, b])
    for name, values in found["hparams"].items():
        made.add_row(name, *("–" if value is None else short(value) for value in values))
    made.caption = f"{found['num_same']} others are the same"
    return made
