"""Backbones of others, as published: what a front is laid against."""

from functools import cache
from importlib import resources

import pandas as pd

FAMILY = "CMT"  # whose published members are an overlay of their own


@cache
def _table() -> pd.DataFrame:
    with resources.files(__package__).joinpath("baselines.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    return table.assign(
        macs=1e9 * table["gmacs"],
        params=1e6 * table["params_m"],
        top1=table["top1_published"] / 100,
        # Measured MACs count what this project's cost model counts; the others are as printed.
        note="top-1 published (ImageNet-1k), MACs " + table["gmacs_kind"],
    )


def baselines() -> pd.DataFrame:
    """Published backbones: family, variant, resolution, macs, params, top1, note, source.

    top1 (0..1) is always the published number, on ImageNet-1k; `gmacs_kind` tells whether MACs were
    measured or are as published; params are measured, and missing where nothing could be built.
    """
    return _table().copy()
