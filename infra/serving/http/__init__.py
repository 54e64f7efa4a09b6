"""How requests come in and go out: connections, who may ask, paths, documents."""
