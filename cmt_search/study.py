"""A run as an object: trials, verdict, figures, report. Notebook, CLI and explorer share it."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmt_search.cost import cost
from cmt_search.errors import BudgetError, ExportError
from cmt_search.scaling import Budget
from cmt_search.scaling.solver import solve
from cmt_search.search import RunDir, TrialRecord, read_run
from cmt_search.space import SearchSpace, load_space

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from cmt_search.analysis import Analysis, BaseContext, NextStep, RuleVerdict
    from cmt_search.arch import Arch
    from cmt_search.export import Variants

N_SIMULATIONS = 200  # per truth, where a verdict is published


@dataclass(frozen=True, kw_only=True, eq=False)
class Study:
    """A run as it stood when `load_study` read it.

    Results are computed on first use. DataFrames and figures are new objects on every access.
    """

    run: RunDir
    space: SearchSpace  # as it was when the run was created
    records: tuple[TrialRecord, ...]  # by number
    is_running: bool  # a process drove the run
    storage: str | None = None  # database URL, as given to `load_study`

    @property
    def path(self) -> Path:
        """The folder of the run."""
        return self.run.path

    @cached_property
    def name(self) -> str:
        """The name of the run."""
        return self.run.info().name

    @property
    def trials(self) -> "pd.DataFrame":
        """One row per trial: state, shares or parameters, and the metrics of its last rung.

        Units: top1 in 0..1, loss in nats, seconds.
        """
        from cmt_search.analysis import trials_frame

        return trials_frame(self.records)

    @property
    def trainings(self) -> "pd.DataFrame":
        """One row per training; `cmt_search.analysis.COLUMNS` describes the columns."""
        from cmt_search.analysis import trainings_frame

        return trainings_frame(self.records)

    @cached_property
    def analysis(self) -> "Analysis":
        """All results of the study, with scaling laws; computed once."""
        return self.analyse()

    @property
    def verdict(self) -> "RuleVerdict | None":
        """The best rule against the paper's; None: `no_verdict` says why."""
        return self.analysis.verdict

    @property
    def no_verdict(self) -> str:
        """Why there is no verdict; empty if there is one."""
        return self.analysis.no_verdict

    def analyse(self, *, n_simulations: int | None = None, laws: bool = True) -> "Analysis":
        """Analyse the study.

        `n_simulations` studies per truth calibrate the margin of the equivalence set; None: as many
        as for a published verdict. `laws`: fit scaling laws.
        """
        from threadpoolctl import threadpool_limits

        from cmt_search.analysis import analyse

        if n_simulations is None:
            n_simulations = N_SIMULATIONS
        space = self.space
        # Matrices this small only wait for each other on more threads, on a busy machine minutes.
        with threadpool_limits(limits=1, user_api="blas"):
            if space.kind == "shape":
                macs = cost(space.arch).macs if laws else None
                return analyse(self.records, base_macs=macs, seed=space.seed, shapes=True)
            if space.kind != "rule":
                return analyse(self.records, seed=space.seed, metrics=_metrics(space))
            named = space.named_shares()
            return analyse(
                self.records,
                base_macs=cost(space.arch).macs,
                paper=named["cmt-paper"],
                named=named,
                n_simulations=n_simulations,
                native_resolution=space.proxy.dataset.native_resolution,
                sides=lambda shares: space.sides_at(space.budget_macs[-1], shares=shares),
                seed=space.seed,
                base=base_context(space) if laws else None,
            )

    def plot_triangle(self, *, budget: float | None = None) -> "go.Figure":
        """Draw the predicted accuracy of all rules; `budget` in MACs, by default the largest.

        Raises:
            AnalysisError: the study has no verdict.
        """
        from cmt_search.analysis import draw_triangle, triangle_data

        return draw_triangle(triangle_data(self.analysis, budget=budget))

    def plot_front(self, *, x: str | None = None, y: str = "top1") -> "go.Figure":
        """Draw the Pareto front on two metrics; `x` is by default the study's own cost.

        Raises:
            AnalysisError: a metric is unknown.
        """
        from cmt_search.analysis import draw_front, front_data
        from cmt_search.analysis.front_values import cost_shown

        metrics = (x or cost_shown(self.analysis.front), y)
        return draw_front(front_data(self.analysis, metrics=metrics))

    def figures(self) -> "Mapping[str, go.Figure]":
        """Draw every figure that the study has enough data for, by name."""
        from cmt_search.analysis import figures

        return figures(self.analysis, parameters=self.space.parameters())

    def next_step(self, *, price: float | None = None) -> "NextStep":
        """Recommend what to do next; `price` is that of a device-hour."""
        from cmt_search.analysis import recommend_next_step

        return recommend_next_step(
            self.analysis,
            run=str(self.path),
            space=self.space.model_dump(mode="json"),
            price=price,
        )

    def report(self, path: Path | str | None = None, *, price: float | None = None) -> Path:
        """Write a self-contained HTML report; by default report.html in the run.

        A family that cannot be read is left out, with a warning. With the `price` of a device-hour
        the next step has its cost.

        Raises:
            RunError: the file cannot be written.
        """
        from cmt_search.analysis import write_report

        try:
            family = _family_rows(self.run)
        except ExportError as error:  # it can be made again
            warnings.warn(f"The report leaves out the family: {error}", stacklevel=2)
            family = []

        return write_report(
            self.analysis,
            self.run.report if path is None else Path(path),
            title=self.name,
            family_table=family,
            next_step=self.next_step(price=price),
            settings=self.space.model_dump(mode="json", exclude_defaults=True),
            provenance=asdict(self.run.info()),
            parameters=self.space.parameters(),
        )

    def front(self, *metrics: str) -> "Variants":
        """Return the networks that no other one dominates, with trial, metrics and noise.

        `metrics`: two or more; by default the study's own. Networks are those at full fidelity,
        with means over seeds.

        Raises:
            AnalysisError: a metric is unknown.
        """
        from cmt_search.analysis.front_values import front_on
        from cmt_search.export import Variants, front_variant

        records = {record.number: record for record in self.records}
        members = front_on(self.analysis, metrics=metrics or self.analysis.front.metrics).members
        return Variants(
            front_variant(
                records[row["trial"]],
                {str(name): value for name, value in row.dropna().items()},
                noise=self.analysis.noise,
                run=self.name,
            )
            for _, row in members.iterrows()
        )

    def family(
        self,
        budgets: Sequence[str | float],
        *,
        rule: str = "best",
        base: "str | Arch | None" = None,
    ) -> "Variants":
        """Solve a rule at budgets in MACs, such as "8M"; budgets that it cannot meet are left out.

        `base` is a preset or a network; by default the search's own. The provenance of a member has
        `extrapolation`: its growth in MACs from the base over the largest one that was measured.

        Raises:
            AnalysisError: there is no such rule, or no best one yet.
            BudgetError: a budget is no quantity, or none can be met.
            SpaceError: the base is unknown.
        """
        from cmt_search.family import collect_evidence, label_budgets, solve_family

        solved = solve_family(
            rule,
            labels=label_budgets(budgets),
            base=base,
            analysis=self.analysis,
            space=self.space,
        )
        return solved.variants(evidence=collect_evidence(self.analysis, run=self.name))

    def __repr__(self) -> str:
        states = Counter(record.state for record in self.records)
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"<Study {self.name}: {self.space.kind} search, trials: {counts or 'none'}>"

    def _repr_html_(self) -> str:
        from cmt_search.analysis import study_headline, study_progress

        lines = (study_headline(self.analysis), study_progress(self.analysis))
        text = "".join(f"<p>{escape(line)}</p>" for line in lines)
        front = self.analysis.front.members[["trial", "name", "macs", "params", "top1"]]
        table = front.to_html(index=False, formatters={"top1": "{:.1%}".format})
        return f"<h3>{escape(self.name)}</h3>{text}<p>Pareto front:</p>{table}"


