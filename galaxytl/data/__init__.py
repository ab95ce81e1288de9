"""Galaxies for trials: `open_dataset(uri)` is the one door to them, `split_indices` gives train, validation, test."""

from galaxytl.data.dataset import Dataset, open_dataset
from galaxytl.data.files.sources import DataError
from galaxytl.data.splits import Splits, split_indices

__all__ = ["DataError", "Dataset", "Splits", "open_dataset", "split_indices"]
