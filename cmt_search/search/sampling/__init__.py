"""Samplers: the design, initial points, Optuna's samplers and the acquisition of rule searches."""
