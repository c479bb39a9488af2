"""Each word, each value and each element of what a file says is looked at, and what is no harm is let through."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Protocol, TypeVar

import pytest
from omegaconf import OmegaConf

from mae_hydra.configuration import from_file, hydras_own, resolvers
from mae_hydra.configuration.check import ROOT_KEYS, _accepts, _group, _lacking, _misfit, check
from mae_hydra.configuration.construct import build, complete, expect, nodes_of
from mae_hydra.configuration.from_file import (
    check_addresses,
    check_overrides,
    literal,
    of_hydra,
    read_json,
    read_recorded,
    read_rows,
)
from mae_hydra.configuration.trust import ROOMS, TRUST, judge
from mae_hydra.errors import UserError

REFUSED = [
    "-m", "--config-dir=/tmp", "hydra.run.dir=x", "+hydra.x=1", "~hydra", "hydra/launcher=gpus", "hydra={a: 1}",
    "+a@hydra.callbacks=b", "++hydra.job={a: 1}", "name=${oc.env:HOME}", r"name=$\{oc.env\:HOME\}",
    "tags=[a,'${oc.env:HOME}']", "+a={b: {'${oc.env:HOME}': 1}}", "data=../x", "+experiment=a/../../x", "data=[a,b/..]",
]  # fmt: skip
TAKEN = [
    "seed=1", "+data=mine", "~logger.wandb", "data.root=../photos", "init_from=../mae.pth", "name=hydra", "myhydra.a=1",
    "model.hydraulic=1", "name=${model.name}", "data=a..b", "tags=[a,b]", "notes='a: b'", "augment={a: {b: c}}",
]  # fmt: skip


def refuses(act: Any, *given: Any) -> bool:
    try:
        act(*given)
    except UserError:
        return True
    return False


def test_each_word_of_a_file_is_looked_at() -> None:
    assert [word for word in REFUSED if not refuses(check_overrides, ["seed=1", word], "run")] == []
    assert [word for word in TAKEN if refuses(check_overrides, ["seed=1", word], "run")] == []
    with pytest.raises(UserError, match=r"^run: ~hydra is not taken from a file"):
        check_overrides([*TAKEN, "~hydra"], "run")
    assert [of_hydra(word) for word in ("a.hydra.b=1", "a=hydra", "hydras=1", "x/hydra=1")] == [
        True,
        False,
        False,
        True,
    ]


def test_each_address_of_the_data_is_typed_wherever_it_stands() -> None:
    for data in ({"root": "s3://a"}, {"lists": ["a", "s3://a/b"]}, {"more": {"x": [["s3://a/b"]]}}):
        config = OmegaConf.create({"data": data, "notes": "s3://other"})
        check_addresses(config, ["x=1", "data.root=s3://a"], "run")
        for words in ([], ["data.root=a"], ["data.root=s3://b"]):
            with pytest.raises(UserError, match=r"run reads data\.\S+ = s3://a"):
                check_addresses(config, words, "run")


def test_an_address_that_another_key_gives_is_one_too() -> None:
    config = OmegaConf.create({"data": {"root": "${paths.data}/b"}, "paths": {"data": "s3://a"}})
    with pytest.raises(UserError, match=r"run reads data\.root = s3://a/b"):
        check_addresses(config, [], "run")
    check_addresses(config, ["paths.data=s3://a"], "run")


def test_what_is_recorded_is_literal_and_has_no_words_for_hydra(monkeypatch: pytest.MonkeyPatch) -> None:
    config = literal({"hydra": {"run": 1}, "a": {"hydra": 2, 3: (1, "${b}")}})
    assert OmegaConf.to_container(config, resolve=True) == {"a": {"hydra": 2, 3: [1, "${b}"]}}
    with pytest.raises(ValueError, match="a value of the kind bytes"):
        literal({"a": [1, b"x"]})
    deep: Any = 1
    for _ in range(32):
        deep = [deep]
    literal({"a": deep[0]})
    monkeypatch.setattr(from_file, "MOST_VALUES", 50)
    literal({"a": [0] * 48})  # beside the table and the list
    for wrong in ([deep], [0] * 49):
        with pytest.raises(ValueError, match="more than 32 levels or 50 values"):
            literal({"a": wrong})


def test_a_record_is_as_large_as_a_record_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (from_file.MOST_BYTES, from_file.MOST_JSON) == (2**19, 2**26)
    with monkeypatch.context() as patch:
        patch.setattr(from_file, "MOST_BYTES", 10)
        patch.setattr(from_file, "MOST_JSON", 10)
        for text, fits in (("a: 345678\n", True), ("a: 3456789\n", False)):
            (tmp_path / "a.yaml").write_text(text)
            assert refuses(read_recorded, tmp_path / "a.yaml") is not fits
        for text, fits in (("[12345678]", True), ("[123456789]", False)):
            (tmp_path / "a.json").write_text(text)
            assert refuses(read_json, tmp_path / "a.json") is not fits
    (tmp_path / "a.yaml").write_text("a: 2026-01-01\n")  # which is no text
    (tmp_path / "b.yaml").write_text(f"a: {'[' * 40}{']' * 40}\n")
    (tmp_path / "pipe").symlink_to("/dev/null")
    for name, said in (("a.yaml", "a value of the kind date"), ("b.yaml", "more than 32 levels"),
                       ("pipe", "it is no regular file"), ("none.yaml", "No such file")):  # fmt: skip
        with pytest.raises(UserError, match=rf"{name} cannot be read.*{said}"):
            read_recorded(tmp_path / name)
    with pytest.raises(UserError, match="it is no regular file"):
        read_json(tmp_path / "pipe")
    assert read_json(tmp_path / "none.json") is read_json(tmp_path / "a.json" / "b.json") is None


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        ('[{"name": "a", "IoU": 1.5}, {"name": "b", "IoU": null}]', False),
        ('[{"name": "a"}, {"name": "b", "IoU": 2}]', True),
        ('[{"name": "a", "IoU": 1}, {"name": "b", "IoU": "x"}]', True),
        ('[{"name": "a", "other": "x"}, {"name": "b", "other": 1}]', False),
        ('[{"name": "a"}, {"name": 3}]', True),
        ('[{"name": "a"}, "b"]', True),
        ('[{"name": "a"}, {"name": "b", "other": [1]}]', True),
        ('{"name": "a"}', True),
    ],
)
def test_each_row_of_a_table_has_a_name_and_numbers_for_scores(tmp_path: Path, rows: str, refused: bool) -> None:
    (tmp_path / "rows.json").write_text(rows)
    assert refuses(read_rows, tmp_path / "rows.json", ("IoU",)) is refused
    assert read_rows(tmp_path / "none.json", ("IoU",)) == []


@pytest.mark.parametrize(
    ("target", "key", "origin", "built"),
    [
        ("mae_hydra.data.scenes", "data", "person", True),
        ("mae_hydra.data.scenes", "data", "model", False),
        ("mae_hydra.data.PretrainAugment", "data", "person", False),  # of the room, and not what stands there
        ("mae_hydra.data.PretrainAugment", "augment", "person", True),
        ("mae_hydra.data.PretrainAugment", "data.part", "file", True),
        ("mae_hydra.models.MAE", "model", "model", True),
        ("mae_hydra.models.MAE", "optimizer", "person", False),
        ("mae_hydra.models.MAE", "mine", "person", True),  # a key of no group: any part of the package
        ("mae_hydra.models.MAE", "mine", "model", True),
        ("mae_hydra.tracking.Wandb", "logger.wandb", "file", True),
        ("mae_hydra.tracking.Wandb", "callbacks[0]", "file", False),
        ("mae_hydra.optim.CosineSchedule", "optimizer", "person", False),
        ("mae_hydra.engine.EarlyStopping", "callbacks[1]", "file", True),
        ("mae_hydra.engine.Settings", "callbacks", "person", False),
        ("torch.nn.Linear", "head", "person", True),
        ("torch.optim.SGD", "optimizer[0].part", "file", True),
    ],
)
def test_a_target_is_built_in_its_group_and_for_whom_it_is_meant(
    target: str, key: str, origin: Any, built: bool
) -> None:
    assert refuses(judge, target, key, origin) is not built


def test_a_package_is_trusted_by_its_whole_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "no_such.lab")
    for target in ("no_such.labs.X", "no_such.la.X", "no_such.X", "other.no_such.lab.X"):
        with pytest.raises(UserError, match="is not built; "):
            judge(target, "model", "person")
    for origin in ("person", "file", "model"):
        with pytest.raises(UserError, match="cannot be found"):
            judge("no_such.lab.X", "model", origin)  # type: ignore[arg-type]
    assert "mae_hydra.launching" not in ROOMS


def test_what_hydra_or_logging_would_import_is_found_wherever_it_stands() -> None:
    def named(**node: Any) -> list[str]:
        made = OmegaConf.create({"hydra": node, "elsewhere": {"_target_": "b.B"}})
        return [f"{key} = {name}" for key, name in hydras_own._named(made._get_node("hydra"), "hydra")]

    assert named(callbacks=[{"_target_": "a.A"}, [{"x": {"_target_": "a.C"}}], "${elsewhere}"]) == [
        "hydra.callbacks.0._target_ = a.A", "hydra.callbacks.1.0.x._target_ = a.C",
        "hydra.callbacks.2._target_ = b.B",
    ]  # fmt: skip
    handler = {"class": "a.H", "()": "a.F", "stream": "ext://sys.stdout", "more": ["ext://sys.stderr", "x ext://a.b"]}
    logging = {"handlers": {"x": handler}, "y": {"queue": "a.Q", "listener": "a.L"}, "level": "INFO", "names": None}
    found = ["handlers.x.class = a.H", "handlers.x.() = a.F", "handlers.x.more.1 = x ext://a.b", "y.queue = a.Q",
             "y.listener = a.L"]  # fmt: skip
    for key in ("job_logging", "hydra_logging"):
        assert named(**{key: logging}) == [f"hydra.{key}.{each}" for each in found]
    assert named(job={"class": "a.H", "stream": "ext://a.b"}) == []


def test_a_value_is_of_the_kind_that_its_key_says() -> None:
    assert {name for name, kind in ROOT_KEYS.items() if kind is int} == {"seed"}
    for name, wrong in (("seed", 1.0), ("seed", True), ("fail_fast", 1), ("resume_data", "other"), ("tags", "a"),
                        ("group", 3), ("name", None)):  # fmt: skip
        with pytest.raises(UserError, match=rf"^{name} must be "):
            check(OmegaConf.create({name: wrong}))
    check(OmegaConf.create({"seed": 1, "fail_fast": True, "resume_data": "changed", "tags": ["a"], "group": None}))
    nothing = [name for name in ROOT_KEYS if not refuses(check, OmegaConf.create({name: None}))]
    assert nothing == ["group", "init_from", "resume", "notes"]
    assert [_accepts(float | str | None, value) for value in (1, 0.5, "a", None, True, [1])] == [True] * 4 + [False] * 2
    assert [_accepts(Sequence[float], value) for value in (3, "a", None, True, [1.5, 2], [1, "a"], [])] == [
        False, False, False, False, True, False, True,
    ]  # fmt: skip
    assert [_accepts(hint, 3) for hint in (Any, Sequence[Any], Any | None, TypeVar("T"), Path)] == [  # type: ignore
        True, False, True, True, False,
    ]  # fmt: skip
    assert _accepts(Sequence[Any], [3, "a"])
    assert [_accepts(Literal["1", 2, 0], value) for value in ("1", 1, 2, "2", 0, False)] == [
        True, False, True, False, True, False
    ]  # fmt: skip
    assert _accepts(object, 3)
    assert [_group(key) for key in ("model.encoder", "model.decoder", "model.auxiliary", "model.loss")] == [
        "backbone", "head", "head", "loss",
    ]  # fmt: skip
    assert [len(list(_misfit("a", int | str, kind))) for kind in (int, str, float)] == [0, 0, 1]


def test_a_part_has_all_that_it_owes_and_each_node_of_a_group_is_one() -> None:
    made = complex(1)
    assert expect("a", made, ["real", "imag"]) is made
    with pytest.raises(UserError, match=r"^a gives a complex, which has no x, y; docs/extending\.md"):
        expect("a", made, ["real", "x", "y"])
    one, bare = {"_target_": "a.A"}, {"every": 1}
    for group in ("evaluation", "callbacks", "logger"):
        config = OmegaConf.create({group: {"a": one, "b": one | {"x": 1}}})
        assert list(nodes_of(config, group)) == ["a", "b"]
        for other, said in ((bare, "has no _target_"), (3, "is 3, and no ")):
            with pytest.raises(UserError, match=rf"^{group}\.b {said}"):
                nodes_of(OmegaConf.create({group: {"a": one, "b": other}}), group)
    assert nodes_of(OmegaConf.create({"evaluation": {"b": bare}}), "evaluation") == {}  # evaluation=none
    with pytest.raises(UserError, match=r"^logger\.b has no _target_, which says what the tracker is"):
        nodes_of(OmegaConf.create({"logger": {"b": bare}}), "logger")


def test_what_is_built_for_later_keeps_its_arguments_and_a_refusal_names_its_key() -> None:
    node = {"_target_": "torch.nn.Linear", "_partial_": True, "_args_": [2], "out_features": 3}
    layer = build(OmegaConf.create(node), "head")()
    assert (layer.in_features, layer.out_features) == (2, 3)

    def factory(*, depth: int) -> None:
        raise (ValueError if depth > 1 else TypeError)("depth must be one")

    for depth in (1, 2):
        with pytest.raises(UserError, match=r"^head: depth must be one$"):
            complete("head", factory, depth=depth)
    for where in ({"name": "${a}"}, {"names": ["x", "\\${a}"]}, {"more": {"x": [{"y": "\\${a}"}]}},
                  {"text": "x/\\${a}"}):  # fmt: skip
        given = OmegaConf.create({"a": "\\${b}", "head": {"_target_": "torch.nn.Identity", **where}})
        with pytest.raises(UserError, match=r"holds an interpolation that would be resolved later"):
            build(given.head, "head")


class Wanted(Protocol):
    """What a part may owe: a method, and an attribute."""

    width: int

    def count(self) -> int: ...

    def _hidden(self) -> int: ...  # which is nobody else's matter


def test_a_part_has_what_a_protocol_names_in_whichever_way_it_comes_by_it() -> None:
    class Nothing: ...

    class Method:
        def count(self) -> int: ...

    class Annotated(Method):
        width: int

    class Given(Method):
        def __init__(self, width: int) -> None: ...

    class Written(Method):
        def __init__(self) -> None:
            self.width = 3

    class Anything:
        def __getattr__(self, name: str) -> int: ...

    class Set(Nothing):
        def __init__(self) -> None:
            setattr(self, "wid" + "th", 3)

    kinds = (Nothing, Method, Annotated, Given, Written, Anything, Set)
    assert [_lacking(kind, Wanted) for kind in kinds] == [["count", "width"], ["width"], [], [], [], False, False]

    class More(Wanted, Protocol):
        def more(self) -> int: ...

    assert [_lacking(kind, More) for kind in (Nothing, Given)] == [["count", "more", "width"], ["more"]]
    assert (_lacking(int, int), _lacking(bool, int), _lacking(int, str)) == (False, False, True)
    assert list(_misfit("a", int | Any, str)) == []


def test_the_model_is_complained_of_first_and_what_takes_anything_takes_any_argument() -> None:
    less, anything = {"_target_": "torch.nn.Linear", "in_features": 2}, {"_target_": "torch.nn.Identity", "x": 1}
    for key in ("backbone", "head"):
        with pytest.raises(UserError, match=r"^model\.out_features is missing"):
            check(OmegaConf.create({key: less, "model": less}))
    check(OmegaConf.create({"head": anything, "model": {"_target_": "torch.nn.Linear", "_args_": [2, 3]}}))
    with pytest.raises(UserError, match=r"^head\.x is not an argument of Linear"):
        check(OmegaConf.create({"head": {**less, "out_features": 1, "x": 1}}))


def test_hydra_opens_folders_of_packages_that_are_allowed_and_tells_no_file_that_others_build_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Loader:
        def load_configuration(self, node: Any) -> Any:
            return OmegaConf.create({"hydra": node})

    class Repository:
        opened: Any = None

        def initialize_sources(self, path: Any) -> None:
            self.opened = path

        def get_group_options(self, group: str) -> list[str]:
            return ["_base", "a", f"{group}_b"]

    for _ in range(2):
        hydras_own.guard(Loader, Repository)
    repository = Repository()
    assert repository.get_group_options("x") == ["a", "x_b"]
    monkeypatch.setenv(TRUST, "mine.conf")

    def opens(*paths: str) -> bool:
        search = SimpleNamespace(get_path=lambda: [SimpleNamespace(path=path) for path in paths])
        repository.opened = None
        refused = refuses(repository.initialize_sources, search)
        assert refused is (repository.opened is None)
        return not refused

    allowed = ["pkg://hydra.conf", "pkg:///mae_hydra/conf/", "pkg://hydra_plugins.x", "pkg://mine.conf", None]
    allowed += ["file:///anywhere", "structured://"]
    assert opens(*allowed)
    for wrong in ("pkg://evil", "pkg://mine", "pkg://evil/mae_hydra", "pkg://mae_hydras.conf"):
        assert not opens(*allowed, wrong)
    load = Loader().load_configuration
    for name in ("hydra_plugins.a.B", "hydra._internal.core_plugins.x", "optuna.samplers.A", "optuna.pruners.B",
                 "mae_hydra.experiment.sweeps.NoteSweep", "mine.conf.X"):  # fmt: skip
        assert load({"sweeper": {"_target_": name}}).hydra.sweeper._target_ == name
        assert not refuses(load, {"job_logging": {"a": {"class": "colorlog.A", "()": "logging.B"}}})
    for name in ("optuna.A", "logging.A", "os.mkdir", "mae_hydra.models.MAE", "mae_hydra.experiment.sweeps.Other"):
        assert refuses(load, {"sweeper": {"_target_": name}})
    for name in ("hydra_plugins.a.B", "optuna.samplers.A"):
        with pytest.raises(hydras_own.WouldImport) as caught:
            load({"job_logging": {"a": {"class": name}}})
        assert caught.value.key == "hydra.job_logging.a.class"


def test_what_does_not_resolve_is_told_by_the_key_that_lacks_something() -> None:
    resolvers.register()
    layer = {"_target_": "torch.nn.Linear", "out_features": 3}
    for value, more, said in (
        ("${data.size}", {"data": {"size": "???"}}, r"data\.size must be given a value, e\.g\. data\.size=…"),
        ("${data.size}", {"data": {"size": "${seed}"}, "seed": "???"}, r"seed must be given a value, e\.g\. seed=…"),
        ("???", {"name": "???"}, r"head\.in_features, name must be given a value, e\.g\. head\.in_features=…"),
        ("${backbone.none}", {"backbone": {}},
         r"head\.in_features refers to backbone\.none, which is not there: choose another head= or backbone= or model"),
        ("${other.x}", {}, r"head\.in_features refers to other\.x, .*: choose another head= or model="),
        ("${width:[1],7}", {}, "list index out of range"),
        ("${nothing:1}", {}, "the configuration does not resolve: Unsupported interpolation type nothing"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"^{said}=?$"):
            check(OmegaConf.create({"head": {**layer, "in_features": value}, **more}))


class Silent:
    """A part that tells nothing of its arguments."""

    __signature__ = "none"


def untold(a: "NoSuchName") -> "NoSuchName":  # type: ignore
    """A function whose annotations lead nowhere."""


def test_parts_that_do_not_tell_what_they_take_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, __name__)
    for name in ("Silent", "untold"):
        check(OmegaConf.create({"head": {"_target_": f"{__name__}.{name}", "a": 1}}))
    with pytest.raises(UserError, match=r"^head\.b is not an argument of untold; it takes a \(~head\.b removes it\)"):
        check(OmegaConf.create({"head": {"_target_": f"{__name__}.untold", "b": 1, "a": 1}}))
    monkeypatch.setattr("mae_hydra.models.untold", untold, raising=False)
    monkeypatch.setattr(untold, "__module__", "mae_hydra.models")
    with pytest.raises(UserError, match="is not built: it is a function of mae_hydra"):
        judge("mae_hydra.models.untold", "head", "person")


def test_a_record_is_the_same_without_libyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("a: {b: [1, x, null, 0.5]}\n")
    (tmp_path / "b.yaml").write_text("a: !!python/object/apply:os.getcwd []\n")
    for there in (True, False):
        monkeypatch.setattr(from_file.yaml, "__with_libyaml__", there)
        assert read_recorded(tmp_path / "a.yaml") == {"a": {"b": [1, "x", None, 0.5]}}
        with pytest.raises(UserError, match="could not determine a constructor"):
            read_recorded(tmp_path / "b.yaml")
