"""Variants, families and studies as files that other programs load, and back."""

from cmt_search.export.family import read_family, write_family
from cmt_search.export.formats import FORMATS, Format, export
from cmt_search.export.reader import load, load_variant
from cmt_search.export.schema import SCHEMAS, write_schemas
from cmt_search.export.source import Source, Weights
from cmt_search.export.study_tables import STUDY_FORMATS, export_study, read_study
from cmt_search.export.timm_registry import register, timm_name, variants_in
from cmt_search.export.training import kept_weights, retrain
from cmt_search.export.trial import front_variant, trial_variant
from cmt_search.export.variant import Variant
from cmt_search.export.variants import Variants
from cmt_search.export.weights import load_weights
from cmt_search.export.weights_io import source_in, trained_in, weights_of

__all__ = [
    "FORMATS",
    "SCHEMAS",
    "STUDY_FORMATS",
    "Format",
    "Source",
    "Variant",
    "Variants",
    "Weights",
    "export",
    "export_study",
    "front_variant",
    "kept_weights",
    "load",
    "load_variant",
    "load_weights",
    "read_family",
    "read_study",
    "register",
    "retrain",
    "source_in",
    "timm_name",
    "trained_in",
    "trial_variant",
    "variants_in",
    "weights_of",
    "write_family",
    "write_schemas",
]
