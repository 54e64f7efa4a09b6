"""How sweeps stand: what the ledger says of them and of their trials, for people to read."""
