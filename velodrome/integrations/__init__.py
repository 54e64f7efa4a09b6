"""Callbacks for loops that belong to other libraries. Each module needs its library."""
