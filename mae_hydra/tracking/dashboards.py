"""W&B workspaces and a report, made by code: what a person would otherwise click together for every project.

Built without an account; saving one needs a login. wandb-workspaces is imported when it is used, and not before.
"""

import logging
import re
import warnings
from collections.abc import Sequence
from typing import Any

from mae_hydra.names import clean

log = logging.getLogger("mae_hydra")

PICTURES = 8  # as many as evaluators show
KINDS = ("pretrain", "segment", "classify", "sweep")


def workspace(
    kind: str, *, entity: str, project: str, group: str | None, keys: Sequence[str], metric: str, mode: str
) -> Any:
    """The workspace of a `kind`: one of KINDS; a "sweep" is over configuration `keys`, judged by `metric`.

    `mode`: "min" or "max", which value of the metric is a run's best. `group`: only runs of this sweep. It is a
    `wandb_workspaces.workspaces.Workspace`.
    """
    spaces, _ = _library()
    sections = {
        "pretrain": lambda: [_losses("val/loss"), _features(), _pictures("validation/reconstructions"), _course()],
        "segment": lambda: [_scores(), _masks(), _losses(), _course()],
        "classify": lambda: [_accuracies(), _answers(), _losses("val/loss"), _course()],
        "sweep": lambda: [_settings(keys, metric, mode), _judged(metric), _course()],
    }[kind]()
    names = {"pretrain": "Pre-training", "segment": "Segmentation", "classify": "Classification"}
    filters = [f"Metric('Group') == {group!r}"] if group else []
    filters += [f"Metric('JobType') == '{kind}'"] if kind in names else []
    return spaces.Workspace(
        entity=entity,
        project=project,
        name=names.get(kind, re.sub(r"[^\w .-]", "-", f"Sweep {group or ''}".strip(), flags=re.ASCII)),
        sections=[_section(*section) for section in sections],
        settings=spaces.WorkspaceSettings(x_axis="step", smoothing_type="none"),
        runset_settings=spaces.RunsetSettings(filters=" and ".join(filters)),
    )


def report(
    *,
    entity: str,
    project: str,
    group: str | None,
    keys: Sequence[str],
    metric: str,
    mode: str,
    over_seeds: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None,
) -> Any:
    """A report with the panels of the sweep, to be written on by people.

    `over_seeds`: head and rows of the table of means and deviations, which W&B has no panel for.
    """
    _, reports = _library()
    filters = f"Metric('Group') == {group!r}" if group else ""
    runs = reports.Runset(entity=entity, project=project, name=group or "all runs", filters=filters)
    blocks: list[Any] = [reports.TableOfContents()]
    if over_seeds is not None:
        blocks += [reports.H2("Mean ± standard deviation over seeds"), reports.MarkdownBlock(_markdown(*over_seeds))]
    for title, panels in (_settings(keys, metric, mode), _judged(metric), _course()):
        blocks += [reports.H2(title), reports.PanelGrid(runsets=[runs], panels=_laid_out(panels))]
    return reports.Report(
        entity=entity,
        project=project,
        title=f"{group or project}: {metric}",
        description="Masked autoencoders and UPerNet, by mae_hydra",
        blocks=blocks,
    )


def described(made: Any) -> dict[str, Any]:
    """What W&B would be sent, in plain values; of a report its panels, because its runs are looked up on the server."""
    if hasattr(made, "blocks"):
        panels = [panel for block in made.blocks for panel in getattr(block, "panels", [])]
        texts = [block.text for block in made.blocks if type(block).__name__ == "MarkdownBlock"]
        return {
            "title": made.title,
            "texts": texts,
            "panels": [panel._to_model().model_dump(mode="json") for panel in panels],
        }
    description: dict[str, Any] = made._to_model().model_dump(mode="json", by_alias=True)
    return description


def _markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; what comes from a run is a text of one line, in which no character is markup."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(cell: Any) -> str:
    text = "" if cell is None else clean(cell)
    return text if text == "---" else re.sub(r"([\\`*_{}\[\]<>()#+!|~])", r"\\\1", text)


def _library() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it announces its own news at import
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as spaces
    return spaces, reports


def _section(title: str, panels: list[Any]) -> Any:
    spaces, _ = _library()
    return spaces.Section(name=title, panels=panels, is_open=True)


