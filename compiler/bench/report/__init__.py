"""``burnish bench --report``: what a bench found as one page that opens without a network."""

from burnish.bench.report.page import write_report

__all__ = ["write_report"]
