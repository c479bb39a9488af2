"""TensorBoard, in `tensorboard/` of the run directory. The library is imported when a run starts, and not before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mae_hydra.types import Evaluation


class TensorBoard:
    """Scalars, pictures and the configuration; what a resumed run takes again replaces what was there."""

    def __init__(self) -> None:
        self._writer: Any = None

    def start(self, run_dir: str | Path, config: Mapping[str, Any], step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("logger=tensorboard needs a package of its own: pip install tensorboard") from error
        self._writer = SummaryWriter(str(Path(run_dir) / "tensorboard"), purge_step=step + 1 if step else None)
        if not step:
            lines = "".join(f"    {line}\n" for line in _lines(config))
            self._writer.add_text("config", lines, 0)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def evaluation(self, step: int, name: str, evaluation: Evaluation) -> None:
        self.scalars(step, {f"val/{scalar}": value for scalar, value in evaluation.scalars.items()})
        for key, picture in evaluation.pictures.items():
            if not picture.maps and not picture.for_report:
                self._writer.add_image(f"{name}/{key}", picture.pixels, step, dataformats="HWC")
        self._writer.flush()

    def finish(self, state: str, summary: Mapping[str, Any]) -> None:
        if self._writer is not None:
            self._writer.close()


def _lines(config: Mapping[str, Any], depth: int = 0) -> list[str]:
    """The configuration as indented lines, which Markdown shows as they are."""
    lines: list[str] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{'  ' * depth}{key}:", *_lines(value, depth + 1)]
        else:
            lines.append(f"{'  ' * depth}{key}: {value}")
    return lines
