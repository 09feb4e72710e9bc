"""What a search begins with, whatever its results: nothing is trained and nothing written."""

from collections.abc import Iterator

from cmt_search.search.design import DesignPoint
from cmt_search.search.protocols import Space
from cmt_search.space.candidate import Candidate


def foreseen(
    space: Space, *, most: int | None = None
) -> Iterator[tuple[DesignPoint, Candidate | None, str | None]]:
    """The first candidates as far as they are known beforehand, in the order of their trials.

    Those of a design or a population, or the points of a sequence or a grid. A candidate without
    a network is None, with the reason; it counts as a trial of a design alone.
    """
    from optuna.logging import WARNING, set_verbosity

    from cmt_search.search.asking import Asker  # which needs optuna

    set_verbosity(WARNING)
    asker, feasible = Asker(space, trials=()), 0
    while asker.designing and asker.left != 0 and (most is None or feasible < most):
        asked = asker.ask()
        feasible += asked.candidate is not None or space.sampler.name == "design"
        point = DesignPoint(name=asked.name, params=asked.params, replicate=asked.replicate)
        yield point, asked.candidate, asked.reason
