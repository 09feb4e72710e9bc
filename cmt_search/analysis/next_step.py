"""Recommended next step of a study: a command, and the seeds and device-hours that it takes."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml

from cmt_search.analysis.frame import REALISED, trainings
from cmt_search.analysis.law_values import BaseLaw, ProposedBase
from cmt_search.analysis.study import Analysis
from cmt_search.format import MISSING, counted, points, sentence
from cmt_search.stats import (
    DETECTABLE_STANDARD_ERRORS,
    SEEDS,
    predict_standard_error,
    sufficient_seeds,
)

Action = Literal[
    "resume", "train longer", "search more", "recentre", "more seeds", "confirm", "family", "export"
]
TARGETS = (0.003, 0.01)  # differences of top1 to resolve
LONGER = 4  # times the epochs of a study that is near chance
_SEED_SD = 0.01  # top1 between seeds, where nothing was repeated
_SMALLEST_SD = 1e-4  # below the resolution of any validation set


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The seeds that resolve a difference with power 80% at the two-sided 5% level."""

    difference: float  # top1
    seeds: int | None  # of each network; None: more than were tried
    trainings: int | None
    hours: float | None  # device-hours, at this study's seconds per training
    cost: float | None  # in the unit of the price; None: no price was given


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """A recommendation: its reason, commands, and the seeds that resolve a difference."""

    action: Action
    text: str
    commands: tuple[str, ...]  # for a shell
    seed_sd: float  # top1, that `targets` assume
    measured: bool  # whether `seed_sd` was measured
    targets: tuple[Target, ...]  # by difference; empty before anything is trained in full

    @property
    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def recommend_next_step(
    analysis: Analysis,
    *,
    run: str,
    space: Mapping[str, Any],
    price: float | None = None,
) -> NextStep:
    """Recommend what to do with the run in folder `run`, whose space file holds `space`.

    `price` is that of a device-hour. Shape searches and Pareto searches compare two networks, rule
    searches a rule with the paper's.
    """
    sd, measured = _seed_sd(analysis)
    targets = _targets(analysis, sd=sd, space=space, price=price)
    action, text, commands = _choose(analysis, run=run, space=space, targets=targets)
    return NextStep(
        action=action,
        text=text,
        commands=commands,
        seed_sd=sd,
        measured=measured,
        targets=targets,
    )


def target_rows(step: NextStep) -> list[dict[str, object]]:
    """Tabulate the targets for a report."""
    priced = any(target.cost is not None for target in step.targets)
    return [
        {
            "to resolve": f"{points(target.difference)} pp",
            "seeds per network": f"more than {SEEDS[-1]}" if not target.seeds else target.seeds,
            "trainings": f"{target.trainings:,}" if target.trainings else MISSING,
            "device-hours": MISSING if target.hours is None else _hours(target.hours),
            **({"cost": _cost(target.cost)} if priced else {}),
        }
        for target in step.targets
    ]


def _choose(
    analysis: Analysis, *, run: str, space: Mapping[str, Any], targets: Sequence[Target]
) -> tuple[Action, str, tuple[str, ...]]:
    chance, verdict, name = analysis.chance, analysis.verdict, _name(run)
    place = shlex.quote(run)
    if any(record.state in ("running", "interrupted") for record in analysis.records):
        return (
            "resume",
            "Finish the search; what follows is preliminary.",
            (f"cmt-search resume {place}",),
        )
    if chance is not None and chance.is_near:
        return "train longer", *_longer(place, space=space, name=name)
    if verdict is None and analysis.paper is not None:
        return "search more", sentence(analysis.no_verdict), ()
    if verdict is None:
        trials = [str(trial) for trial in analysis.front.members["trial"]]
        if not trials:
            return "search more", "No network is trained at full fidelity yet.", ()
        text = f"Export the front ({counted(len(trials), 'network')}), or some of it."
        return (
            "export",
            text,
            (
                f"for trial in {' '.join(trials)}; do cmt-search export {place} "
                "--variant trial-$trial; done",
            ),
        )
    proposal = _proposal(analysis)
    if verdict.base_unbalanced and proposal is not None and proposal.arch is not None:
        text = "The base is unbalanced: recentre it on the proposed base, and search again."
        return (
            "recentre",
            text,
            _edit(
                place, key="base", name=f"{name}-recentred", value={"arch": proposal.arch.to_dict()}
            ),
        )
    if verdict.status == "resolved":
        text = "Confirm the best rule on the test split with fresh seeds, then derive the family."
        return "confirm", text, (f"cmt-search confirm {place}", f"cmt-search family {place}")
    if verdict.status == "tie":
        text = (
            f"{verdict.tied_fraction:.0%} of the rules are tied within "
            f"{points(verdict.margin)} pp: choose any of them, for example by latency."
        )
        return "family", text, (f"cmt-search family {place}",)
    return "more seeds", *_more_seeds(place, space=space, name=name, targets=targets)


