"""`velodrome export`: a model or a sweep as files."""
