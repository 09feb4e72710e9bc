"""Where a network stands: the growth in ln MACs that depth, width and resolution brought."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmt_search.errors import AnalysisError

Floats = NDArray[np.float64]

# Columns span the moves at equal MACs: depth against width, both against resolution.
PLANE: Floats = np.array([[1.0, 1.0], [-1.0, 1.0], [0.0, -2.0]]) / np.sqrt([2.0, 6.0])
_UNEXPLAINED = 0.25  # of ln MACs; rounding leaves a few hundredths


def contributions(x: ArrayLike, *, exponents: ArrayLike, growth: ArrayLike) -> Floats:
    """c_i = e_i x_i, with what rounding leaves of the growth spread evenly: sum c_i = growth.

    In these coordinates equal MACs are a plane whatever the exponents, and a rule of shares s is
    the line c = L s. Path exponents make it so along the whole path. Realised shares times growth
    are the same thing, and see what rounding did to each stage; but at the base's own MACs shares
    have no value, and contributions have.
    Shape: x, the logs of depth, width and resolution over the base's, (T, 3); exponents of MACs in
    them (3,) or, one path each, (T, 3); growth ln(MACs / base MACs) (T,); result (T, 3).

    Raises:
        AnalysisError: the exponents do not explain the growth.
    """
    parts = np.asarray(x, dtype=float) * np.asarray(exponents, dtype=float)
    missing = np.asarray(growth, dtype=float) - parts.sum(axis=-1)
    worst = np.abs(missing).max(initial=0.0)
    if not worst <= _UNEXPLAINED:
        raise AnalysisError(
            f"the exponents leave {worst:.2f} of the growth in ln MACs of a network unexplained; "
            "use path exponents of each network (scaling.SmoothFamily.path_exponents)"
        )
    result: Floats = parts + missing[..., None] / 3
    return result
