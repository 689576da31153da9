"""Promote a sweep's best model: judge it once on test, register it in MLflow, and name it `champion` if it passes the gates.

    promoted = promote(sweep_dir)                                # → a version of the registered model `fersweep`
    promote(sweep_dir, gates=read_gates(["min_macro_f1=0.7"]))   # raises Refused with the verdicts
    promote(sweep_dir, refit=5)                                  # its hparams, trained again on train and val
    promote([sweep_dir, other_dir], ensemble="greedy")           # of their trials those that answer val best together

What can be refused is refused before test is touched and before anything is written (request.py). Two promotions at once
take turns: the second is compared with the champion that the first made. docs/explanation/champion.md draws the whole way, and what a
kill leaves at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersweep import trainables
from fersweep.common.files import lock
from fersweep.results.champion import moves
from fersweep.results.champion.champion import LOCK, same_version
from fersweep.results.ensembles import choice
from fersweep.results.evaluate import ledger
from fersweep.results.evaluate.judgement import evaluate
from fersweep.results.evaluate.ledger import models_since
from fersweep.results.mlflow_store import registry
from fersweep.results.mlflow_store.registry import CHAMPION, MODEL
from fersweep.results.models.face_model import FaceModel
from fersweep.results.promote import gates as gating
from fersweep.results.promote import refit as refitting
from fersweep.results.promote.begun import end_begun, scratch
from fersweep.results.promote.candidate import Candidate, ledger_name
from fersweep.results.promote.gates import DEFAULT, SeenByBoth, Verdict, read_gates
from fersweep.results.promote.new_version import find_registered, register
from fersweep.results.promote.request import Request, check_asked, open_ensemble, open_request
from fersweep.results.scores.figures import Figures

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


UNASKED = " (test was not asked: what needs it was not looked at)"


class Refused(RuntimeError):
    """A gate did not let the candidate pass. `version`: as which it is registered, without the alias; None: it is not."""

    def __init__(
        self, version: str | None, alias: str, verdicts: Sequence[Verdict], standing: bool = False, asked: bool = True
    ):
        self.verdicts = list(verdicts)
        failed = ", ".join(verdict.gate for verdict in verdicts if not verdict.passed)
        if standing:
            super().__init__(
                f"version {version} is {alias}, and stays it, but does not pass {failed}{'' if asked else UNASKED}"
            )
            return
        done = f"version {version} is registered, but not made {alias}"
        if version is None:
            done = f"nothing is registered or made {alias}, and test was not judged"
        if version is not None and not asked:
            done += UNASKED
        super().__init__(f"{done}: refused by {failed}; --force promotes it all the same")

    def as_json(self) -> dict[str, Any]:
        return {"refused": str(self), "verdicts": [verdict.as_json() for verdict in self.verdicts]}


@dataclass(frozen=True)
class Promoted:
    """A version that has an alias now.

    Attributes:
        checkpoint: its path.
        figures: on test.
        before: the version that had the alias, if any.
        forced: a gate did not let it pass.
    """

    model: str
    version: int
    alias: str
    uri: str
    trial: int
    checkpoint: str
    run_id: str | None
    figures: Figures
    verdicts: list[Verdict]
    before: int | None
    forced: bool

    @property
    def what(self) -> str:
        """What was promoted, in words."""
        joined = self.figures.joined
        return f"trial {self.trial}" if joined is None else f"an ensemble of {len(joined.members)} trials"

    def as_json(self) -> dict[str, Any]:
        verdicts = [verdict.as_json() for verdict in self.verdicts]
        return {**vars(self), "figures": self.figures.as_json(), "verdicts": verdicts}


def promote(
    sweep_dir: Path | Sequence[Path],
    alias: str = CHAMPION,
    trial: int | None = None,
    *,
    gates: dict[str, float] | None = None,
    force: bool = False,
    refit: int = 0,
    ensemble: str | None = None,
    licence: str | None = None,
    pick: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Promoted:
    """Register the best checkpoint of a sweep (or of one `trial`) and give it `alias` if it passes the gates.

    A checkpoint is judged on test and registered once: promoting it again only moves the alias. Of the version that has
    the alias already, the gates are checked, too, but those that compare it with itself.

    Args:
        gates: see gates.py; None: those of DEFAULT; none at all: {}.
        force: give it the alias whatever the gates say; that is recorded.
        refit: train the trial's hparams with so many seeds on train and val, and take the median of them on test.
        ensemble: `mean`, with `refit`: take the mean of their probabilities instead. `greedy` or `bagged`: choose an
            ensemble among the trials of the sweep, or of several, on val (results/ensembles/).
        licence: of the data, for the model card.
        pick: of a sweep with several objectives, which trial of its front: "knee", or an objective whose best it is; None: the
            best in the first objective. A `trial` wins.
        tell: gets a line about what takes long, and about what an earlier promotion had left.

    Raises InputError if there is no such trial, the sweep runs still, or the dataset is not the one that the sweep
    learned; RuntimeError where MLflow lacks the sweep; Refused.
    """
    several = [Path(sweep_dir)] if isinstance(sweep_dir, str | Path) else [Path(one) for one in sweep_dir]
    check_asked(len(several), trial, refit, ensemble, pick)
    gates, sweep_dir = read_gates(DEFAULT) if gates is None else gates, several[0]
    if ensemble in choice.HOW:
        request = open_ensemble(several, ensemble, alias, gates, licence)
        chosen = request.candidate.chosen
        assert chosen is not None
        for line in choice.lines(chosen.figures):
            tell(line)
        _turn(request).refuse(force)
        choice.write(chosen)
    else:
        request = open_request(sweep_dir, alias, trial, gates, licence, pick)
    if refit:
        seeds = refitting.planned(sweep_dir, request.candidate.trial, refit)
        request = replace(request, candidate=replace(request.candidate, seeds=seeds, ensemble=ensemble == "mean"))
        _turn(request).refuse(force)  # before it trains for hours; once more when its turn has come
        refitting.refit(sweep_dir, request.candidate.trial, refit, tell)
        request = replace(request, candidate=replace(request.candidate, checkpoint=seeds[0]))
    with lock(request.home / LOCK), scratch(request.home):
        for line in end_begun(request.client, request.experiment):
            tell(line)
        if line := moves.settle(request.client, alias):
            tell(line)
        return _promote(request, force)


@dataclass(frozen=True)
class _Turn:
    """What there is when a promotion's turn has come.

    Attributes:
        before: the version that has the alias.
        found: the version that the candidate is registered as already, and its figures.
        standing: both are the same version.
        champion: to compare with, if any.
        known: the verdicts that need no face of test.
    """

    request: Request
    before: ModelVersion | None
    found: tuple[ModelVersion, Figures] | None
    standing: bool
    champion: FaceModel | None
    known: dict[str, Verdict]

    @cached_property
    def seen(self) -> SeenByBoth:
        """Faces of test that one of them learned; looked for only where test is to be asked."""
        return self.request.seen(self.champion)

    def refuse(self, force: bool) -> None:
        """Raise Refused where a gate fails that needs no face of test."""
        if not force and not all(verdict.passed for verdict in self.known.values()):
            version = None if self.found is None else str(self.found[0].version)
            raise Refused(version, self.request.alias, list(self.known.values()), self.standing, asked=False)

    @property
    def against(self) -> str:
        """The version of the champion to compare with; "" for none."""
        return "" if self.before is None or self.standing else str(self.before.version)

    def ask(self, model: str, against: str) -> ledger.Line:
        """Write the line of a judgement."""
        request = self.request
        about = {"model": model, "verb": "promote", "against": against, "alias": request.alias}
        return ledger.ask(request.client, request.home, request.candidate.task, **about)


def _turn(request: Request) -> _Turn:
    before = registry.holder(request.client, request.alias)
    found = find_registered(request.client, request.candidate)
    standing = found is not None and same_version(before, found[0])
    champion = None if standing else request.champion(before)
    return _Turn(request, before, found, standing, champion, request.known_verdicts(champion, standing))


def _promote(request: Request, force: bool) -> Promoted:
    """The promotion's own turn: nobody else under this home promotes."""
    client, alias = request.client, request.alias
    while True:
        turn = _turn(request)
        turn.refuse(force)
        candidate, version, figures, verdicts = _judged(turn)
        if same_version(turn.before, registry.holder(client, alias)):  # else somebody elsewhere was faster: once more
            break
    passed = gating.opens(verdicts)
    if not passed and not force:
        raise Refused(str(version.version), alias, verdicts, turn.standing)
    if not turn.standing:
        on_record = [verdict.as_json() for verdict in verdicts]
        moves.move(client, alias, str(version.version), "promoted" if passed else "forced", gates=on_record)
    return Promoted(
        model=MODEL,
        version=int(version.version),
        alias=alias,
        uri=f"models:/{MODEL}@{alias}",
        trial=candidate.trial.number,
        checkpoint=str(candidate.checkpoint),
        run_id=version.run_id,
        figures=figures,
        verdicts=verdicts,
        before=None if turn.before is None else int(turn.before.version),
        forced=not passed,
    )


