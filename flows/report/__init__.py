"""`velodrome report`: one page on a sweep that needs nothing but a browser."""

from flows.report.report import Report, report

__all__ = ["Report", "report"]
