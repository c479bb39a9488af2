"""The commands of README and docs that one machine can run are run, shrunk by `+debug=smoke`, on data made here."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Command, commands
from omegaconf import OmegaConf

from mae_hydra.commands import main
from mae_hydra.configuration.compose import compose_config
from mae_hydra.launching.launch import launch

pytestmark = pytest.mark.slow

# Why a command is composed in test_documentation.py and not run here, and where its kind is run.
LEFT_OUT = {
    "several processes: tests/system/test_devices.py": r"torchrun|engine\.devices=|hydra/launcher=gpus",
    "a cluster: tests/slurm": r"slurm",
    "a network: tests/system/test_weights_by_name.py, test_wandb_offline.py": r"://|timm/|hf-hub:|wandb|dashboard",
    "a released file: tests/weights": r"\.pth|\.ckpt|imagenet_variant",
    "a data set: tests/system/test_public_sets.py": r"data=(?!ade20k |ade20k$|imagenet |folder |scene)|CamVid",
    "files of a kind: tests/system/test_labels.py": r"data\.(values|bands|range)=|split=test|loss=binary",
    "a package of one's own: tests/outside": r"mylab|--config-dir",
    "minutes, or a measurement: tests/system/test_benchmark.py": r"demo|benchmark|study|_mini|outputs/pre|_ablation",
    "files of others, or too many": r"8192|--index",
    "onnx: tests/system/test_export.py": r"\bexport\b|publish",
    "a sweep of several jobs: tests/system/test_sweeps.py": r"\+sweep=|seed=0,1,2|outputs/sweeps/(?!mine)|<sweep>",
    "it lists, or waits for a browser": r"--help|--cfg|--serve|--known|--inspect",
    "a recipe of a large model: tests/conf": r"\+experiment=",
    "it stands for others": r"…(?! init| data|$)|^python train\.py …|<verb>|[a-z] …$|<file>",
}
SEGMENTERS = ("evaluate", "predict")  # verbs whose run is a UPerNet's; that of all others a masked autoencoder's
VERBS = (
    *SEGMENTERS,
    "convert",
    "plan",
    "replay",
    "report",
    "compare",
    "diff",
    "runs",
    "clean",
    "check-data",
    "make-shards",
)
SHRUNK = {  # where a configuration has the key
    "backbone.embed_dim": 32,
    "backbone.depth": 4,
    "backbone.num_heads": 2,
    "backbone.out_indices": "[0,1,2,3]",
    "head.embed_dim": 16,
    "head.depth": 1,
    "head.num_heads": 2,
    "head.channels": 16,
    "model.auxiliary.channels": 16,
    "evaluation.validation.num_pictures": 0,
    "evaluation.probe.limit": 4,
    "evaluation.probe.bank": 8,
    "evaluation.probe.k": 2,
    "evaluation.probe.num_pictures": 2,
    "data.num_train": 16,
    "data.num_validation": 4,
}


def left_out(command: Command) -> str | None:
    """Why it is not run."""
    return next((why for why, words in LEFT_OUT.items() if re.search(words, command.text)), None)


def kinds() -> Iterator[Command]:
    """Of the commands that are run the first of each kind: the same verb and options, or the same choice of groups."""
    seen: set[frozenset[str]] = set()
    for command in commands():
        words = command.words
        named = not command.trains and (len(words) < 2 or words[0] not in VERBS) and words[0] not in ("runs", "clean")
        if command.where.startswith("conf/") or left_out(command) or named:
            continue
        typed = [word for word in words if not word.startswith(("data.root", "hydra.", "init_from"))]
        kind = frozenset(_kind(word) for place, word in enumerate(typed) if place == 0 or "=" in word or word[0] == "-")
        if kind not in seen:
            seen.add(kind)
            yield command


def _kind(word: str) -> str:
    """A group's choice, a verb or an option counts as it is typed; of a key inside a group only its group."""
    key, equals, _ = word.partition("=")
    return key.partition(".")[0] if equals and ("." in key or key in ("seed", "resume", "step")) else word.rstrip("/")


