"""The registry: versions and aliases of models, and the chain of records of who moved what, when, and why."""
