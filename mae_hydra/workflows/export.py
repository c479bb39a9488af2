"""From a trained model to one file that runs without this program: an ONNX model, or a program of torch.export.

Shape letters: B batch, C channels (or classes), N patches, D width, H W pixels, h w grid.
"""

import importlib.util
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import mae_hydra
from mae_hydra import atomic
from mae_hydra.errors import UserError
from mae_hydra.models import normalise
from mae_hydra.names import names_or_numbers
from mae_hydra.recorded.pixel_range import recorded_range
from mae_hydra.types import DEFAULT_SIZE, Answer, answers, channels_of, image_size_of
from mae_hydra.weights import read_checkpoint
from mae_hydra.workflows import entry

FORMATS = {".onnx": "onnx", ".pt2": "torch"}  # by the ending of the file
OUTPUTS: dict[Answer | None, tuple[str, ...]] = {  # by what a model answers; the first is the default
    "pixels": ("logits", "labels", "maps"),
    "images": ("logits", "labels", "tokens", "maps"),
    "reconstruction": ("tokens", "maps"),
    None: ("tokens", "maps"),
}
HOLDS: dict[Answer | None, str] = {"pixels": "a UPerNet", "reconstruction": "a masked autoencoder"}
CLASSES = ("logits", "labels")
MOST_CLASSES_OF_MAPS = 256
MOST_BYTES = 2**31  # an ONNX file is a protocol buffer, which ends there
CHECKED_BATCHES = 1, 3
TOLERANCE = 1e-5  # of the largest value: other kernels add up in another order, through a whole network
MOST_PIXELS = 1e-4  # share of pixels that may get another class: where two classes are equally likely, rounding decides
METADATA = "metadata.json"  # inside a .pt2


@dataclass(frozen=True)
class Options:
    """What to write. `batch`: a number of images, None for any. `input`: "uint8" or "float" (already normalised)."""

    form: str
    output: str | None
    input: str
    batch: int | None


class Exported(nn.Module):
    """A model as a function of images: only what the output needs, normalisation included.

    `images`: uint8 (B, C, H, W), or float32 and already normalised where `with_normalisation` is False. Of a
    segmentation model "logits" are (B, C, H, W) and "labels" uint8 (B, H, W), of a classifier (B, C) and int64 (B,).
    "tokens" are (B, 1 + N, D), "maps" a tuple of (B, D, h, w). What `model` needs in training alone is taken off it.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, model: Any, output: str, with_normalisation: bool) -> None:
        super().__init__()
        encoder: Any = getattr(model, "encoder", model)
        self.output, self.image_shape = output, (channels_of(model), *(image_size_of(model) or DEFAULT_SIZE))
        self.classes = torch.uint8 if answers(model) == "pixels" else torch.int64
        for name in getattr(model, "training_only", ()):
            setattr(model, name, None)
        self.part: Any = model if output in CLASSES else encoder
        for name in ("mean", "std"):  # a whole model normalises what is uint8 by itself
            needed = with_normalisation and self.part is encoder
            self.register_buffer(name, getattr(model, name) if needed else None)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.mean is not None and self.std is not None:
            images = normalise(images, self.mean, self.std)
        if self.output == "tokens":
            return self.part.tokens(images)
        if self.output == "maps":
            return tuple(self.part.feature_maps(images))
        logits = self.part(images)
        return logits if self.output == "logits" else logits.argmax(1).to(self.classes)


def export(path: str | Path, out: Path, options: Options, overrides: tuple[str, ...] = ()) -> Exported:
    """Write the model of `path` to `out`, whole or not at all; gives what was exported, to compare with."""
    checkpoint = read_checkpoint(path, prefer="best", download=True)
    model = entry.model_from(checkpoint, *overrides)
    possible = _possible(model)
    output = options.output or possible[0]
    _check_fit(path, model, possible, output, options)
    function = Exported(model, output, with_normalisation=options.input == "uint8").eval().requires_grad_(False)
    facts = describe(model, checkpoint.meta, output, options)
    program = trace(function, options)
    with atomic.writing(out) as temporary:
        if options.form == "onnx":
            _write_onnx(program, temporary, facts, _names(program, output))
        else:
            with open(temporary, "wb") as file:
                torch.export.save(program, file, extra_files={METADATA: json.dumps(facts)})
    return function


def trace(function: Exported, options: Options) -> torch.export.ExportedProgram:
    """Export a function by torch.export, for any batch where `options.batch` names none."""
    example = (example_images(function, options.batch or 2, options.input),)
    shapes = None if options.batch else {"images": {0: torch.export.Dim("batch", min=1)}}
    with torch.no_grad():
        return torch.export.export(function, example, dynamic_shapes=shapes)


def example_images(function: Exported, count: int, kind: str) -> Tensor:
    """Random pictures (B, C, H, W) as the exported program takes them, the same on every call."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, *function.image_shape)
    if kind == "uint8":
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return torch.randn(shape, generator=generator)


