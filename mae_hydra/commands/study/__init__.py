"""`mae-hydra study`: how many labels does pre-training save?

Ordinary sweeps over the share of the labels, one for each way to start, each in a process as a person would type it;
what is complete is not repeated, so the same command goes on.
"""

import argparse
import shlex
import sys
from pathlib import Path

from mae_hydra.errors import UserError

EMBEDDED = ["model=upernet_vitt", "+experiment=demo_study"]  # where no data are named
FRACTIONS, SEEDS = "0.01,0.03,0.1,0.3,1", "0,1,2"
QUICK_FRACTIONS, QUICK_SEEDS = "0.01,0.1,1", "0"
QUICK = {"schedule.unit": "step", "schedule.total": "60", "schedule.warmup": "6"}
QUICK_PRETRAIN = {"schedule.unit": "step", "schedule.total": "200", "schedule.warmup": "20"}


def arguments(parser: argparse.ArgumentParser) -> None:
    told = "what follows python train.py, for the labeled runs: model=… data=… (default: embedded scenes)"
    parser.add_argument("words", nargs="*", help=told)
    parser.add_argument("--fractions", help=f"shares of the labeled images (default: {FRACTIONS})")
    parser.add_argument("--seeds", help=f"each draws other labels (default: {SEEDS})")
    told = "start from these weights too: a run, a checkpoint or an address, and what to call it; may be repeated"
    parser.add_argument("--from", dest="given", metavar="NAME=WEIGHTS", action="append", default=[], help=told)
    told = "words for the pre-training of the own MAE, in quotes (default: model=mae_… of that size, on the same data)"
    parser.add_argument("--pretrain", metavar="WORDS", default="", help=told)
    parser.add_argument("--no-pretrain", action="store_true", help="no own MAE: from scratch, and what --from names")
    told = "words for the runs from scratch, in quotes (default: optimizer.layer_decay=1.0)"
    parser.add_argument("--scratch", metavar="WORDS", help=told)
    parser.add_argument("--quick", action="store_true", help="the whole way in minutes: few steps, shares and seeds")
    parser.add_argument("--plan", action="store_true", help="say what it will take, and start nothing")
    parser.add_argument("--out", type=Path, help="where to write (default: outputs/studies/<name>)")


def run(options: argparse.Namespace) -> int:
    from mae_hydra.launching.importing import importing

    with importing():
        from mae_hydra.benchmark.plan import plan
        from mae_hydra.commands.study import cost, words
    from mae_hydra.configuration.command_words import word
    from mae_hydra.experiment.many.label_study import PRETRAIN, RECORD, SCRATCH
    from mae_hydra.experiment.status import write_json

    words.refuse(options.words)
    embedded = not any(words.key_of(each) in ("model", "data", "experiment") for each in options.words)
    typed = [*(EMBEDDED if embedded else ()), *options.words]
    labeled = words.with_defaults(typed, QUICK if options.quick else {})
    fractions = words.numbers(
        "--fractions", options.fractions or (QUICK_FRACTIONS if options.quick else FRACTIONS), float
    )
    seeds = words.numbers("--seeds", options.seeds or (QUICK_SEEDS if options.quick else SEEDS), int)
    config = words.composed_labeled(labeled)
    planned = plan(labeled, devices=None, images=None)
    if planned.assumed_images:
        raise UserError(f"a study needs the labeled images, and data.root={config.data.root} is not there")
    pretrain: list[str] = []
    if options.no_pretrain and options.pretrain:
        raise UserError("--pretrain is about the own MAE, which --no-pretrain leaves out; give one of them")
    if not options.no_pretrain:
        pretrain = words.pretraining(labeled, options.pretrain, config, QUICK_PRETRAIN if options.quick else {})
    arms = words.arms_of(options.scratch, config, own=bool(pretrain), given=options.given)
    before = plan(pretrain, devices=None, images=None) if pretrain else None
    default = Path(str(config.paths.output_root)) / "studies" / f"{config.name}{'_quick' if options.quick else ''}"
    out = words.as_before(options.out or default)
    record = {
        "out": str(out),
        "command": shlex.join(["mae-hydra", *sys.argv[1:]]),
        "words": labeled,
        "pretrain": pretrain,
        "arms": arms,
    }
    record = words.with_earlier(out, record)
    cost.say_cost(out, list(arms), fractions, seeds, (labeled, planned), (pretrain, before), config)
    if options.plan:
        return 0
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RECORD, record)
    if pretrain:
        weights = out / PRETRAIN
        print(f"\nPre-training without labels -> {weights}", flush=True)
        if _failed([*pretrain, word("hydra.sweep.dir", weights)]):
            raise UserError(f"the pre-training failed, see {weights}; the same command goes on")
        arms["mae"] = [word("init_from", _complete(weights))]
    failed = False
    common = ["+sweep=study", *labeled, *words.equal_steps(config, planned), *words.swept(fractions, seeds)]
    for number, (arm, own) in enumerate(arms.items(), 1):
        start = "from scratch" if arm == SCRATCH else "from the own MAE" if arm == "mae" else f"from {arm}"
        print(f"\n[{number}/{len(arms)}] {start} -> {out / arm}", flush=True)
        failed |= _failed([*common, *own, word("hydra.sweep.dir", out / arm)])
    _show(out)
    return int(failed)


def _failed(words: list[str]) -> bool:
    """Run a sweep to its end; whether a job of it failed."""
    from mae_hydra.launching.stages import run_apart

    command = [sys.executable, "-m", "mae_hydra", "train", "-m", *words]
    print("      python train.py " + shlex.join(command[4:]), flush=True)
    code, _ = run_apart(command)
    if code in (75, 130):
        raise KeyboardInterrupt  # it said how to go on; the same command does
    if code not in (0, 1):
        raise UserError(f"this part of the study ended with exit code {code}; the same command goes on")
    return code == 1


def _complete(folder: Path) -> Path:
    """The one pre-training that a study begins from."""
    from mae_hydra.experiment.read_runs import read_sweep, state_of

    found = [run.directory for run in read_sweep(folder) if state_of(run) == "completed"]
    if not found:  # nobody waited for it
        raise UserError(f"the pre-training in {folder} has not ended; the same command goes on once it has")
    if len(found) != 1:
        raise UserError(f"{folder} holds {len(found)} complete pre-trainings, not one; give another folder with --out")
    return found[0]


def _show(out: Path) -> None:
    from rich.table import Table

    from mae_hydra.experiment.many.label_study import read_study
    from mae_hydra.report import write_report
    from mae_hydra.report.study_page import HEAD, cells, headlines
    from mae_hydra.terminal import plain_console

    study, page = read_study(out), write_report(out)
    table = Table(title=f"{study.metric} over labels", title_justify="left")
    for number, column in enumerate(HEAD):
        table.add_column(column, justify="right" if 0 < number < len(HEAD) - 1 else "left")
    for row in cells(study):
        table.add_row(*row)
    console = plain_console()
    console.print()
    console.print(table)
    for name, told in headlines(study).items():
        console.print(f"{name}: {told}", soft_wrap=True)
    if study.doubt or study.caution:
        console.print(study.doubt or study.caution, soft_wrap=True)
    if study.unfinished:
        missing = "1 run is" if len(study.unfinished) == 1 else f"{len(study.unfinished)} runs are"
        console.print(f"{missing} missing; the same command goes on", soft_wrap=True)
    console.print(f"the curves: {page}", soft_wrap=True)
