"""Scores of a trial on the part of the dataset that it is scored on.

metrics, confusion = evaluate(labels, probabilities)
metrics, confusion = evaluate(labels, probabilities, votes)     # of a network that was trained towards votes
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, precision_recall_fscore_support

from galaxytl.results.predictions import cross_entropies


def evaluate(
    labels: NDArray[np.int64], probabilities: NDArray[np.floating], votes: NDArray[np.floating] | None = None
) -> tuple[dict[str, float], tuple[tuple[int, ...], ...]]:
    """Return the scores of `probabilities` (N, C) against `labels` (N,), and the (C, C) confusion matrix, rows true.

    By scikit-learn's rules. Precision, recall and F1 that are undefined count as 0: precision of a class that is never
    predicted (the paper's VGG rows need that rule), recall of one that is predicted but has no images. A class with
    neither images nor predictions counts nowhere. (The macro scores of the first rows counted it as 0; a row's
    confusion matrix gives them again.) Of equal probabilities the first class is predicted.

    Scores: accuracy; precision, recall, f1, each weighted by class size and macro; loss, the mean cross-entropy in
    nats towards what was trained towards, the labels or the votes (N, C), which never comes below the votes' own
    entropy; leading_class_loss, with votes alone, that towards the labels, which are the classes with the most votes;
    top_predicted_share and top_predicted_class, the largest share of the predictions that one class takes;
    majority_share, the accuracy of always naming the largest class; cohen_kappa, 0 at chance level (0 also where it
    is undefined: one class in labels and predictions). A trial's row has all of them a second time, as tta_accuracy
    and so on, of the mean over the eight symmetries, where its spec asks for that.

    Raises ValueError where a probability is NaN: it has no largest one, and no score.
    """
    if number := int(np.isnan(probabilities).any(axis=1).sum()):
        raise ValueError(f"class probabilities must be numbers; got NaN for {number} of {len(labels)} images")
    num_classes = probabilities.shape[1]
    classes = np.arange(num_classes)
    predicted = probabilities.argmax(axis=1)
    metrics = {"accuracy": float(accuracy_score(labels, predicted))}
    for average in ("weighted", "macro"):
        scores = precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)
        for name, score in zip(("precision", "recall", "f1"), scores[:3], strict=True):
            metrics[f"{name}_{average}"] = float(score)
    predicted_counts = np.bincount(predicted, minlength=num_classes)
    metrics["loss"] = float(cross_entropies(probabilities, labels if votes is None else votes).mean())
    if votes is not None:
        metrics["leading_class_loss"] = float(cross_entropies(probabilities, labels).mean())
    metrics["top_predicted_share"] = float(predicted_counts.max() / len(labels))
    metrics["top_predicted_class"] = int(predicted_counts.argmax())
    metrics["majority_share"] = float(np.bincount(labels).max() / len(labels))
    metrics["cohen_kappa"] = _kappa(labels, predicted)
    confusion = confusion_matrix(labels, predicted, labels=classes)
    return metrics, tuple(tuple(int(n) for n in row) for row in confusion)


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the class probabilities (n, C), in float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _kappa(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    if len(np.union1d(labels, predicted)) == 1:
        return 0.0
    return float(cohen_kappa_score(labels, predicted))