def _judged(turn: _Turn) -> tuple[Candidate, ModelVersion, Figures, list[Verdict]]:
    """The candidate, the version that it is registered as, its figures on test, and the verdicts.

    Test is asked here, each time after its line is written.
    """
    request, candidate, line = turn.request, turn.request.candidate, None
    client, task = request.client, candidate.task
    if turn.found is None:
        if candidate.seeds:
            candidate = candidate.judged([_judged_seed(turn, candidate, seed) for seed in range(len(candidate.seeds))])
        line = turn.ask(candidate.name, turn.against)
        version, figures = register(request, candidate, line.number, turn.seen)
        ledger.answered(client, line, figures)
    else:
        version, figures = turn.found
        if figures.refit is not None:
            candidate = candidate.judged([seed.value for seed in figures.refit.seeds])
        if gating.needs_test(request.gates, turn.standing):
            line = turn.ask(candidate.name, turn.against)
            ledger.answered(client, line, figures)
    nth = 1
    if turn.before is not None and turn.against:
        names = [request.alias, turn.against, f"@{request.alias}"]
        nth = max(1, len(models_since(ledger.lines(client, request.faces), ledger_name(turn.before), names)))
    own = replace(candidate.model, name=f"version {version.version}")
    verdicts = gating.check(
        request.gates, turn.known, own, turn.champion, task.dataset, candidate.score, nth, turn.seen
    )
    return candidate, version, figures, verdicts


def _judged_seed(turn: _Turn, candidate: Candidate, seed: int) -> float:
    """The score on test of a model of a refit."""
    line = turn.ask(f"{candidate.name}, seed {seed}", "")
    task = turn.seen.unseen_task(candidate.task)
    figures = evaluate(trainables.restore(candidate.seeds[seed]), task, "test")
    ledger.answered(turn.request.client, line, figures)
    return figures.detected.score(candidate.score).value
