"""Training functions of people's own: the `trial` they get."""
