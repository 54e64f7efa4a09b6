"""The cases of the catalogue, a module a group; importing one enters its cases."""
