"""One of the processes of `engine.devices=N`: `python -m mae_hydra.launching.worker FOLDER`, by `processes` only."""

import json
import logging
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from mae_hydra.launching.importing import importing

with importing():
    from mae_hydra.configuration import resolvers
    from mae_hydra.configuration.from_file import literal
    from mae_hydra.distributed import is_main, rank
    from mae_hydra.engine import Interrupted
    from mae_hydra.errors import UserError
    from mae_hydra.experiment.holder import belongs_here
    from mae_hydra.experiment.run import run
    from mae_hydra.experiment.start import Start
    from mae_hydra.experiment.status import Ending
    from mae_hydra.terminal import lasting_streams
    from mae_hydra.workflows.replay_step import take_again


def main(folder: Path) -> int:
    """Train what job.json in `folder` says, and leave word there of how it ended."""
    logging.raiseExceptions = False  # a full disk would print a traceback for every line of train.log
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    resolvers.register()
    job = json.loads((folder / "job.json").read_text())
    run_dir = Path(job["run_dir"])
    for descriptor in job["shared"]:
        belongs_here(descriptor)
    if is_main() and job["replay"] is None:
        format = "%(asctime)s %(levelname)s %(message)s"  # that of conf/config.yaml
        logging.basicConfig(filename=run_dir / "train.log", level="INFO", format=format, datefmt="%H:%M:%S")
    start = None if job["start"] is None else Start(*job["start"])
    code, outcome = _train(job["config"], run_dir, job["replay"], start)
    (folder / f"outcome.{rank()}.json").write_text(json.dumps(outcome))
    return code


def _train(
    config: dict[str, Any], run_dir: Path, replay: dict[str, Any] | None, start: Start | None
) -> tuple[int, dict[str, Any]]:
    try:
        if replay is not None:
            return 0, {"state": "completed", "value": Ending(take_again(config, run_dir, **replay))}
        return 0, {"state": "completed", "value": run(literal(config), config, run_dir, start, telling=False)}
    except Interrupted as interruption:
        progress = {"step": interruption.step, "signal": interruption.signal}
        return interruption.exit_code, {"state": "interrupted", **progress}
    except KeyboardInterrupt:
        return 130, {"state": "stopped"}
    except UserError as error:
        return 1, {"state": "mistake", "error": str(error)}
    except BaseException as error:
        sentence = f"{type(error).__name__}: {error}".splitlines()[0]
        return 1, {"state": "failed", "error": sentence, "traceback": traceback.format_exc()}


def _end_with_the_parent() -> None:
    """Its end of the pipe closes when it is gone, in whatever way: nobody would stop us then."""
    os.read(sys.stdin.fileno(), 1)  # not through a buffer, whose lock would be held at the end of the interpreter
    os._exit(1)


if __name__ == "__main__":
    with lasting_streams():
        code = main(Path(sys.argv[1]))
    sys.exit(code)
