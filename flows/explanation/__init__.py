"""`velodrome explain`: where a model's answers come from, as pictures, a table and a page."""
