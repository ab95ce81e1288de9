"""Transfer learning on galaxy images: what a trial is, and how to train it.

Importing this package starts no deep-learning framework; `galaxytl.training` does, when it is asked to train.
"""

__version__ = "0.1.0"
