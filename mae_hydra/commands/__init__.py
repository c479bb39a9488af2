"""The verbs of `mae-hydra`. One module each, thin; a verb is imported only when it is used."""

import argparse
import difflib
import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from mae_hydra.atomic import check_writable
from mae_hydra.errors import UserError, unwritable
from mae_hydra.installed import versions
from mae_hydra.terminal import lasting_streams, say_error

# verb -> (module, one line of help); the module has `arguments(parser)` and `run(options) -> exit code`
COMPOSING = ("plan", "benchmark", "check-data", "make-shards", "study")  # verbs whose words are those of a training
TO_A_FILE = ("benchmark", "plan")  # verbs whose --out is a file; of others it is a folder
GROUPS = {
    "data": {
        "check-data": (
            "check_data",
            "what lies in a folder, and what to type for it; or the audit of a configured set",
        ),
        "make-shards": ("make_shards", "a set of images as tar files, for data=shards"),
        "make-data": ("make_data", "the synthetic scenes as files, in the layout of ADE20K or of ImageNet"),
    },
    "train": {
        "train": ("train", "what python train.py does, from anywhere"),
        "demo": ("demo", "the whole story on synthetic data: pre-trained against from scratch"),
        "study": ("study", "how many labels pre-training saves: scores over 1 to 100 % of them, from each start"),
        "plan": ("plan", "what a run will take: memory, steps, hours, learning rate; before a GPU is booked"),
        "new": ("new", "a package of your own to start from: an encoder, a head, a loss, a data set, …"),
    },
    "look": {
        "runs": ("runs", "every run below a folder: state, scores, what was typed, age and size; filtered"),
        "report": ("report", "a run, a sweep or a folder of runs as one page; --serve: as they train"),
        "compare": ("compare", "several runs beside each other: what differs, best values, curves in one plot"),
        "diff": ("compare", "what differs between two runs: configuration, code, data, machine, results"),
        "replay": ("replay", "any step of a run again, bit for bit: its images, loss and gradients"),
        "dashboard": ("dashboard", "W&B workspaces and a report of a project, made by code"),
        "clean": ("clean", "what can go below a folder: superseded checkpoints, failed smoke runs"),
    },
    "use": {
        "evaluate": ("evaluate", "scores of a run or checkpoint, on any data, by any protocol"),
        "predict": ("predict", "class maps and overlays of images of your own, or reconstructions"),
        "convert": ("convert", "a checkpoint from or to the formats of MAE, timm, Hugging Face, mmsegmentation"),
        "export": ("export", "a trained model as one ONNX or torch.export file"),
        "publish": ("publish", "a trained model as a folder for others, with a model card"),
    },
    "measure": {
        "benchmark": ("benchmark", "what a model costs, beside others; the results row of a paper's table"),
    },
}
USAGE = 2  # exit code of a command that could not be read, as argparse has it
VERBS = {verb: told for verbs in GROUPS.values() for verb, told in verbs.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the console script; returns the exit code."""
    with lasting_streams():
        return _main(list(sys.argv[1:] if arguments is None else arguments))


def _main(words: list[str]) -> int:
    if words[:1] == ["train"]:  # everything behind it is Hydra's
        from mae_hydra.launching import scheduler

        scheduler.note()
        from mae_hydra.launching.launch import launch

        return launch(words[1:])
    if words and not words[0].startswith("-") and words[0] not in VERBS:
        close = difflib.get_close_matches(words[0], VERBS, n=1)
        hint = f"did you mean mae-hydra {close[0]}?" if close else "mae-hydra --help lists them"
        return _say(f"mae-hydra has no verb {words[0]!r}; {hint}", USAGE)
    if words == ["--completion"]:
        print(importlib.import_module("mae_hydra.commands.completion").script(VERBS, COMPOSING))
        return 0
    parser = argparse.ArgumentParser(
        prog="mae-hydra", description=_overview(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=versions())
    parser.add_argument(
        "--completion", action="store_true", help='what bash completes: eval "$(mae-hydra --completion)"'
    )
    chosen = parser
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", help="mae-hydra VERB --help says more")
    for verb, (module, summary) in VERBS.items():
        sub = verbs.add_parser(verb, description=summary)
        if words[:1] == [verb]:
            chosen = sub
            importlib.import_module(f"mae_hydra.commands.{module}").arguments(sub)
            if verb in COMPOSING:
                told = "a folder with option files of your own"
                sub.add_argument("--config-dir", type=Path, action="append", default=[], help=told)
    options, rest = parser.parse_known_args(words)
    _take_overrides(chosen, options, rest)
    try:
        if options.verb in COMPOSING and options.config_dir:
            _search(options)
        if _takes_out(chosen) and options.out is not None:
            _check_place(options.out, to_a_file=options.verb in TO_A_FILE)
        return int(importlib.import_module(f"mae_hydra.commands.{VERBS[options.verb][0]}").run(options))
    except UserError as error:
        return _say(str(error))
    except OSError as error:
        way_out = "another place with --out" if _takes_out(chosen) else "another place"
        sentence = unwritable(error, f"give {way_out}")
        if sentence is None:
            raise
        return _say(sentence)
    except KeyboardInterrupt:
        return 130


def _overview() -> str:
    """What the program is, and its verbs by what they are for."""
    lines = ["Masked autoencoders and UPerNet, composed with Hydra."]
    for group, verbs in GROUPS.items():
        lines += ["", group, *(f"  {verb:12} {summary}" for verb, (_, summary) in verbs.items())]
    return "\n".join(lines)


def _say(sentence: str, code: int = 1) -> int:
    say_error(sentence)
    return code


def _takes_out(parser: argparse.ArgumentParser) -> bool:
    """Whether a verb has the option `--out`; some have a word of that name. A usage may break behind it."""
    return re.search(r"--out\s", parser.format_usage()) is not None


def _check_place(out: Path, *, to_a_file: bool) -> None:
    """UserError where nothing can be written to what `--out` names: before the work that is to be written there."""
    if to_a_file and out.is_dir():
        raise UserError(f"cannot write to {out}: it is a folder; give the name of a file with --out")
    folder, what = (out.parent, "place") if to_a_file else (out, "folder")
    check_writable(folder, f"give another {what} with --out")


def _search(options: argparse.Namespace) -> None:
    """`--config-dir` as the word that says the same to whatever composes."""
    from mae_hydra.configuration.command_words import searching

    for folder in options.config_dir:
        if not folder.is_dir():
            raise UserError(f"--config-dir {folder} is no folder; give the one that holds your data/, model/, …")
    lists = [name for name in ("overrides", "words") if isinstance(getattr(options, name, None), list)]
    getattr(options, lists[0]).extend(searching([f"file://{folder.absolute()}" for folder in options.config_dir]))


def _take_overrides(parser: argparse.ArgumentParser, options: argparse.Namespace, rest: Sequence[str]) -> None:
    """argparse takes a list of words once; overrides may stand before and behind an option all the same."""
    lists = [name for name in ("overrides", "words") if isinstance(getattr(options, name, None), list)]
    if rest and (not lists or any(word.startswith("-") for word in rest)):
        hint = "; keys are typed without dashes: seed=1" if lists else ""
        parser.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    for name in lists:
        getattr(options, name).extend(rest)
