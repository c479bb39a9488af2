"""Accuracy by groups of images: ImageNet-C's corruptions and severities (arXiv 1903.12261)."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mae_hydra.distributed import gather_objects
from mae_hydra.errors import UserError


def group_of(name: str) -> str:
    """ "gaussian_noise/3/n01440764/x.jpg" -> "gaussian_noise/3": what stands before the folder of the class."""
    return "/".join(name.split("/")[:-2]) or "all"


class Corruptions:
    """Counts of one evaluation. `baseline`: a file with a line "<corruption> <error in percent>" for each."""

    def __init__(self, baseline: str | None) -> None:
        self.baseline = None if baseline is None else read_baseline(Path(baseline).expanduser())
        self._counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, names: Sequence[str], right: Sequence[bool]) -> None:
        for name, good in zip(names, right, strict=True):
            count = self._counts[group_of(name)]
            count[0] += good
            count[1] += 1

    def scores(self) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Scalars and the table of all groups, over all processes; the counts begin anew.

        `mean_error`: the mean over corruptions of their mean over severities. `mCE`: of those, each divided by the
        baseline's error of the same corruption. All in percent.
        """
        counts = _together({name: tuple(count) for name, count in self._counts.items()})
        self._counts.clear()
        table = [
            {"name": name, "top1": 100 * right / images, "images": images}
            for name, (right, images) in sorted(counts.items())
        ]
        errors: dict[str, list[float]] = defaultdict(list)
        for row in table:
            errors[str(row["name"]).split("/")[0]].append(100 - row["top1"])  # type: ignore[operator]
        means = {name: sum(of_group) / len(of_group) for name, of_group in errors.items()}
        scalars = {"mean_error": sum(means.values()) / len(means)}
        if self.baseline is not None:
            missing = sorted(means.keys() - self.baseline.keys())
            if missing:
                raise UserError(f"the baseline has no error of {', '.join(missing)}")
            relative = [100 * error / self.baseline[name] for name, error in means.items()]
            scalars["mCE"] = sum(relative) / len(relative)
        return scalars, table


def read_baseline(path: Path) -> dict[str, float]:
    """Error in percent by corruption."""
    if not path.is_file():
        raise UserError(f"there is no file {path}, which should have a line '<corruption> <error in percent>' for each")
    errors = {}
    for line in path.read_text().splitlines():
        words = line.split()
        try:
            name, error = words
            errors[name] = float(error)
        except ValueError:
            raise UserError(f"{path}: a line must be '<corruption> <error in percent>', got {line!r}") from None
        if not 0 < errors[name] <= 100:
            raise UserError(f"{path}: the error of {name} must lie in (0, 100] percent, got {error}")
    return errors


def _together(counts: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
    """The counts of all processes, which may have seen different groups."""
    summed: dict[str, tuple[int, int]] = {}
    for of_process in gather_objects(counts):
        for name, (right, images) in of_process.items():
            before = summed.get(name, (0, 0))
            summed[name] = (before[0] + right, before[1] + images)
    return summed
