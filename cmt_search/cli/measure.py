"""confirm: the rules in question, trained again where the search did not look."""

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmt_search.cli.driving import drive, exit_if_interrupted, opened
from cmt_search.cli.options import Json, Launch, RunArgument, launches
from cmt_search.errors import AnalysisError, BudgetError
from cmt_search.io import atomic_write

if TYPE_CHECKING:
    from cmt_search.search import RunDir
    from cmt_search.space import SearchSpace


@launches
def confirm(
    run: RunArgument,
    launch: Launch,
    budget: Annotated[
        str | None, typer.Option(help="Held-out MACs; default: twice the search's largest.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fresh seeds for each rule.")] = 5,
    times: Annotated[int, typer.Option(min=1, help="Epochs, as a multiple of the search's.")] = 4,
    json: Json = False,
) -> None:
    """Retrain the best, the named and a bad rule: held-out budget, the test split, fresh seeds.

    From twice the search's largest budget on, the law is checked where it was not fitted: z of each
    rule, and the regret of the rule that it chooses beside that of the naive answer, the rule that
    measured best at the search's largest budget. The law is that of the search's training length.

    --json prints budget, seeds, rules (predicted and measured differences to the paper's rule),
    the names of predicted-best, predicted-bad and naive-best, extrapolation (span, rules, inside,
    best, predicted, naive), or null and the reason in no_extrapolation.
    """
    from cmt_search.cli.confirming import compared, rules_in_question, show_compared
    from cmt_search.cli.console import print_json, say_paths
    from cmt_search.search import RunDir, read_trials
    from cmt_search.space import confirmation_space
    from cmt_search.study import load_study

    folder = RunDir.open(run)
    served = launch.storage if folder.info().storage else None
    study = load_study(run, storage=served)
    space, analysis = study.space, study.analyse(n_simulations=0, laws=False)
    if analysis.surface is None:
        raise AnalysisError(f"there is nothing to confirm. {analysis.no_verdict}")
    macs = _budget(space, text=budget)
    asked = rules_in_question(analysis, space=space, macs=macs)
    held_out = confirmation_space(
        space, rules={**analysis.named, **asked}, macs=macs, seeds=seeds, times=times
    )
    _check_reference(held_out)
    within = _retrained(folder, held_out, launch=launch, quiet=json)
    records = read_trials(within, storage=launch.storage)
    result = compared(records, analysis=analysis, space=held_out, asked=asked)
    path = folder.path / "confirm.json"
    atomic_write(path, jsonlib.dumps(result, indent=2) + "\n")
    if json:
        print_json(result)
        return
    say_paths([path])
    show_compared(result, path=path)


def _budget(space: "SearchSpace", *, text: str | None) -> float:
    """The held-out MACs: far enough for a check of the law, unless said otherwise."""
    from cmt_search.format import parse_quantity
    from cmt_search.stats.extrapolation import MIN_SPAN

    try:
        return MIN_SPAN * space.budget_macs[-1] if text is None else parse_quantity(text)
    except ValueError as error:
        raise BudgetError(f"--budget: {error}") from None


def _check_reference(held_out: "SearchSpace") -> None:
    """Refuse, before anything is trained, a budget at which the paper's rule has no network."""
    shares = held_out.named_shares()["cmt-paper"]
    try:
        held_out.rule(shares).member(held_out.budget(held_out.budget_macs[-1]))
    except BudgetError as error:
        raise BudgetError(
            f"cmt-paper, which every rule is compared with, has no network there: {error}; "
            "choose another --budget"
        ) from None


def _retrained(folder: "RunDir", held_out: "SearchSpace", *, launch: Launch, quiet: bool) -> Path:
    """The folder of the confirming run; each set of questions has its own."""
    place = f"confirm/{held_out.fingerprint}"
    confirming = opened(
        folder.path / place,
        held_out,
        command=sys.argv[1:],
        storage=launch.storage,
        name=f"{folder.info().name}/{place}",
    )
    outcome = drive(confirming, held_out, launch=launch, quiet=quiet)
    exit_if_interrupted(outcome, folder=confirming)
    return confirming.path
