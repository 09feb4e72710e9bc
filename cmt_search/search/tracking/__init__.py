"""Finished trials in TensorBoard, MLflow and Weights & Biases. Importing this imports none."""

from cmt_search.search.tracking.following import tracking
from cmt_search.search.tracking.target import Target, targets
from cmt_search.search.tracking.trial import Logged, Point, Tracker, logged

__all__ = ["Logged", "Point", "Target", "Tracker", "logged", "targets", "tracking"]