def _longer(place: str, *, space: Mapping[str, Any], name: str) -> tuple[str, tuple[str, ...]]:
    epochs = int(space["proxy"]["epochs"])
    text = f"Train longer, for example {LONGER} times the epochs: no ranking can be trusted yet."
    if space["fidelities"]["epochs"]:
        return f"{text} Set `fidelities.epochs` in a copy of {place}/space.yaml.", ()
    longer = f"{name}-{LONGER * epochs}-epochs.yaml"
    return text, (
        f"sed 's/^  epochs: .*/  epochs: {LONGER * epochs}/' {place}/space.yaml > {longer}",
        f"cmt-search run {longer}",
    )


def _more_seeds(
    place: str, *, space: Mapping[str, Any], name: str, targets: Sequence[Target]
) -> tuple[str, tuple[str, ...]]:
    present = int(space["seeds"])
    reachable = [t for t in targets if t.seeds is not None and t.seeds > present]
    if not reachable:
        return (
            "More seeds alone do not resolve the rules: search more rules (`sampler.lattice`), or "
            "larger budgets, where rules differ more.",
            (),
        )
    target = reachable[0]
    text = f"Search with {target.seeds} seeds, which resolves {points(target.difference)} pp."
    new = f"{name}-{target.seeds}-seeds"
    return text, _edit(place, key="seeds", name=new, value=target.seeds)


def _edit(place: str, *, key: str, name: str, value: object) -> tuple[str, ...]:
    """Copy the space file with another value of a top-level key, and run it."""
    flow = None if isinstance(value, Mapping) else False
    text = yaml.safe_dump({key: value}, default_flow_style=flow, sort_keys=False, width=10_000)
    remove = f"awk '/^[^ ]/ {{ skip = /^{key}:/ }} !skip' {place}/space.yaml"
    return (
        f"({remove}; cat) > {name}.yaml <<'END'\n{text}END",
        f"cmt-search run {name}.yaml",
    )


def _targets(
    analysis: Analysis, *, sd: float, space: Mapping[str, Any], price: float | None
) -> tuple[Target, ...]:
    rows = trainings(analysis.frame)
    if rows.empty or (analysis.paper is not None and analysis.verdict is None):
        return ()
    if analysis.verdict is not None:
        rows = rows.dropna(subset=[*REALISED, "budget"])
        needed = _seeds_for_rules(analysis, sd=sd, present=int(space["seeds"]), seed=space["seed"])
    else:
        rows = rows[rows["key"].isin(analysis.front.members["key"])]
        needed = {
            target: math.ceil(2 * (DETECTABLE_STANDARD_ERRORS * sd / target) ** 2)
            for target in TARGETS
        }
    seconds = rows.groupby("key")["seconds"].mean()
    return tuple(
        _target(difference, seeds=needed[difference], seconds=seconds, price=price)
        for difference in TARGETS
    )


def _target(
    difference: float, *, seeds: int | None, seconds: "pd.Series[float]", price: float | None
) -> Target:
    hours = None if seeds is None else seeds * float(seconds.sum()) / 3600
    return Target(
        difference=difference,
        seeds=seeds,
        trainings=None if seeds is None else seeds * len(seconds),
        hours=hours,
        cost=None if hours is None or price is None else hours * price,
    )


def _seeds_for_rules(
    analysis: Analysis, *, sd: float, present: int, seed: int
) -> dict[float, int | None]:
    """Return the fewest seeds of the study's own networks that resolve each target.

    What the study's standard error has beyond the prediction, from rounding to networks above all,
    does not shrink with seeds.
    """
    surface, paper, verdict = analysis.surface, analysis.paper, analysis.verdict
    if surface is None or paper is None or verdict is None:
        return dict.fromkeys(TARGETS)
    design = surface.model.design

    def predict(seeds: int) -> float:
        return predict_standard_error(
            shares=design.shares,
            log_macs_ratio=design.log_macs_ratio,
            budget=design.budgets[design.level],
            network=range(len(design.count)),
            paper=paper.values,
            seed_sd=sd,
            seeds=seeds,
            seed=seed,
        )

    rest = max(0.0, verdict.error**2 - predict(present) ** 2)
    errors: dict[int, float] = {}
    for seeds in sorted({present, *(count for count in SEEDS if count >= present)}):
        errors[seeds] = math.sqrt(predict(seeds) ** 2 + rest)
        if sufficient_seeds(errors, difference=min(TARGETS)):
            break
    return {target: sufficient_seeds(errors, difference=target) for target in TARGETS}


def _seed_sd(analysis: Analysis) -> tuple[float, bool]:
    """Return the standard deviation between seeds, and whether it was measured."""
    if analysis.noise is not None and analysis.noise.sd > 0:
        return max(analysis.noise.sd, _SMALLEST_SD), True
    if analysis.surface is not None:
        return max(float(np.median(analysis.surface.noise)), _SMALLEST_SD), False
    return _SEED_SD, False


def _proposal(analysis: Analysis) -> ProposedBase | None:
    laws = analysis.laws
    if laws is None or not isinstance(laws.base, BaseLaw):
        return None
    return laws.base.proposal


def _name(run: str) -> str:
    """Return a name for new files, from the run's folder."""
    last = run.rstrip("/").rsplit("/", 1)[-1]
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in last) or "run"


def _cost(cost: float | None) -> str:
    return MISSING if cost is None else f"{cost:,.2f}"


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 0.1 else f"{hours:.2g}"
