"""What an evaluation leaves behind: tables on the screen and as files, and figures."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.table import Table

from mae_hydra import atomic
from mae_hydra.configuration.from_file import read_rows
from mae_hydra.data import ImageData
from mae_hydra.evaluation.mean_iou import Counts, score
from mae_hydra.evaluation.metrics import segmentation_scores
from mae_hydra.evaluation.pictures import channels_last, segmentation_sheet
from mae_hydra.evaluation.resumable_counts import Tally
from mae_hydra.experiment.read_runs import with_unit
from mae_hydra.experiment.status import write_json
from mae_hydra.figures import class_bars, confusion_matrix, save
from mae_hydra.names import clean
from mae_hydra.terminal import plain_console
from mae_hydra.types import Evaluation, Picture

LISTED = 30  # pairs of classes beside a large confusion matrix
SHOWN = 6  # best and worst pictures each
ROWS_OF_A_COLUMN = 50  # of the table on the screen
WORST = 20  # classes of a classifier on the screen


class ImageScore(NamedTuple):
    """One image. `mean_iou` is over the classes that it holds or that were predicted on it, in percent."""

    number: int
    name: str
    mean_iou: float
    pixel_accuracy: float


@dataclass(frozen=True)
class EvaluationReport:
    """`scalars` by name; `classes` and `images`: rows of tables, empty where the task has none."""

    scalars: Mapping[str, float]
    classes: Sequence[Mapping[str, Any]] = ()
    images: Sequence[ImageScore] = ()
    confusions: torch.Tensor | None = None
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @classmethod
    def of_tally(cls, tally: Tally, data: ImageData, numbers: Mapping[str, int]) -> "EvaluationReport":
        """Sums over the images of `numbers` (stamp -> position in the set), counted by whichever process."""
        matrix = torch.zeros(data.num_classes, data.num_classes, dtype=torch.int64)
        boundaries: torch.Tensor | None = None
        images = []
        for each in (entry for entry in tally.entries() if entry.stamp in numbers):
            matrix += each.confusions
            if each.boundaries is not None:
                boundaries = each.boundaries if boundaries is None else boundaries + each.boundaries
            alone = segmentation_scores(each.confusions)
            images.append(ImageScore(numbers[each.stamp], each.name, alone.mean_iou, alone.pixel_accuracy))
        scalars, classes = score(Counts(matrix, boundaries), data.class_names)
        return cls(scalars, classes, sorted(images), matrix)

    @classmethod
    def of_evaluation(cls, evaluation: Evaluation) -> "EvaluationReport":
        return cls(evaluation.scalars, pictures=evaluation.pictures, tables=evaluation.tables)


def write_report(report: EvaluationReport, data: ImageData, evaluator: Any, model: Any, folder: Path) -> None:
    """Tables as CSV and JSON, and figures, into `folder`."""
    figures = folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in report.pictures.items():
        save(picture.pixels, figures / f"{name}.png")
    for name, rows in report.tables.items():
        write_json(folder / f"{name}.json", list(rows))
        _write_csv(folder / f"{name}.csv", rows)
    if report.confusions is None:
        return
    write_json(folder / "per_class.json", list(report.classes))
    _write_csv(folder / "per_class.csv", report.classes)
    _write_csv(folder / "per_image.csv", [image._asdict() for image in report.images])
    counted = f"{len(report.images)} images, mIoU {report.scalars['mIoU']:.2f} %"
    pairs = confused_pairs(report.confusions, data.class_names)
    _write_csv(folder / "confusions.csv", pairs)
    largest = [f"{pair['labelled']} → {pair['predicted']}   {pair['percent']:.1f} %" for pair in pairs[:LISTED]]
    title = f"Which class was taken for which: {counted}"
    matrix = confusion_matrix(report.confusions.numpy(), data.class_names, title=title, largest=largest)
    save(matrix, figures / "confusion_matrix.png")
    values = {str(row["name"]): row["IoU"] for row in report.classes}
    save(class_bars({"IoU": values}, title=f"IoU of every class: {counted}"), figures / "classes.png")
    ranked = sorted((image for image in report.images if not math.isnan(image.mean_iou)), key=lambda i: i.mean_iou)
    for name, chosen in (("worst", ranked[:SHOWN]), ("best", ranked[::-1][:SHOWN])):
        if chosen:
            save(_sheet(name, chosen, data, evaluator, model), figures / f"{name}.png")


def confused_pairs(confusions: torch.Tensor, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Every pair of classes that was confused, those of most pixels first; `percent` of the labelled class's pixels."""
    totals = confusions.sum(1)
    pairs = [
        {
            "labelled": class_names[row],
            "predicted": class_names[column],
            "pixels": int(confusions[row, column]),
            "percent": 100 * float(confusions[row, column] / totals[row]),
        }
        for row, column in confusions.nonzero().tolist()
        if row != column
    ]
    return sorted(pairs, key=lambda pair: -pair["pixels"])


