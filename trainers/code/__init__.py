"""People's own code: importing it, naming it, and the digest of its source."""
