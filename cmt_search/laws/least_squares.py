"""Least squares for a bootstrap: of many resamples at once, and with all of their spread."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmt_search.errors import AnalysisError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearFit:
    """A linear model of trainings, to be fitted to resamples of them."""

    design: Floats  # (T, p), columns of size one
    unit: Floats  # (p,) what they were divided by
    hat: Floats  # (T, T) from values to unweighted fitted values
    networks: int  # distinct

    @classmethod
    def of(cls, design: Floats, *, network: Sequence[Hashable]) -> "LinearFit":
        """For design (T, p).

        Raises:
            AnalysisError: the trainings cannot tell the columns apart with a network to spare.
        """
        networks, terms = len(set(network)), design.shape[1]
        if networks <= terms or np.linalg.matrix_rank(design) < terms:
            raise AnalysisError(
                f"{networks} networks cannot tell the {terms} terms of the fit apart with one to "
                "spare; measure more networks, of more different shapes"
            )
        unit = np.abs(design).max(axis=0)
        scaled = design / unit
        hat = scaled @ np.linalg.pinv(scaled)
        return cls(design=scaled, unit=unit, hat=hat, networks=networks)

    def __call__(self, weights: Floats, values: Floats) -> Floats:
        """Coefficients of every resample. Shape: weights, values (S, T); result (S, p)."""
        terms = len(self.unit)
        y = inflated(values, fitted=values @ self.hat.T, networks=self.networks, terms=terms)
        outer = (self.design[:, :, None] * self.design[:, None, :]).reshape(-1, terms**2)
        normal = (weights @ outer).reshape(-1, terms, terms)
        right = (weights * y) @ self.design
        result: Floats = np.linalg.solve(normal, right[:, :, None])[:, :, 0] / self.unit
        return result


def inflated(values: Floats, *, fitted: Floats, networks: int, terms: int) -> Floats:
    """Values with residuals as large as they would be, had no term been fitted to them.

    A fit takes terms/networks of the residuals' variance away, and a bootstrap that reweights what
    is left is too narrow by as much (HC1). The fit to the data themselves stays what it is.
    """
    assert networks > terms, "a fit needs a network to spare"
    return fitted + (values - fitted) * float(np.sqrt(networks / (networks - terms)))
