"""Galaxies for trials: `open_dataset(uri)` is the one door to them, `split_indices` gives train, validation, test."""

from galaxytl.data.dataset import Dataset, open_dataset
from galaxytl.data.splits import Splits, split_indices
from galaxytl.system.locations import DataError

__all__ = ["DataError", "Dataset", "Splits", "open_dataset", "split_indices"]
