"""The sweep file: its schema, its reading, and what it resolves to."""
