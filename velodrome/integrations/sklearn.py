"""scikit-learn: `fit_trial(trial, estimator, (X, y), (X_held_out, y_held_out), accuracy="accuracy")`.

The passes of an estimator with `partial_fit` are reports; any other one is fitted once.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

try:
    import numpy as np
    from sklearn.base import is_classifier, is_regressor
    from sklearn.metrics import check_scoring
except ImportError as error:
    raise ImportError(
        "velodrome.integrations.sklearn needs scikit-learn: pip install 'velodrome[sklearn]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trainers.functions.trial import Trial

    Scorer = str | Callable[..., float]


def fit_trial(
    trial: Trial,
    estimator: Any,
    train: tuple[Any, Any],
    validation: tuple[Any, Any],
    *,
    trusted: Sequence[str] = (),
    **scores: Scorer,
) -> Any:
    """Instead of `estimator.fit(X, y)`: reports how it does on rows that it does not see, ends where the
    trial is to end, and keeps the estimator as the trial's model, without a pickle.

    Of an estimator that learns pass by pass the model is the one with the highest first score, as
    `objective: {direction: maximize}` chooses the trial's value. An attempt after a kill begins anew.

    Args:
        train: rows and labels.
        validation: others.
        trusted: classes of your own in the estimator, `package.module.Class`, as `trial.model` takes them.
        scores: names of reports by scikit-learn's names of scorers, or scorers: `accuracy="accuracy"`; by
            default the estimator's own score, `accuracy` of a classifier, `r2` of a regression, else `score`.

    Returns:
        The estimator that is kept.
    """
    known = {name: check_scoring(estimator, scorer) for name, scorer in scores.items()}
    own = "accuracy" if is_classifier(estimator) else "r2" if is_regressor(estimator) else "score"
    known = known or {own: check_scoring(estimator)}
    trial.begin_after(0)  # what an attempt told before it died comes again
    if not hasattr(estimator, "partial_fit"):
        estimator.fit(*train)
        trial.report({name: float(scorer(estimator, *validation)) for name, scorer in known.items()})
        trial.model(estimator, trusted=trusted)
        return estimator
    labels = {"classes": np.unique(train[1])} if is_classifier(estimator) else {}
    best, highest = estimator, -np.inf
    while True:
        estimator.partial_fit(*train, **labels)
        found = {name: float(scorer(estimator, *validation)) for name, scorer in known.items()}
        trial.report(found)
        if (first := next(iter(found.values()))) > highest:
            best, highest = deepcopy(estimator), first
        if trial.over():
            break
    trial.model(best, trusted=trusted)
    return best