def _laid_out(panels: list[Any]) -> list[Any]:
    """Three beside each other: in a report panels have places."""
    _, reports = _library()
    for number, panel in enumerate(panels):
        panel.layout = reports.Layout(x=8 * (number % 3), y=6 * (number // 3), w=8, h=6)
    return panels


def _line(title: str, *metrics: str, log_y: bool = False) -> Any:
    _, reports = _library()
    return reports.LinePlot(title=title, x="step", y=list(metrics), log_y=log_y)


def _losses(*validation: str) -> tuple[str, list[Any]]:
    return "Loss", [_line("training", "train/loss"), *(_line("validation", metric) for metric in validation)]


def _scores() -> tuple[str, list[Any]]:
    return "Scores", [_best("mIoU"), *(_line(name, f"val/{name}") for name in ("mIoU", "mAcc", "aAcc"))]


def _accuracies() -> tuple[str, list[Any]]:
    return "Accuracy", [_best("top1"), *(_line(name, f"val/{name}") for name in ("top1", "top5"))]


def _features() -> tuple[str, list[Any]]:
    """What evaluation=pretrain_probe and pretrain_dense_probe say of the encoder."""
    _, reports = _library()
    panels = [_line("nearest neighbors", "val/knn", "val/knn_mIoU"), _line("linear", "val/linear", "val/linear_mIoU")]
    panels.append(_line("effective rank (RankMe)", "val/rankme"))
    keys = ["probe/neighbours", "probe/dense_probe"]
    return "Features", [*panels, reports.MediaBrowser(title="probes", media_keys=keys, num_columns=1)]


def _best(score: str) -> Any:
    _, reports = _library()
    return reports.ScalarChart(title=f"best {score}", metric=f"max/val/{score}", groupby_aggfunc="max")


def _judged(metric: str) -> tuple[str, list[Any]]:
    """What the runs of a sweep are judged by, and what they were trained on."""
    judged = {"val/mIoU": _scores, "val/top1": _accuracies}
    return judged[metric]() if metric in judged else _losses(metric)


def _masks() -> tuple[str, list[Any]]:
    _, reports = _library()
    keys = ["validation/segmentation", *(f"validation/segmentation_{number}" for number in range(PICTURES))]
    panels = [reports.MediaBrowser(title="masks to switch on and off", media_keys=keys, num_columns=4)]
    panels.append(reports.MediaBrowser(title="confusions", media_keys=["validation/confusions"], num_columns=1))
    panels.append(reports.WeavePanelSummaryTable(table_name="validation/per_class"))
    return "Pictures and classes", panels


def _answers() -> tuple[str, list[Any]]:
    _, reports = _library()
    title, panels = _pictures("validation/predictions")
    return f"{title} and classes", [*panels, reports.WeavePanelSummaryTable(table_name="validation/per_class")]


def _pictures(key: str) -> tuple[str, list[Any]]:
    _, reports = _library()
    return "Pictures", [reports.MediaBrowser(title="validation images", media_keys=[key], num_columns=1)]


def _course() -> tuple[str, list[Any]]:
    panels = [_line("learning rate", "train/lr"), _line("norm of the gradient", "train/grad_norm", log_y=True)]
    panels += [_line("images a second", "perf/images_per_second"), _line("memory, GB", "perf/memory_gb")]
    panels.append(_line("share of the peak (MFU)", "perf/mfu"))
    return "Course and cost", [*panels, _line("skipped steps", "train/nonfinite_steps")]


def _settings(keys: Sequence[str], metric: str, mode: str) -> tuple[str, list[Any]]:
    _, reports = _library()
    metric = f"{mode}/{metric}"  # of a score with a best value W&B keeps {min, max, last}, which no panel can draw
    columns = [reports.ParallelCoordinatesPlotColumn(metric=reports.Config(key)) for key in keys]
    columns.append(reports.ParallelCoordinatesPlotColumn(metric=reports.SummaryMetric(metric)))
    panels = [reports.ParallelCoordinatesPlot(title="settings and result", columns=columns)]
    panels += [
        reports.ScatterPlot(title=key, x=reports.Config(key), y=reports.SummaryMetric(metric), regression=True)
        for key in keys
    ]
    panels.append(reports.ParameterImportancePlot(with_respect_to=metric))
    return "What each setting is worth", [*panels, reports.RunComparer(diff_only="split")]
