"""One page that tells what a run or a sweep found, and can be mailed: `mae-hydra report`."""

from mae_hydra.report.report import write_comparison, write_report

__all__ = ["write_comparison", "write_report"]
