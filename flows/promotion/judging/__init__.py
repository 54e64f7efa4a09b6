"""One promotion: candidate, evaluation, decision, outcome."""