def describe(model: Any, meta: Mapping[str, Any], output: str, options: Options) -> dict[str, Any]:
    """What somebody must know who has nothing but the file."""
    encoder: Any = getattr(model, "encoder", model)
    height, width, channels = *(image_size_of(model) or DEFAULT_SIZE), channels_of(model)
    scale = "uint8, 0..255, normalized inside" if options.input == "uint8" else "float32, normalized already"
    shape = f"({options.batch or 'batch'}, {channels}, {height}, {width})"
    facts = {
        "program": f"mae_hydra {mae_hydra.__version__}",
        "input": f"images: {scale}; {shape}, {'RGB' if channels == 3 else 'channels first'}",
        "output": output,
        "image_size": [height, width],
    }
    if hasattr(encoder, "patch_size"):
        facts["patch_size"] = encoder.patch_size
    pixel_range = recorded_range(meta)
    if pixel_range is not None:
        facts["range"] = pixel_range.pairs()  # of pictures of more than 8 bits: what becomes 0 and 255
    if hasattr(model, "mean"):
        facts |= {name: [round(float(value), 6) for value in getattr(model, name)] for name in ("mean", "std")}
    if output in CLASSES:
        count = model.num_classes
        facts["class_names"] = list(names_or_numbers(meta.get("class_names"), count))
        if len(meta.get("palette") or ()) == count:
            facts["palette"] = [[int(value) for value in colour] for colour in meta["palette"]]
    return facts


def compare(out: Path, function: Exported, options: Options) -> dict[str, float]:
    """Run the file in its own runtime at several batch sizes; the largest difference from the model, by output name.

    In units of the largest value of that output; of labels, the share of pixels that differ. UserError where too large.
    """
    run = (_onnx_runner if options.form == "onnx" else _torch_runner)(out)
    errors: dict[str, float] = {}
    for count in (options.batch,) if options.batch else CHECKED_BATCHES:
        images = example_images(function, count, options.input)
        with torch.no_grad():
            made = function(images)
        expected = made if isinstance(made, tuple) else (made,)
        names = _output_names(function.output, len(expected))
        for name, ours, theirs in zip(names, expected, run(images), strict=True):
            found = _difference(ours, theirs)
            errors[name] = found if math.isnan(found) else max(errors.get(name, 0.0), found)  # nan is never the larger
    for name, difference in errors.items():
        most = MOST_PIXELS if name == "labels" else TOLERANCE
        if not difference <= most:
            raise UserError(
                f"{out} was written, but its {name} differ from the model's by {difference:.1e} (allowed: {most:.0e}); "
                "do not use it, and report which model it was"
            )
    return errors


def _difference(ours: Tensor, theirs: Tensor) -> float:
    if not ours.is_floating_point():
        return float((ours != theirs).double().mean())
    largest = ours.abs().max()
    return float((ours.double() - theirs.double()).abs().max() / (1 if largest == 0 else largest))


def need(*packages: str) -> None:
    """UserError with the way out where a package of the extra `export` is missing."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        raise UserError(
            f"this needs {names}; pip install 'mae-hydra[export]', or write a .pt2, which needs torch alone"
        )


def _possible(model: Any) -> tuple[str, ...]:
    """What a model can give: tokens where its encoder has them, maps where it has an encoder."""
    encoder = getattr(model, "encoder", model)
    offered = {"tokens": "tokens", "maps": "feature_maps"}
    return tuple(name for name in OUTPUTS[answers(model)] if name in CLASSES or hasattr(encoder, offered[name]))


def _check_fit(path: str | Path, model: Any, possible: tuple[str, ...], output: str, options: Options) -> None:
    if output not in possible:
        alone = "an encoder alone" if hasattr(model, "tokens") else f"a {type(model).__name__}"
        raise UserError(
            f"{path} holds {HOLDS.get(answers(model), alone)}, which has no {output}; "
            f"--output can be {' or '.join(possible)}"
        )
    if options.input == "uint8" and not hasattr(model, "mean"):
        raise UserError(
            f"{path} holds an encoder alone, without the mean and standard deviation that it was trained with; "
            "normalize yourself, and export with --input float"
        )
    if output == "labels" and answers(model) == "pixels" and model.num_classes > MOST_CLASSES_OF_MAPS:
        raise UserError(f"class maps are of 8 bits, and {path} has {model.num_classes} classes; use --output logits")
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if options.form == "onnx" and size > MOST_BYTES:
        raise UserError(f"an ONNX file holds at most 2 GB, this model is {size / 2**30:.1f} GB; write a .pt2 instead")


def _write_onnx(program: torch.export.ExportedProgram, path: Path, facts: Mapping[str, Any], names: list[str]) -> None:
    need("onnx", "onnxscript")
    # A line for every constant that it does not compute beforehand, as rotary positions are: nothing is wrong there.
    logging.getLogger("onnxscript.optimizer").setLevel(logging.ERROR)
    # Attention is taken apart in the memory layout of the plain kernel: that of a fast one, which needs no copy
    # afterwards, does not survive the parts.
    with sdpa_kernel(SDPBackend.MATH):
        made: Any = torch.onnx.export(program, input_names=["images"], output_names=names, verbose=False)
    symbol = made.model.graph.inputs[0].shape[0]
    if not isinstance(symbol, int):
        made.rename_axes({str(symbol): "batch"})
    for key, value in facts.items():
        made.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
    made.save(path)


def _names(program: torch.export.ExportedProgram, output: str) -> list[str]:
    return _output_names(output, len(program.graph_signature.user_outputs))


def _output_names(output: str, count: int) -> list[str]:
    return [output] if output != "maps" else [f"map_{number}" for number in range(count)]


def _onnx_runner(path: Path) -> Callable[[Tensor], list[Tensor]]:
    need("onnxruntime")
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: [torch.from_numpy(part) for part in session.run(None, {"images": images.numpy()})]


def _torch_runner(path: Path) -> Callable[[Tensor], list[Tensor]]:
    module = torch.export.load(path).module()

    def run(images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            outputs = module(images)
        return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]

    return run
