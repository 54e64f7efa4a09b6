"""The text of a new sweep file: what is proposed for data or for an objective."""