RUN = list(kinds())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has what the commands name."""
    home = tmp_path_factory.mktemp("home")
    for name, layout in (("ADEChallengeData2016", "ade20k"), ("imagenet", "imagenet")):
        words = ["--layout", layout, "--train", "16", "--validation", "8", "--size", "64"]
        assert main(["make-data", str(home / name), *words]) == 0
    (home / "photos").symlink_to(home / "ADEChallengeData2016" / "images" / "training")
    return home


@pytest.fixture(scope="module")
def made() -> dict[tuple[str, ...], str]:
    """The runs that commands begin from, by what they were trained with."""
    return {}


@pytest.mark.parametrize("command", RUN, ids=lambda command: command.text)
def test_the_command_runs(
    command: Command, home: Path, made: dict[tuple[str, ...], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    if command.trains:
        assert launch(_training(command, made)) == 0
    else:
        assert main(_verb(command, made)) == 0


def _training(command: Command, made: dict[tuple[str, ...], str]) -> list[str]:
    words = ["-m"] if "-m" in command.words else []
    typed = [word for word in command.words if word != "-m"] if words else command.overrides
    if typed[:1] and typed[0].startswith("resume="):
        return [f"resume={_run(made, 'model=mae_vitt')}"]
    typed = [_few_steps(_place(word, typed)) for word in typed if word != "+debug=smoke"]
    shrunk = [*typed, *_shrunk([word for word in typed if not word.startswith(("init_from", "hydra."))])]
    config = compose_config([_first(word) for word in shrunk if not word.startswith(("init_from", "hydra."))])
    if any(word.startswith("init_from=") for word in typed):
        cls = config.backbone.get("num_cls_tokens", 1)
        encoder = [f"backbone.patch_size={config.backbone.patch_size}", f"backbone.num_cls_tokens={cls}"]
        run = _run(made, "model=mae_vitt", *encoder)
        shrunk = [f"init_from={run}" if word.startswith("init_from=") else word for word in shrunk]
    return [*words, *shrunk]


def _place(word: str, words: list[str]) -> str:
    """`data.root=…` is the data made here."""
    if word.startswith("data.root="):
        return next((f"data.root={place}" for data, place in PLACES.items() if data in words), word)
    return word


def _few_steps(word: str) -> str:
    """`schedule.total=500,5000` takes two and three steps, `seed=range(0,1000)` two jobs."""
    key, _, value = word.partition("=")
    if value.startswith("range("):
        return f"{key}=0,1"
    if key == "schedule.warmup":
        return "schedule.warmup=1"
    many = key == "schedule.total" and max(map(float, value.split(","))) > 3
    return f"{key}={','.join(str(2 + n) for n, _ in enumerate(value.split(',')))}" if many else word


PLACES = {"data=ade20k": "ADEChallengeData2016", "data=imagenet": "imagenet", "data=folder": "photos"}
CLASSES = {"data=ade20k": ["data.num_classes=12"], "data=imagenet": ["data.num_classes=7"]}  # of the data made here


def _first(word: str) -> str:
    key, _, value = word.partition("=")
    return word if value[:1] in ("[", "{") else f"{key}={value.split(',')[0]}"


def _shrunk(words: list[str]) -> list[str]:
    """What makes it small: `+debug=smoke`, and the sizes of the model that it composes."""
    config = compose_config(["+debug=smoke", *[_first(word) for word in words]])
    typed = {word.partition("=")[0].lstrip("+") for word in words}
    timm = config.backbone._target_.endswith("timm_encoder")
    keys = [key for key in SHRUNK if OmegaConf.select(config, key) is not None and key not in typed]
    sizes = [f"{key}={SHRUNK[key]}" for key in keys if not (timm and key.startswith("backbone."))]
    small = ["data.image_size=128"]
    return ["+debug=smoke", *sizes, *([] if "data.image_size" in typed else small), *_classes(words)]


def _classes(words: list[str]) -> list[str]:
    return next((classes for data, classes in CLASSES.items() if data in words), [])


def _run(made: dict[tuple[str, ...], str], *words: str) -> str:
    if words not in made:
        made[words] = f"trained/{len(made)}"
        assert launch([*words, *_shrunk(list(words)), f"hydra.run.dir={made[words]}"]) == 0
    return made[words]


def _verb(command: Command, made: dict[tuple[str, ...], str]) -> list[str]:
    verb, *rest = command.words
    segmenter = (verb in SEGMENTERS and "evaluation=features" not in rest) or "task=segment" in rest
    run = (
        "photos"
        if verb in ("check-data", "make-shards")
        else _run(made, f"model={'upernet' if segmenter else 'mae'}_vitt")
    )
    words = [_place(word, rest) for word in rest]
    words = [run if word.startswith(("placeholder", "outputs")) else word for word in words]
    words = ["step=2" if word.startswith("step=") else word for word in words]
    if verb == "runs" and run not in words:  # outputs/ is where nothing was trained here
        words = [run, *words]
    Path("written").mkdir(exist_ok=True)
    written = f"written/{len(list(Path('written').iterdir()))}"
    if verb in WRITES:  # to a place of its own
        words[WRITES[verb]] = written
    words = [written if word == "predicted/" else word for word in words]
    small = ["evaluation.validation.limit=8", "evaluation.validation.bank=64"] if "evaluation=features" in rest else []
    return [verb, *words, *_classes(words), *small]


WRITES = {"convert": 1, "make-shards": 0}  # which of its words names what it writes
