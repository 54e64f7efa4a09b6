"""What the numbers of several models, or of one model on several seeds, allow to be said.

Pure functions of scores: no files, no ledger. A *score* is one example's share in a metric that is a mean
over examples (right or wrong, minus the squared error, the log likelihood), the higher the better. Two models
are compared on the same examples in the same order, so every test of two is a paired one.
"""

from flows.statistics.accuracies import compare_f1, f1_values, mcnemar
from flows.statistics.bootstrap import bootstrap_of_metric, paired_bootstrap
from flows.statistics.power import examples_needed
from flows.statistics.ranking import RankingEntry, difference_p_value, holm
from flows.statistics.two_levels import interval_over_seeds, two_level_difference, two_level_interval
from flows.statistics.verdicts import Interval, PairedComparison

__all__ = [
    "Interval",
    "PairedComparison",
    "RankingEntry",
    "bootstrap_of_metric",
    "compare_f1",
    "difference_p_value",
    "examples_needed",
    "f1_values",
    "holm",
    "interval_over_seeds",
    "mcnemar",
    "paired_bootstrap",
    "two_level_difference",
    "two_level_interval",
]
