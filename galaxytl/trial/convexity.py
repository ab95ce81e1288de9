"""Of which trials the best that any optimizer could do is known: those whose training minimises a convex function, the
same in every epoch (`galaxytl.learning.certificate`).

Standard library only: who reads a row asks, too, since earlier versions certified more than is true.
"""

from __future__ import annotations

from typing import Any, Final

PLAIN: Final = {
    **{"head_units": 0, "label_smoothing": 0.0, "focal_gamma": 0.0},
    **{"class_weighting": "none", "weight_decay": 0.0},
}
"""What fields are where a head is led to the optimum of the mean cross-entropy of all training images, each counting
once: of smoothed targets, the focal loss or weighted classes another loss is minimised, and weight decay keeps weights
away from any of them."""


def is_convex(spec: Any) -> bool:
    """Return whether a TrialSpec's training minimises the loss of softmax regression and nothing else, on features that
    are the same in every epoch."""
    is_plain = all(getattr(spec, name) == value for name, value in PLAIN.items())
    return spec.trains_head_only and not spec.draws_images and is_plain
