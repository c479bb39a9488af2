"""What is typed reaches what does the work: every option in its place, and what cannot be meant is refused before it.

The work itself is replaced by a note of what it was asked.
"""

import argparse
import importlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from rich.table import Table

from mae_hydra.benchmark.results import Measured
from mae_hydra.commands import VERBS, benchmark, main
from mae_hydra.data.dataset import Stored
from mae_hydra.data.decoding.pixel_range import PixelRange
from mae_hydra.data.shards import maps
from mae_hydra.data.shards import write as writing
from mae_hydra.errors import UserError

Asked = Callable[..., list[Any]]
REPEATED = tuple({type(argparse.ArgumentParser().add_argument("--a", action=way)) for way in ("append", "extend")})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    """`asked("module.function", answer)`: from now on it notes its arguments in the list that this gives."""
    monkeypatch.chdir(tmp_path)

    def noted(place: str, answer: Any = None) -> list[Any]:
        notes: list[Any] = []

        def note(*given: Any, **named: Any) -> Any:
            notes.append((*given, named) if named else given)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        monkeypatch.setattr(f"mae_hydra.{place}", note)
        return notes

    return noted


def test_a_benchmark_is_asked_for_what_was_typed(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    measured = Measured(Table(), {"seconds": 1.0})
    asked("recorded.configuration.names_weights", True)
    places = ("verbs.parts", "verbs.step", "loading.loading", "pictures.inference", "pictures.results_row")
    notes = {place.rpartition(".")[2]: asked(f"benchmark.{place}", measured) for place in places}
    for words in (
        ["parts", "a=1", "--rounds", "1", "b=2"],
        ["step", "run", "a=1", "--rounds", "3", "--alone"],
        ["step", "+a=1"],
        ["loading", "--size", "300", "400", "--images", "5", "--rounds", "2"],
        ["loading"],
        ["inference", "run", "a=1", "--size", "70", "150", "--rounds", "2", "--alone"],
        ["inference", "https://x.org/w.pth?v=1", "a=1", "--shares"],
        ["inference", "a=1", "--shares"],
        ["results-row", "run", "a=1", "--images", "3"],
        ["results-row", "run"],
    ):
        assert main(["benchmark", *words, "--out", "made/deep/numbers.json"]) == 0
    assert json.loads(Path("made/deep/numbers.json").read_text()) == {"seconds": 1.0}
    assert notes == {
        "parts": [(["a=1", "b=2"],)],
        "step": [(["run", "a=1"], 3, {"alone": True}), (["+a=1"], 5, {"alone": False})],
        "loading": [((300, 400), 5, 2), ((512, 683), 32, 5)],
        "inference": [("run", ["a=1"], (70, 150), 2, {"alone": True, "shares": False}),
                      *((given, ["a=1"], (512, 683), 5, {"alone": False, "shares": True}) for given in
                        ("https://x.org/w.pth?v=1", None))],
        "results_row": [("run", ["a=1"], 3), ("run", [], 200)],
    }  # fmt: skip
    measured = Measured(Table("one"), {}, [Table("two"), Table("three")])
    asked("benchmark.verbs.parts", measured)
    assert main(["benchmark", "parts"]) == 0
    assert [word for word in capsys.readouterr().out.split() if word.isalpha()] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["loading", "--images", "0"], "--images must be at least 1, got 0"),
        (["loading", "--size", "5", "0"], "--size takes height and width in pixels, got [5, 0]"),
        (["step", "--images", "5"], "--images changes nothing of benchmark step, which takes --rounds and --alone"),
        (["parts", "--alone"], "--alone changes nothing of benchmark parts, which takes --rounds; leave it out"),
        (["results-row", "run", "--size", "5", "5"], "--size changes nothing of benchmark results-row"),
        (["loading", "run"], "loading takes no overrides, got run"),
        (["loading", "a=1"], "loading takes no overrides, got a=1"),
    ],
)
def test_an_option_that_a_benchmark_does_not_look_at_is_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *words]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "taken"),
    [
        ("parts", {"rounds"}), ("step", {"rounds", "alone"}), ("inference", {"rounds", "size", "alone", "shares"}),
        ("loading", {"rounds", "size", "images"}), ("results-row", {"rounds", "images"}),
    ],
)  # fmt: skip
def test_a_benchmark_takes_the_options_that_change_something_and_no_other(
    what: str, taken: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "_measure", lambda options: Measured(Table(), {}))
    options = {"rounds": ["1"], "size": ["5", "6"], "alone": [], "shares": [], "images": ["1"]}
    codes = {name: main(["benchmark", what, f"--{name}", *values]) for name, values in options.items()}
    assert {name for name, code in codes.items() if code == 0} == taken