def load_study(path: Path | str, *, storage: str | None = None) -> Study:
    """Read a run from its folder, while it runs or afterwards; this changes nothing.

    `storage` is the database URL of the study, where it is not in the folder and the password is
    neither in run.json nor in $CMT_SEARCH_STORAGE.

    Raises:
        RunError: there is no run, or it has no study yet, or it is damaged.
        SpaceError: its space file cannot be read.
    """
    run = RunDir.open(Path(path))
    space = load_space(run.space)
    read = read_run(run.path, storage=storage)
    return Study(run=run, space=space, records=read.trials, is_running=read.driven, storage=storage)


def base_context(space: SearchSpace) -> "BaseContext":
    """Return the base's exponents, and the solver of the space's networks of its MACs."""
    from cmt_search.analysis import BaseContext

    base = space.arch
    rule = space.rule(space.named_shares()["cmt-paper"])
    # Caps are meant for members, which are larger; a cap on latency would need measuring.
    budget = Budget(macs=cost(base).macs, tolerance=space.tolerance)

    def solve_at(x: tuple[float, float, float]) -> "Arch | None":
        try:
            member = solve(rule.smooth, x=np.array(x), budget=budget, grid=space.grid)
        except BudgetError:
            return None
        return member.arch if member.arch.key != base.key else None

    return BaseContext(exponents=rule.exponents, solve_at=solve_at)


def _family_rows(run: RunDir) -> list[dict[str, object]]:
    """Tabulate the members in family.yaml of a run; empty without that file.

    Raises:
        ExportError: the file cannot be read.
    """
    from cmt_search.export import read_family

    if not run.family.exists():
        return []
    members = [(member.name, member.arch, cost(member.arch)) for member in read_family(run.family)]
    return [
        {
            "member": name,
            "MACs": f"{costs.macs:,}",
            "params": f"{costs.params:,}",
            "px": str(arch.resolution),
            "widths": "-".join(str(stage.width) for stage in arch.stages),
            "depths": "-".join(str(stage.depth) for stage in arch.stages),
        }
        for name, arch, costs in members
    ]


def _metrics(space: SearchSpace) -> tuple[str, ...]:
    """Return the metrics of a front, the cost first."""
    objectives = space.objectives
    return (objectives[1], objectives[0]) if len(objectives) == 2 else ("macs", "top1")
