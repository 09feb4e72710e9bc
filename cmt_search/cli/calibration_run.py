"""Execution of a calibration: runs over lists of networks, and their analysis."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cmt_search.cli.driving import drive, exit_if_interrupted, opened
from cmt_search.cli.options import Launch
from cmt_search.errors import RunError

if TYPE_CHECKING:
    from cmt_search.analysis import Calibration
    from cmt_search.arch import Arch
    from cmt_search.proxy import Dataset
    from cmt_search.search import CalibrationSpace, FidelityLevel, TrialRecord
    from cmt_search.space import SearchSpace

_SCORED = 64  # images for zero-cost proxies


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRun:
    """A calibration of a space: one run over all levels, and one for each further rate.

    Each is a run of its own, in its own folder, and is resumed if it was interrupted.
    """

    space: "SearchSpace"
    levels: "tuple[FidelityLevel, ...]"  # the last is the reference
    networks: int
    seeds: int
    folder: Path
    launch: Launch
    quiet: bool

    def execute(self, *, rates: Sequence[float], scores: bool) -> "Calibration":
        """Run the missing trainings and analyse all.

        Raises:
            AnalysisError: too few networks were measured at every level.
            SpaceError: the space gives too few networks.
        """
        from cmt_search.analysis import analyse_calibration
        from cmt_search.proxy import load_dataset

        listed = self._listed()
        records = self._measured(self.folder, self.space, listed)
        usual = next(i for i, level in enumerate(self.levels) if self._is_usual(level))
        at_rates = {1.0: _at_rung(records, usual)} if rates else {}
        for factor in rates:
            at_rates[factor] = self._at_rate(factor, listed, level=self.levels[usual])
        archs = [network.rung.arch for network in listed.networks]
        proxy = self.space.proxy
        data = load_dataset(proxy.dataset)
        notes = (*proxy.recipe.notes(epochs=self.space.epoch_schedule[-1]), *data.notes)
        result = analyse_calibration(
            records,
            at_rates=at_rates,
            sizes={arch.key: _sizes(arch, base=self.space.arch) for arch in archs},
            scores=self._scores(archs, data=data) if scores else {},
            seed=self.space.seed,
        )
        return replace(result, notes=(*result.notes, *notes))

    def _is_usual(self, level: "FidelityLevel") -> bool:
        """Whether it is the space's own training."""
        proxy = self.space.proxy
        own = (self.space.epoch_schedule[-1], proxy.data_fraction, proxy.image_scale)
        return (level.epochs, level.data_fraction, level.image_scale) == own

    def _listed(self) -> "CalibrationSpace":
        from cmt_search.cli.cost_measurement import with_cost_measurement
        from cmt_search.search import CalibrationSpace, sample_networks

        return CalibrationSpace(
            networks=sample_networks(with_cost_measurement(self.space), count=self.networks),
            levels=self.levels,
            seeds=self.seeds,
            seed=self.space.seed,
            of=self.space.fingerprint,
        )

    def _at_rate(
        self, factor: float, listed: "CalibrationSpace", *, level: "FidelityLevel"
    ) -> "tuple[TrialRecord, ...]":
        proxy = self.space.proxy
        recipe = replace(proxy.recipe, lr=proxy.recipe.lr * factor)
        changed = proxy.model_copy(update={"recipe": recipe})
        space = self.space.model_copy(update={"proxy": changed})
        only = replace(listed, levels=(level,), of=space.fingerprint)
        return self._measured(self.folder / f"rate-{factor:g}", space, only)

    def _measured(
        self, folder: Path, space: "SearchSpace", listed: "CalibrationSpace"
    ) -> "tuple[TrialRecord, ...]":
        from cmt_search.search import read_trials

        run = opened(
            folder,
            space,
            command=sys.argv[1:],
            storage=self.launch.storage,
            fingerprint=listed.fingerprint,
            name="/".join((self.folder.resolve().name, *folder.relative_to(self.folder).parts)),
        )
        outcome = drive(
            run,
            space,
            launch=self.launch,
            trials=len(listed.networks),
            quiet=self.quiet,
            searched=listed,
        )
        exit_if_interrupted(outcome, folder=run)
        if outcome.stopped != "finished":
            raise RunError(
                f"{folder}: {outcome.stopped} with {outcome.remaining.trials} networks left; part "
                "of a sample would be biased, so repeat the command to finish it"
            )
        return read_trials(folder, storage=self.launch.storage)

    def _scores(self, archs: "Sequence[Arch]", *, data: "Dataset") -> dict[str, dict[str, float]]:
        """Scores by name and network, means over as many initialisations as there are seeds."""
        from cmt_search.proxy.zero_cost import SCORES, sample, scores

        found: dict[str, dict[str, float]] = {name: {} for name in SCORES}
        for arch in archs:
            images, labels = sample(data, side=arch.resolution, count=_SCORED)
            rows = [
                scores(arch, images=images, labels=labels, seed=seed) for seed in range(self.seeds)
            ]
            for name in SCORES:
                found[name][arch.key] = sum(row[name] for row in rows) / len(rows)
        return found


def _at_rung(records: "Sequence[TrialRecord]", rung: int) -> "tuple[TrialRecord, ...]":
    """The records as if there were this rung only."""
    return tuple(replace(record, rungs=(record.rungs[rung],)) for record in records if record.rungs)


def _sizes(arch: "Arch", *, base: "Arch") -> tuple[float, float, float]:
    """Logs of blocks, channels of the first stage and pixels over the base's."""
    pairs = zip(sizes_of(arch), sizes_of(base), strict=True)
    depth, width, side = (math.log(own / first) for own, first in pairs)
    return depth, width, side


def sizes_of(arch: "Arch") -> tuple[int, int, int]:
    """Blocks, channels of the first stage and pixels, as a recipe's `lr_sizes` are."""
    return arch.depth, arch.stages[0].width, arch.resolution
