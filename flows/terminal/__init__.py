"""Drawing alone: tables, progress, formatting, JSON."""
