"""Gradient-boosted decision trees as a module, grown and asked by LightGBM; what they are is their text.

G. Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NIPS 2017.

Shape legend: N rows, F numbers, K categories a row, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from trainers.errors import InputError
from trainers.types import JsonObject, Params

if TYPE_CHECKING:
    import lightgbm

Rows = npt.NDArray[np.float32]
_TEXT, _END = "text", "end of trees\n"


def require_lightgbm() -> None:
    """Says how to get LightGBM where it is not."""
    try:
        import lightgbm  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: its library needs another, OpenMP's say
        raise InputError(
            "gradient boosting needs LightGBM", str(error), "pip install 'velodrome[trees]'"
        ) from error


class BoostedTrees(nn.Module):
    """Trees that grow by rounds. Takes floats [N, F], NaN where missing, and ids [N, K]; gives [N, C] logits,
    or [N, 1] numbers in regression, float64.

    The state is one tensor, `text`: the bytes of LightGBM's own text format, up to the end of the trees (what
    stands behind it tells of the machine). A state that is loaded grows on as if it had never been written.

    Attributes:
        leaves: as many zeros as all trees have leaves, so that what counts weights counts those.
    """

    def __init__(self, classes: int) -> None:
        """No trees yet.

        Args:
            classes: C; 0 in regression.

        Raises:
            InputError: LightGBM is not installed.
        """
        super().__init__()
        require_lightgbm()
        self.classes = classes
        self.leaves = nn.Parameter(torch.zeros(0), requires_grad=False)
        self._grown: lightgbm.Booster | None = None
        self._growing = False  # whether the booster has the rows that it was grown on
        self._text = ""

    # -- answers -------------------------------------------------------------------------------------------

    def forward(self, x_NF: Tensor, ids_NK: Tensor) -> Tensor:
        """The trees' raw answers [N, C], float64: logits, or one number in regression."""
        if self._grown is None:
            return torch.zeros(len(x_NF), self.classes or 1, dtype=torch.float64, device=x_NF.device)
        threads = torch.get_num_threads()
        rows = _join_columns(x_NF, ids_NK)
        raw = self._grown.predict(rows, raw_score=True, num_iteration=-1, num_threads=threads)
        answer = torch.from_numpy(np.asarray(raw, np.float64).reshape(len(x_NF), -1)).to(x_NF.device)
        # of two classes there is one number, the second's logit where the first's is 0
        return torch.cat([torch.zeros_like(answer), answer], dim=1) if self.classes == 2 else answer

    def contributions(self, x_NF: Tensor, ids_NK: Tensor) -> npt.NDArray[np.float64]:
        """SHAP values float64 [N, C, F + K + 1], behind the columns the mean answer over the training rows;
        C is 1 in regression, and of two classes, the second's logit."""
        columns = x_NF.shape[1] + ids_NK.shape[1] + 1
        if self._grown is None:
            return np.zeros((len(x_NF), 1 if self.classes <= 2 else self.classes, columns))
        rows = _join_columns(x_NF, ids_NK)
        found = self._grown.predict(
            rows, pred_contrib=True, num_iteration=-1, num_threads=torch.get_num_threads()
        )
        return np.asarray(found, np.float64).reshape(len(x_NF), -1, columns)

    # -- growth --------------------------------------------------------------------------------------------

    def grow(
        self, numbers: Tensor, ids: Tensor, target: Tensor, weight: Tensor | None, params: Params,
        seeds: Sequence[int],
    ) -> float:  # fmt: skip
        """One round for each seed, always on the same rows; returns the mean loss on them.

        Args:
            numbers: [N, F], with the ids and the target of the same rows.
            weight: of each row, [N].
            params: LightGBM's.
            seeds: what draws the columns of each round.
        """
        import lightgbm

        sampled = params.get("feature_fraction", 1.0) < 1.0
        for seed in seeds:
            drawn = {"feature_fraction_seed": seed}
            if self._growing and self._grown is not None:
                if sampled:
                    self._grown.reset_parameter(drawn)
                self._grown.update()
                continue
            given = {**self._settings(), **params, **drawn}
            table = self._table(numbers, ids, target, weight)
            self._grown = lightgbm.train(given, table, 1, init_model=self._grown, keep_training_booster=True)
            self._growing = True
        assert self._grown is not None
        self._note_text(self._grown.model_to_string(num_iteration=-1))
        return float(self._grown.eval_train()[0][2])

    def _settings(self) -> JsonObject:
        """What the task and the promise of equal trees from equal seeds ask of LightGBM."""
        if self.classes == 0:
            task: JsonObject = {"objective": "regression", "metric": "l2"}
        elif self.classes == 2:
            task = {"objective": "binary", "metric": "binary_logloss"}
        else:
            task = {"objective": "multiclass", "metric": "multi_logloss", "num_class": self.classes}
        own = {"deterministic": True, "force_row_wise": True, "verbosity": -1}
        return {**task, **own, "num_threads": torch.get_num_threads()}

    def _table(self, numbers: Tensor, ids: Tensor, target: Tensor, weight: Tensor | None) -> lightgbm.Dataset:
        import lightgbm

        first = numbers.shape[1]
        return lightgbm.Dataset(
            _join_columns(numbers, ids),
            label=target.cpu().numpy(),
            weight=None if weight is None else weight.cpu().numpy(),
            categorical_feature=list(range(first, first + ids.shape[1])),
        )

    # -- state ---------------------------------------------------------------------------------------------

    def _note_text(self, text: str) -> None:
        self._text = text[: text.index(_END) + len(_END)]
        marks = (line.partition("=") for line in self._text.splitlines())
        count = sum(int(value) for name, _, value in marks if name == "num_leaves")
        self.leaves = nn.Parameter(self.leaves.new_zeros(count), requires_grad=False)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        own = np.frombuffer(self._text.encode(), np.uint8).copy()
        destination[prefix + _TEXT] = torch.from_numpy(own)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, local_metadata: object, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        import lightgbm

        key = prefix + _TEXT
        unexpected_keys += [name for name in state_dict if name.startswith(prefix) and name != key]
        if key not in state_dict:
            missing_keys.append(key)
            return
        try:
            text = state_dict[key].cpu().numpy().tobytes().decode()
            self._grown = lightgbm.Booster(model_str=text) if text else None
            self._note_text(text or _END)
        except (ValueError, lightgbm.basic.LightGBMError) as error:
            error_msgs.append(f"{key} must be trees in LightGBM's text format: {error}")
        self._growing = False


def _join_columns(numbers: Tensor, ids: Tensor) -> Rows:
    """Numbers, then ids, as one array; float32 holds ids up to 2^24."""
    return cast("Rows", torch.cat([numbers, ids.to(numbers.dtype)], dim=1).cpu().numpy())
