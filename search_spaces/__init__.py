"""Search spaces: the YAML files and their reading into distributions."""
