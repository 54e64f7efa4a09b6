"""What a sampler learns from earlier sweeps before its first question."""

from __future__ import annotations

from infra.ledger import views
from infra.ledger.store import Ledger
from infra.search.study import Studies
from infra.spec import SweepSpec


def teach_earlier_trials(ledger: Ledger, spec: SweepSpec, studies: Studies) -> int:
    """Tells the studies of the sweep's families what trials of `warm_start` came to; how many they took."""
    families, taught = {family.name for family in spec.families}, 0
    for label in spec.warm_start:
        earlier = views.find_sweep(ledger, label)
        for trial in views.trials(ledger, earlier.id) if earlier else ():
            if trial.state == "complete" and trial.objective and trial.family in families:
                known = studies.add_trial(spec.family(trial.family), trial.params, trial.objective)
                taught += known is not None
    return taught