def test_an_evaluation_is_asked_for_what_was_typed(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        Path(name).mkdir()
    notes = asked("workflows.evaluate.evaluate", results := {"folder": "f", "already_complete": True})
    shown = asked("workflows.evaluation_report.show")
    words = ["--out", "o", "--last", "--config-dir", "a", "--config-dir", "b"]
    assert main(["evaluate", "run", "x=1", *words]) == 0
    assert "already complete" in capsys.readouterr().out
    results.pop("already_complete")
    assert main(["evaluate", "run"]) == 0
    assert "already complete" not in capsys.readouterr().out
    assert notes == [("run", ["x=1"], Path("o"), "last", [Path("a"), Path("b")]), ("run", [], None, "best", [])]
    assert shown == [(results, Path("f"))] * 2
    assert main(["evaluate", "run", "--config-dir", "nowhere"]) == 1
    assert main(["evaluate", "run", "--config-dir", "a", "--config-dir", "nowhere"]) == 1
    assert "--config-dir nowhere is no folder" in capsys.readouterr().err
    asked("distributed.is_main", False)  # of several processes the first one tells
    assert main(["evaluate", "run"]) == 0
    assert len(shown) == 2


def test_an_export_is_asked_for_what_was_typed_and_needs_its_runtime_only_to_check(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("m.onnx").write_bytes(b"x" * 3 * 2**20)
    for name in ("x", "a.pt2", "b.onnx"):
        Path(name).touch()
    notes, needed = asked("workflows.export.export", "exported"), asked("workflows.export.need")
    compared = asked("workflows.export.compare", {"y": 0.5, "z": 0.25})
    places = asked("commands.export.check_writable")
    words = ["--output", "maps", "--input", "float", "--batch", "3", "--set", "a=1", "--set", "b=2", "c=3"]
    for more in (["m.onnx", "--check"], ["x", "--format", "torch"], ["b.onnx", "--format", "torch"], ["b.onnx"]):
        assert main(["export", "run", *more, "--overwrite", *words]) == 0
    assert main(["export", "run", "a.pt2", "--overwrite"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split(" of its")[0] for line in told] == [
        "wrote m.onnx (3.0 MB)", "  y: differs from the model by at most 5.0e-01",
        "  z: differs from the model by at most 2.5e-01", "wrote x (0.0 MB)", "wrote b.onnx (0.0 MB)",
        "wrote b.onnx (0.0 MB)", "wrote a.pt2 (0.0 MB)",
    ]  # fmt: skip
    assert [place for place, _ in places] == [Path()] * 5
    from mae_hydra.workflows.export import Options

    onnx, torch = (Options(form=form, output="maps", input="float", batch=3) for form in ("onnx", "torch"))
    typed = ("a=1", "b=2", "c=3")
    assert notes == [
        ("run", Path("m.onnx"), onnx, typed), ("run", Path("x"), torch, typed), ("run", Path("b.onnx"), torch, typed),
        ("run", Path("b.onnx"), onnx, typed),
        ("run", Path("a.pt2"), Options(form="torch", output=None, input="uint8", batch=None), ()),
    ]  # fmt: skip
    assert needed == [("onnx", "onnxscript", "onnxruntime"), ("onnx", "onnxscript")]
    assert compared == [(Path("m.onnx"), "exported", onnx)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["m.onnx"], "m.onnx is there already; give another name, or add --overwrite"),
        (["new.onnx", "--batch", "0"], "--batch must be dynamic or a positive number, got 0"),
        (["new.onnx", "--batch", "all"], "--batch must be dynamic or a positive number, got all"),
        (["no/m.onnx"], "there is no folder no to write to; make it first"),
        (["m.bin"], "m.bin ends neither in .onnx nor in .pt2; rename it, or add --format onnx or torch"),
    ],
)
def test_an_export_that_cannot_be_written_is_refused_before_a_model_is_read(
    asked: Asked, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("m.onnx").touch()
    notes = asked("workflows.export.export")
    assert main(["export", "run", *words]) == 1
    assert (told in capsys.readouterr().err, notes) == (True, [])


def test_a_conversion_is_asked_for_what_was_typed(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = SimpleNamespace(meta={"norm_pix": True})
    read = asked("weights.read_checkpoint", checkpoint)
    notes = asked("workflows.convert.convert", ["wrote it", "note: a remark"])
    shown = asked("commands.inspect_checkpoint.show")
    Path("there").mkdir()
    assert main(["convert", "run", "new", "--to", "mmseg", "--last", "--set", "a=1", "--set", "b=2"]) == 0
    assert capsys.readouterr().out == "wrote it\nnote: a remark\n"
    assert main(["convert", "file.pth", "there", "--overwrite", "--norm-pix", "false"]) == 0  # what is typed counts
    assert main(["convert", "file.pth", "--inspect"]) == 0
    assert read == [("run", {"prefer": "last", "download": True})] + 2 * [
        ("file.pth", {"prefer": "best", "download": True})
    ]
    assert notes == [(checkpoint, Path("new"), "mmseg", ["a=1", "b=2"]), (checkpoint, Path("there"), "native", [])]
    assert shown == [(checkpoint,)]
    assert checkpoint.meta == {"norm_pix": False}
    for words, told in (
        ([], "say what to read"),
        (["file.pth"], "say where to write"),
        (["file.pth", "there"], "there is there already; give another name, or add --overwrite"),  # a folder, too
    ):
        assert main(["convert", *words]) == 1
        assert told in capsys.readouterr().err
    assert len(notes) == 2


def test_a_file_of_a_foreign_model_is_looked_at_and_never_converted(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    from mae_hydra.weights import ForeignModelError

    error = ForeignModelError("it holds a ResNet", [("model", "a ResNet")])
    asked("weights.read_checkpoint", error)
    assert main(["convert", "file.pth", "--inspect"]) == 0
    assert "a ResNet" in capsys.readouterr().out
    assert main(["convert", "file.pth", "out.pt"]) == 1
    assert str(error) in capsys.readouterr().err


def test_published_weights_are_a_line_each_with_four_columns(capsys: pytest.CaptureFixture[str]) -> None:
    from mae_hydra.weights import KNOWN

    assert main(["convert", "--known"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[:3] for line in lines] == [[known.address, known.model, known.what] for known in KNOWN]
    assert [line[3] for line in lines] == [f"{k.digest}…" if k.digest else "digest not published" for k in KNOWN]


def test_a_prediction_is_asked_for_what_was_typed_and_tells_what_became_of_every_picture(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    from mae_hydra.workflows.predict import Options

    written = [Path("o/labels/a.png"), Path("o/overlays/a.png"), Path("o/labels/b.png")]
    outcome = SimpleNamespace(written=written, skipped=2, failed=[("x", "x.png is\nbroken")])
    notes = asked("workflows.predict.predict", outcome)
    words = ["--inference", "whole", "--probabilities", "--as-stored", "--batch", "4", "--mask-ratios", "0.5,0.25"]
    words += ["--seeds", "3,4", "--device", "cpu", "--precision", "fp32", "--range", "1,2.5", "--limit", "7"]
    assert main(["predict", "run", "a", "b", "--out", "o", *words, "--skip-existing"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == ["3 files written to o/labels, o/overlays", "2 pictures predicted before"]
    assert said.err.splitlines() == ["error: x.png is broken", "1 picture could not be read"]
    chosen = {"out": Path("o"), "inference": "whole", "probabilities": True, "batch": 4, "device": "cpu", "limit": 7}
    chosen |= {"precision": "fp32", "overwrite": False, "skip_existing": True, "mask_ratios": (0.5, 0.25)}
    assert notes == [("run", ["a", "b"], Options(**chosen, seeds=(3, 4), as_stored=True, range=(1.0, 2.5)))]
    outcome.failed, outcome.skipped, outcome.written = [], 0, written[:1]
    assert main(["predict", "run", "a", "--out", "o", "--overwrite"]) == 0
    assert capsys.readouterr() == ("1 file written to o/labels\n", "")
    assert notes[1][2].overwrite
    assert not notes[1][2].skip_existing
    outcome.written = []
    assert main(["predict", "run", "a", "--out", "o", "--skip-existing"]) == 0
    assert capsys.readouterr() == ("0 files written to o\n", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--range", "2,2"], "--range takes LOW,HIGH with LOW < HIGH, got 2,2"),
        (["--range", "1,2,3"], "--range takes LOW,HIGH with LOW < HIGH, got 1,2,3"),
        (["--mask-ratios", "0.5,1"], "--mask-ratios must lie between 0 and 1, got 0.5,1"),
        (["--mask-ratios", "0"], "--mask-ratios must lie between 0 and 1, got 0"),
        (["--seeds", "1.5"], "--mask-ratios, --seeds and --range take numbers with commas between"),
        (["--limit", "0"], "--limit must be at least 1, got 0"),
        (["--batch", "0"], "--batch must be at least 1, got 0"),
    ],
)
def test_a_prediction_that_cannot_be_meant_is_refused(
    asked: Asked, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = asked("workflows.predict.predict")
    assert main(["predict", "run", "a", "--out", "o", *words]) == 1
    assert (told in capsys.readouterr().err, notes) == (True, [])


def test_a_prediction_that_is_stopped_says_how_it_goes_on(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    asked("workflows.predict.predict", KeyboardInterrupt())
    assert main(["predict", "run", "a", "--out", "o"]) == 130
    assert "the same command with --skip-existing goes on" in capsys.readouterr().err


def test_what_is_published_replayed_and_served_is_what_was_typed(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    done = SimpleNamespace(folder=Path("f"), size=2_500_000, kept_card=False)
    published, replayed = asked("workflows.publish.publish", done), asked("workflows.replay.replay")
    served = asked("report.serve.serve")
    assert main(["publish", "run", "f"]) == 0
    assert "edited" not in capsys.readouterr().out
    done.kept_card = True
    assert main(["publish", "run", "f", "--last"]) == 0
    said = capsys.readouterr().out
    assert "f: 2.5 MB of weights, config.json and README.md" in said
    assert "f/README.md has been edited and is left as it is" in said
    assert published == [("run", Path("f"), "best"), ("run", Path("f"), "last")]
    assert main(["replay", "run", "step=3", "data.root=/x"]) == 0
    assert replayed == [(Path("run"), ["step=3", "data.root=/x"])]
    assert main(["report", "d", "--serve", "--port", "5", "--every", "0"]) == 0
    assert main(["report", "d", "--serve"]) == 0
    assert served == [(Path("d"), 5, 1), (Path("d"), 8642, 10)]
    for size, said in ((2_500_000, "2.5 MB"), (10, "0.1 MB")):
        Path("page").write_bytes(b"x" * size)
        written = asked("report.write_report", Path("page"))
        assert main(["report", "d"]) == main(["report", "d", "--out", "o", "--pages"]) == 0
        assert written == [(Path("d"), None, {"with_pages": False}), (Path("d"), Path("o"), {"with_pages": True})]
        assert f"page ({said})" in capsys.readouterr().out


def test_folders_of_options_come_behind_what_was_typed_and_must_be_there(
    asked: Asked, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For every verb whose words are those of a training."""
    for name in ("a", "b"):
        Path(name).mkdir()
    for verb, module, words in (
        ("plan", "plan", ["x=1"]), ("benchmark", "benchmark", ["parts", "x=1"]), ("study", "study", ["x=1"]),
        ("check-data", "check_data", ["x=1"]), ("make-shards", "make_shards", ["out", "x=1"]),
    ):  # fmt: skip
        notes = asked(f"commands.{module}.run", 0)
        folders = ["--config-dir", "a", "--config-dir", "b"]
        assert main([verb, words[0], *folders, *words[1:]]) == 0
        [(options,)] = notes
        typed = options.words if isinstance(getattr(options, "words", None), list) else options.overrides
        assert typed[0] == "x=1"
        assert [f"file://{tmp_path}/{name}" in str(typed[1:]) for name in ("a", "b")] == [True, True]
        assert main([verb, *words, "--config-dir", "a", "--config-dir", "nowhere"]) == 1
        assert "--config-dir nowhere is no folder" in capsys.readouterr().err
        assert len(notes) == 1


def test_every_command_has_the_options_that_are_listed_here(capsys: pytest.CaptureFixture[str]) -> None:
    """With their defaults: what a script of somebody's relies on. The list is the stored screen."""
    for verb, (module, _) in VERBS.items():
        if verb == "train":  # Hydra's
            continue
        parser = argparse.ArgumentParser(prog=f"mae-hydra {verb}")
        importlib.import_module(f"mae_hydra.commands.{module}").arguments(parser)
        for action in parser._actions[1:]:
            kind = getattr(action.type, "__name__", "str") if action.nargs != 0 else "flag"
            several = "repeated" if isinstance(action, REPEATED) else ""
            told = {"default": action.default, "choices": action.choices, "nargs": action.nargs or None}
            more = " ".join(f"{name}={value}" for name, value in told.items() if value is not None)
            print(*filter(None, (verb, "/".join(action.option_strings) or action.dest, kind, several, more)))
    assert "report --port int default=8642\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (UserError("no such thing"), 1, "error: no such thing\n"),
        (OSError(28, "No space left on device", "/out/f"), 1, "another place with --out"),
        (ValueError("a defect"), None, ""),
        (FileNotFoundError(2, "No such file or directory", "x"), None, ""),
    ],
)
def test_a_command_ends_with_a_sentence_or_as_the_defect_that_it_is(
    asked: Asked, error: BaseException, code: int | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked("commands.plan.run", error)
    if code is None:
        with pytest.raises(type(error)):
            main(["plan"])
        return
    assert main(["plan"]) == code
    assert said in capsys.readouterr().err
    asked("commands.replay.run", error)
    assert main(["replay", "run"]) == code
    assert "with --out" not in capsys.readouterr().err  # which it has not


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "the following arguments are required: VERB"),
        (
            ["plan", "a=1", "--devices", "2", "b=2", "--nope"],
            "unrecognized arguments: b=2 --nope; keys are typed without",
        ),
        (["publish", "run", "folder", "a=1"], "unrecognized arguments: a=1\n"),
        (["predict", "run", "a"], "the following arguments are required: --out"),
        (
            ["predict", "run", "a", "--out", "o", "--overwrite", "--skip-existing"],
            "not allowed with argument --overwrite",
        ),
        (["runs", "--json", "--csv"], "argument --csv: not allowed with argument --json"),
    ],
)
def test_words_that_a_command_does_not_take_are_refused_with_its_usage(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_word_that_is_no_verb_and_the_words_of_a_training(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluat"]) == 2
    assert "did you mean mae-hydra evaluate?" in capsys.readouterr().err
    assert main(["zzz"]) == 2
    assert "mae-hydra --help lists them" in capsys.readouterr().err
    noted, started = asked("launching.scheduler.note"), asked("launching.launch.launch", 75)
    assert main(["train", "--config-dir", "x", "seed=1"]) == 75
    assert (noted, started) == ([()], [(["--config-dir", "x", "seed=1"],)])


class Deep:
    """One gray picture of 16 bits and its class, as a set of files gives it."""

    def __len__(self) -> int:
        return 1

    def stored(self, index: int) -> Stored:
        Image.fromarray(np.full((4, 6), 500, np.uint16)).save(file := io.BytesIO(), "PNG")
        return Stored("a/b.png", file.getvalue(), 3)


def test_shards_are_asked_for_what_was_typed_and_shrunk_pictures_have_8_bits(
    asked: Asked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = SimpleNamespace(
        train=Deep(), validation=Deep(), channels=1, pixel_range=PixelRange((0,), (1000,), 16), target="class",
        class_names=("c", "d"), num_classes=2, notes=["2 files passed over"],
    )  # fmt: skip
    composed = asked("configuration.compose.compose_config", OmegaConf.create({"data": {"channels": 1}}))
    built, written = asked("configuration.construct.build", data), []
    monkeypatch.setattr(writing, "write_shards", lambda *given, **named: written.append((*given, named)) or 2_500_000)
    words = ["--short", "2", "--decoded", "--samples", "7", "--workers", "0"]
    assert main(["make-shards", "out", "data=folder", *words]) == 0
    said = capsys.readouterr().out
    assert "2 files passed over" in said
    assert "model=classifier_vitb data=shards data.root=out data.num_classes=2" in said
    data.pixel_range, data.target = None, "none"
    assert main(["make-shards", "out", "--short", "2", "--decoded"]) == 0
    assert main(["make-shards", "out"]) == 0
    assert "num_classes" not in capsys.readouterr().out
    assert composed == [(["data=folder"],), ([],), ([],)]
    assert built == [({"channels": 1}, "data")] * 3
    for (sets, out, options), numbers in zip(written, ((("c", "d"), 7, 0), *[(None, 2048, 2)] * 2), strict=True):
        assert (out, tuple(sets)) == (Path("out"), ("train", "validation"))
        assert (options["classes"], options["samples_per_shard"], options["num_workers"]) == numbers
    shrunk, without, whole = (sets for sets, *_ in written)
    for of_split in shrunk.values():
        name, encoded, class_id = of_split.stored(0)
        pixels = np.load(io.BytesIO(encoded))
        assert (name, class_id, pixels.dtype, pixels.shape) == ("a/b.npy", 3, np.uint8, (2, 3, 1))
        assert np.unique(pixels).tolist() == [128]  # half of 1000
    with pytest.raises(UserError, match=r"set data\.range"):
        without["train"].stored(0)
    assert whole == {"train": data.train, "validation": data.validation}


def test_shards_with_maps_are_those_of_their_set_which_lies_in_files(
    asked: Asked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = SimpleNamespace(
        train=Deep(), validation=Deep(), notes=[], target="map", ignore_index=7, palette=((1, 2, 3),),
        class_names=("c",), num_classes=1,
    )  # fmt: skip
    asked("configuration.compose.compose_config", OmegaConf.create({"data": {"channels": 3}}))
    asked("configuration.construct.build", data)
    written: list[Any] = []
    monkeypatch.setattr(writing, "write_shards", lambda *given, **named: written.append((*given, named)) or 1)
    monkeypatch.setattr(maps, "WithMaps", lambda *given: given)
    assert main(["make-shards", "out"]) == 0
    [(sets, _, options)] = written
    assert sets == {"train": (data.train, 7, data.palette), "validation": (data.validation, 7, data.palette)}
    assert options["classes"] == ("c",)
    assert "model=upernet_vitb data=shards data.root=out data.num_classes=1" in capsys.readouterr().out
    data.train = [1]  # in memory
    assert main(["make-shards", "out"]) == 1
    assert "make-shards writes a whole set of image files" in capsys.readouterr().err
    assert len(written) == 1


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        ({"channels": 1}, False),
        ({"channels": 3, "bands": None}, False),
        ({"channels": 3, "bands": []}, False),
        ({"channels": 3, "bands": [4, 3, 2]}, True),
        ({"channels": 4}, True),
    ],
)
def test_bands_as_they_are_stored_are_not_shrunk(
    asked: Asked, data: dict[str, Any], refused: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    asked("configuration.compose.compose_config", OmegaConf.create({"data": data}))
    built = asked("configuration.construct.build", UserError("it is built"))
    assert main(["make-shards", "out", "--short", "2"]) == 1
    assert ("--short writes gray and RGB images, and these are bands" in capsys.readouterr().err) is refused
    assert len(built) == (not refused)
    assert main(["make-shards", "out"]) == 1  # as they are: any of them
    assert "it is built" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["make-data", "d", "--size", "64", "60"], "in multiples of 8, got [64, 60]"),
        (["make-data", "d", "--size", "64", "64", "64"], "--size takes one side, or height and width"),
        (["make-data", "d", "--workers", "-1"], "--workers must not be negative, got -1"),
        (["make-shards", "d", "--samples", "0"], "--samples must be at least 1, got 0"),
        (["make-shards", "d", "--short", "0"], "--short must be at least 1 pixel, got 0"),
        (["make-shards", "d", "--decoded"], "--decoded needs --short"),
        (["make-shards", "d", "--workers", "-1"], "--workers must not be negative, got -1"),
    ],
)
def test_data_that_cannot_be_written_so_are_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
