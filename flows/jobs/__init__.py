"""`velodrome submit`: a sweep as a job of a cluster."""
