"""`velodrome confirm --folds K`: a trial's configuration without each share of the rows, for `inspect`."""

from __future__ import annotations

from collections.abc import Callable

from flows.config.lookup import sweep_in_ledger
from flows.confirmation.result import Confirmation, ConfirmedFolds, ConfirmedRow, Scores
from flows.inspection.sources import FoldSource, open_fold_source
from flows.sweeps.views.states import count_test_reads
from flows.terminal.next_command import next_command
from infra.errors import WrongInput
from infra.home import Home

OVER_FOLDS = "folds"


def confirm_folds(
    name: str, *, folds: int, trial: int | None, family: str | None, home: Home, say: Callable[[str], None]
) -> Confirmation:
    """Trains what is missing of a trial's folds, keeps the out-of-fold probabilities, and says how good the
    models are on the rows that they did not see.
    """
    source = open_fold_source(name, trial=trial, family=family, folds=folds, home=home, say=say)
    _, outcomes = source.train(say)
    chosen = source.trial
    values = tuple(outcome.accuracy for outcome in outcomes)
    row = ConfirmedRow(
        family=chosen.family, number=chosen.number, params=chosen.params,
        validation=Scores(values=values, over=OVER_FOLDS), test=Scores(values=()),
    )  # fmt: skip
    kept = ConfirmedFolds(
        count=folds, trained=sum(not outcome.kept for outcome in outcomes), rows=len(source.rows),
        out=str(source.place), next=_next_command(source),
    )  # fmt: skip
    return Confirmation(
        sweep=source.row.label, metric="val/accuracy", direction="maximize", rows=(row,),
        test_reads=_count_test_reads(name, home), folds=kept,
    )  # fmt: skip


def refuse_beside_folds(top: int | None, each_family: bool, seeds: int | None, address: str | None) -> None:
    """Folds are of one trial, have one seed, and are trained in this process."""
    given = {"--top": top, "--each-family": each_family or None, "--seeds": seeds, "--address": address}
    for option, value in given.items():
        if value is not None:
            raise WrongInput(f"--folds must stand without {option}", "both", "leave one out")


def _next_command(source: FoldSource) -> str:
    chosen, row = source.trial, source.row
    asked = f"inspect {row.label} --family {chosen.family} --trial {chosen.number} --folds {source.folds}"
    return next_command(asked, row.spec.ledger)


def _count_test_reads(name: str, home: Home) -> int:
    with sweep_in_ledger(name, home) as (ledger, row):
        return count_test_reads(ledger, row)