def _sheet(name: str, chosen: Sequence[ImageScore], data: ImageData, evaluator: Any, model: Any) -> Any:
    samples = [data.validation[image.number] for image in chosen]
    maps = {
        "ground truth": [torch.as_tensor(sample.label).numpy() for sample in samples],
        "prediction": [evaluator.inference.predict(model, [sample.image])[0].cpu().numpy() for sample in samples],
    }
    values = ", ".join(f"{image.mean_iou:.0f}" for image in chosen)
    return segmentation_sheet(
        [channels_last(sample.image) for sample in samples],
        maps,
        data,
        f"The {len(chosen)} {name} images by their own mIoU: {values} %",
    )


def _write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    rows = list(rows)
    with (
        atomic.writing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def show(results: Mapping[str, Any], folder: Path) -> None:
    """Print the tables of the classes, where there are any, and the scores."""
    console = plain_console()
    numbers = {name: value for name, value in results.items() if isinstance(value, float)}
    for place in dict.fromkeys(folder / name.rpartition("/")[0] for name in numbers):  # of several evaluators each
        rows = read_rows(place / "per_class.json", ("accuracy", "IoU"))
        if rows and {"accuracy", "IoU"} & rows[0].keys():
            console.print(accuracy_table(rows) if "accuracy" in rows[0] else class_table(rows))
    line = "   ".join(f"{name} {with_unit(name, value)}" for name, value in numbers.items())
    images, there = results["images"], results.get("protocol", {}).get("validation_images", results["images"])
    console.print(f"{line}   ({images if images == there else f'{images} of {there}'} images)", highlight=False)
    console.print(f"tables, figures and the protocol: {folder}", soft_wrap=True, highlight=False)


def accuracy_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Accuracy of the classes that occur, the worst first; of many classes these alone."""
    known = sorted((row for row in rows if row["images"]), key=lambda row: row["accuracy"])
    title = "Per class, %" if len(known) <= WORST else f"Per class, %: the {WORST} worst of {len(known)}"
    table = Table("class", title=title, title_justify="left")
    for name in ("accuracy", "images"):
        table.add_column(name, justify="right")
    table.add_column("most often taken for")
    for row in known[:WORST]:
        table.add_row(
            clean(row["name"]), f"{row['accuracy']:.1f}", str(row["images"]), clean(row["mistaken_for"] or "–")
        )
    return table


def class_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Per-class scores; many classes stand in several columns side by side."""
    scores = [name for name in ("IoU", "Acc", "Dice", "Precision", "BIoU") if name in rows[0]]
    columns = -(-len(rows) // ROWS_OF_A_COLUMN)
    height = -(-len(rows) // columns)
    table = Table(title="Per class, %", title_justify="left")
    for _ in range(columns):
        table.add_column("class", overflow="ellipsis", max_width=24 if columns == 1 else 16, no_wrap=True)
        for name in scores:
            table.add_column(name, justify="right", no_wrap=True)
    for line in range(height):
        cells: list[str] = []
        for row in rows[line::height]:
            cells += [clean(row["name"]), *("–" if row[name] is None else f"{row[name]:.1f}" for name in scores)]
        table.add_row(*cells)
    return table
