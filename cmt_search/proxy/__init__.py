"""Proxy trainings: data sets, trainer, evaluator."""

from cmt_search.dataset_spec import DatasetSpec
from cmt_search.proxy.data import Dataset, ImageSet
from cmt_search.proxy.evaluator import ProxyEvaluator, train
from cmt_search.proxy.sources import load_dataset
from cmt_search.recipe import Recipe

__all__ = [
    "Dataset",
    "DatasetSpec",
    "ImageSet",
    "ProxyEvaluator",
    "Recipe",
    "load_dataset",
    "train",
]
