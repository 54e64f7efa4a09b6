"""The parts of a promotion: the candidate, the examples it is judged on, what is told to others."""
