"""`velodrome compress`: a smaller version of a kept model, as a trial of its own."""
