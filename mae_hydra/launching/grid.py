"""Hydra's own sweeper, with values that are taken together (`sweep.zip`), and a look at all jobs before the first."""

from collections.abc import Sequence
from itertools import chain, product
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from mae_hydra.errors import UserError
from mae_hydra.launching.look_ahead import check_jobs
from mae_hydra.launching.sweep_jobs import HOME

Plugins.instance()  # loads the module below once more, and with it another class of that name
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: E402

Words = list[str]


class Grid(BasicSweeper):
    """Every combination of what is swept; of the keys in `sweep.zip` the first values, then the second ones."""

    __module__ = HOME

    def split_arguments(self, overrides: list[Override], max_batch_size: int | None) -> list[list[Words]]:  # type: ignore[override]
        axes: dict[str, list[Words]] = {}
        for override in overrides:
            [axes[override.get_key_element().lstrip("+")]] = super().split_arguments([override], None)
        zipped = self._zipped(axes)
        if zipped:
            together = zip(*(axes.pop(name) for name in zipped), strict=True)
            axes["sweep.zip"] = [list(chain(*words)) for words in together]
        jobs = [list(chain(*words)) for words in product(*axes.values())]
        return list(self.split_overrides_to_chunks(jobs, max_batch_size))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Look at the jobs of all batches before the first one."""
        if self.batch_index == 1:
            check_jobs(self.hydra_context, self.config, list(chain(*self.overrides or [batch])))

    def _zipped(self, axes: dict[str, list[Words]]) -> list[str]:
        """The keys whose values are taken together; UserError where there are not as many of each."""
        found: Any = OmegaConf.select(self.config or OmegaConf.create(), "sweep.zip") or []
        names = [str(name) for name in found] if OmegaConf.is_list(found) else []
        lengths = {name: len(axes.get(name, "")) for name in names}
        if found and (len(lengths) < 2 or min(lengths.values()) < 2):
            swept = ", ".join(name for name, words in axes.items() if len(words) > 1)
            raise UserError(
                f"sweep.zip={found} must name two keys or more that have several values; those are: {swept}"
            )
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise UserError(f"sweep.zip takes values together, so its keys need equally many: {told}")
        return names
