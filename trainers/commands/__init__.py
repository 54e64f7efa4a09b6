"""Any command as a family: called with the configuration, its metrics from what it prints or writes."""
