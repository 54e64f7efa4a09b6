"""Which labels are likely wrong, by confident learning (C. Northcutt et al., JAIR 70, 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from infra.errors import WrongInput

if TYPE_CHECKING:
    import numpy.typing as npt


LEAST_ERRORS = 3.0


def find_suspects(labels: npt.NDArray[np.int64], chances: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Places of the suspect rows, the worst first.

    Args:
        labels: class indices, int64 [n].
        chances: out-of-fold probabilities, float64 [n, C].

    Raises:
        WrongInput: cleanlab is not installed.
    """
    require_cleanlab()
    from cleanlab.filter import find_label_issues

    # classes without a row have no threshold that could be estimated
    present, places = np.unique(labels, return_inverse=True)
    known = chances[:, present]
    known = known / np.maximum(known.sum(-1, keepdims=True), np.finfo(np.float64).tiny)
    found = find_label_issues(places, known, return_indices_ranked_by="self_confidence", n_jobs=1)
    return np.asarray(found, np.int64)


def are_informed(labels: npt.NDArray[np.int64], chances: npt.NDArray[np.float64]) -> bool:
    """Whether a row's own label is likelier to the models than that label is on the whole, by more than three
    standard errors: otherwise they have learned nothing of the labels, however rare some are.

    Args:
        labels, chances: as for `find_suspects`.
    """
    gained = chances[np.arange(len(labels)), labels] - chances.mean(0)[labels]
    return bool(gained.mean() > LEAST_ERRORS * gained.std() / np.sqrt(len(labels)))


def require_cleanlab() -> None:
    """Says how to get cleanlab where it is not.

    Raises:
        WrongInput: it is not installed.
    """
    try:
        import cleanlab.filter  # noqa: F401
    except ImportError as error:
        do = "pip install 'velodrome[inspect]'"
        raise WrongInput("suspect labels need cleanlab", str(error), do) from error
