"""From a source's columns to a data set: what each is for, and which part each row goes to."""
