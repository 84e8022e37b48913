"""From a spec to a generator, and every way in which that goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simbench
from simbench.core.errors import GeneratorError, SimbenchError, UsageError
from simbench.core.parameters import parse_params
from simbench.generators.protocol import Generator
from simbench.generators.resolve import FunctionGenerator, find, resolve

MODELS = """
from __future__ import annotations
from pathlib import Path
from typing import Literal, Optional, TYPE_CHECKING
if TYPE_CHECKING:
    from nowhere import Unheard

__version__ = "2.1"

class Plain:
    def sample(self, conditions, *, seed): return conditions

class Typed:
    version = "7"
    def __init__(self, steps: int = 50, width: float = 1.0, exact: bool = False, prior: Literal["nf", "gauss"] = "nf",
                 weights: Optional[Path] = None, label: str | None = "x", limit: int | float = 3,
                 levels: Literal[1, 2] = 1):
        self.__dict__.update({k: v for k, v in locals().items() if k != "self"})
    def sample(self, conditions, *, seed): return conditions

class Unannotated:
    def __init__(self, steps=50, name="a", scale=1.5, odd=(1, 2)):
        self.steps, self.name, self.scale = steps, name, scale
    def sample(self, conditions, *, seed): return conditions

class Unresolvable:
    def __init__(self, width: int = 3, other: Unheard = None): self.width = width
    def sample(self, conditions, *, seed): return conditions

class Needy:
    def __init__(self, depth: int, width: int): self.depth = depth
    def sample(self, conditions, *, seed): return conditions

class Anything:
    def __init__(self, **options): self.options = options
    def sample(self, conditions, *, seed): return conditions

class Strange:
    def __init__(self, sizes: list[int] = None): ...
    def sample(self, conditions, *, seed): return conditions

class Sampleless:
    def generate(self, conditions): ...

class Seedless:
    def sample(self, conditions): ...

class Broken:
    def __init__(self): raise OSError("no weights\\nhere")
    def sample(self, conditions, *, seed): ...

class Weighty:
    weights_path = None
    def sample(self, conditions, *, seed): ...

class Loaded:
    # its file of weights says what it is
    def __init__(self, prior: str = "normal", latent: int = 16): self.prior, self.latent, self.own = prior, latent, {}
    def sample(self, conditions, *, seed): return conditions
    @property
    def effective_parameters(self): return self.own() if callable(self.own) else self.own

def function(conditions, *, seed, scale: float = 2.0): return conditions * scale
def seedless(conditions): return conditions
instance = Typed(steps=3)
number = 3
class Nest:
    Inner = Plain
"""


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `models.py` in it; what tests import from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "stranger_models.py").write_text(MODELS)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def message(spec: str, params: dict[str, str] | None = None, kind: type[SimbenchError] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        resolve(spec, params)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "spec",
    ["stranger_models:Plain", "stranger_models.py:Plain", "./stranger_models.py:Plain", "stranger_models:Nest.Inner"],
)
def test_module_and_file_specs_give_a_generator(workdir: Path, spec: str) -> None:
    found = resolve(spec)
    assert isinstance(found.generator, Generator)
    assert found.spec == spec
    assert found.name == spec.partition(":")[2]
    assert found.version == "2.1"
    assert found.parameters == {}
    assert found.source_sha256 is not None
    assert len(found.source_sha256) == 64


def test_an_absolute_path_works_from_anywhere_and_its_siblings_are_importable(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workdir / "elsewhere"
    folder.mkdir()
    (folder / "stranger_sibling.py").write_text("VALUE = 5\n")
    (folder / "m.py").write_text(
        "from stranger_sibling import VALUE\nfrom stranger_models import Plain as Model\nModel.value = VALUE\n"
    )
    assert resolve(f"{folder / 'm.py'}:Model").generator.value == 5  # type: ignore[attr-defined]


def test_the_search_path_is_restored_but_for_its_end(workdir: Path) -> None:
    before = list(sys.path)
    resolve("stranger_models:Plain")
    assert sys.path[: len(before)] == before
    assert sys.path[len(before) :] == [str(workdir)]
    resolve("stranger_models:Plain")
    assert sys.path[len(before) :] == [str(workdir)]


def test_an_edited_file_is_read_again(workdir: Path) -> None:
    path = workdir / "edited.py"
    path.write_text("class Model:\n    version = 'a'\n    def sample(self, conditions, *, seed): ...\n")
    assert resolve("edited.py:Model").version == "a"
    path.write_text("class Model:\n    version = 'bb'\n    def sample(self, conditions, *, seed): ...\n")
    assert resolve("edited.py:Model").version == "bb"


def test_parameters_are_typed_by_annotations_and_recorded(workdir: Path) -> None:
    given = {
        "steps": "7",
        "width": "2e-3",
        "exact": "yes",
        "prior": "gauss",
        "weights": "a/b.safetensors",
        "label": "none",
        "limit": "2.5",
        "levels": "2",
    }
    found = resolve("stranger_models:Typed", given)
    got: Any = found.generator
    assert (got.steps, got.width, got.exact, got.prior) == (7, 0.002, True, "gauss")
    assert (got.weights, got.label, got.limit, got.levels) == (Path("a/b.safetensors"), None, 2.5, 2)
    assert found.parameters == {
        "steps": 7,
        "width": 0.002,
        "exact": True,
        "prior": "gauss",
        "weights": "a/b.safetensors",
        "label": None,
        "limit": 2.5,
        "levels": 2,
    }
    assert found.version == "7"


def test_a_generator_is_called_what_its_class_says(workdir: Path) -> None:
    head = "class Model:\n    def sample(self, conditions, *, seed): ...\n    name = "
    for word, expected in (("'my flow'", "my flow"), ("' '", "Model"), ("3", "Model"), ("property(str)", "Model")):
        (workdir / f"named{len(word)}.py").write_text(f"{head}{word}\n")
        assert resolve(f"named{len(word)}.py:Model").name == expected
    parameter = resolve("stranger_models:Unannotated", {"name": "b"})
    assert parameter.name == "Unannotated"
    (workdir / "long.py").write_text(f"{head}'x' * 501\n")
    with pytest.raises(GeneratorError, match="its `name` is too long"):
        resolve("long.py:Model")


def test_defaults_are_recorded_where_they_are_plain(workdir: Path) -> None:
    assert resolve("stranger_models:Unannotated", {"steps": "3"}).parameters == {"steps": 3, "name": "a", "scale": 1.5}


def test_annotations_that_cannot_be_resolved_do_not_matter(workdir: Path) -> None:
    assert resolve("stranger_models:Unresolvable", {"width": "4"}).generator.width == 4  # type: ignore[attr-defined]


def test_keyword_dictionaries_take_text(workdir: Path) -> None:
    assert resolve("stranger_models:Anything", {"a": "1"}).generator.options == {"a": "1"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"steps": "x"}, ["--param steps", "'x'", "int"]),
        ({"steps": "2.5"}, ["--param steps", "int"]),
        ({"width": "nan"}, ["--param width", "float"]),
        ({"exact": "perhaps"}, ["--param exact", "bool"]),
        ({"prior": "gaus"}, ["one of 'nf', 'gauss'", "Did you mean 'gauss'?"]),
        ({"levels": "3"}, ["one of 1, 2"]),
        ({"stesp": "3"}, ["no parameter 'stesp'", "Did you mean 'steps'?"]),
        ({"label": "a" * 501}, ["too long"]),
    ],
)
def test_wrong_parameters(workdir: Path, params: dict[str, str], words: list[str]) -> None:
    said = message("stranger_models:Typed", params)
    assert all(word in said for word in words), said


def test_types_that_have_no_text_form_are_refused(workdir: Path) -> None:
    assert "list[int]" in message("stranger_models:Strange", {"sizes": "1,2"})


def test_missing_arguments_name_the_param_to_pass(workdir: Path) -> None:
    assert "--param depth=… --param width=…" in message("stranger_models:Needy")
    assert "--param width=…" in message("stranger_models:Needy", {"depth": "1"})


def test_functions_are_generators_with_their_further_keywords_as_parameters(workdir: Path) -> None:
    found = resolve("stranger_models:function", {"scale": "3"})
    assert isinstance(found.generator, FunctionGenerator)
    assert found.generator.sample(2, seed=0) == 6.0
    assert found.parameters == {"scale": 3.0}
    assert resolve("stranger_models:function").parameters == {"scale": 2.0}
    assert found.source_sha256 == resolve("stranger_models:Plain").source_sha256
    assert "'conditions'" in message("stranger_models:function", {"conditions": "1"})


def test_instances_are_generators_without_parameters(workdir: Path) -> None:
    assert resolve("stranger_models:instance").generator.steps == 3  # type: ignore[attr-defined]
    assert "is an instance" in message("stranger_models:instance", {"steps": "4"})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("stranger_models:Sampleless", ["class Sampleless without a method `sample`", "simbench init"]),
        ("stranger_models:Seedless", ["takes no seed", "sample(conditions)"]),
        ("stranger_models:seedless", ["is no generator", "(conditions)"]),
        ("stranger_models:number", ["int object"]),
        ("stranger_models:Broken", ["cannot be constructed", "OSError: no weights here (stranger_models.py:"]),
    ],
)
def test_things_that_are_no_generator(workdir: Path, spec: str, words: list[str]) -> None:
    said = message(spec, kind=GeneratorError)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("memoriserr", ["unknown generator", "Did you mean 'memoriser'?"]),
        ("", ["unknown generator"]),
        (":", ["not a generator"]),
        ("stranger_models:", ["not a generator"]),
        (":Plain", ["not a generator"]),
        ("a b:Plain", ["not a generator"]),
        ("stranger_modles:Plain", ["no module 'stranger_modles'", "Did you mean 'stranger_models'?"]),
        ("stranger_models.sub:Plain", ["no module"]),
        ("stranger_models:Plane", ["has no 'Plane'", "Did you mean 'Plain'?"]),
        ("stranger_models:Plain.x", ["has no 'x'"]),
        ("stranger_models", ["stranger_models.py:Plain"]),
        ("stranger_models.py", ["stranger_models.py:Plain"]),
        ("stranger_modles.py:Plain", ["no such file", "Did you mean 'stranger_models.py'?"]),
        ("no/such/folder/m.py:Plain", ["no such file"]),
        ("folder/file.txt:Plain", ["no such file"]),
        ("tensorflow:model.pb/", ["unknown prefix", "samples:"]),
        ("onnx:model.onnx", ["no such file", "model.onnx"]),
        ("cmd:./program", ["no such program", "./program"]),
        ("samples:made.h5", ["simbench score made.h5"]),
    ],
)
def test_specs_that_name_nothing(workdir: Path, spec: str, words: list[str]) -> None:
    said = message(spec)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('at import')", ["cannot be imported", "RuntimeError: at import (bad_{n}.py:1)"]),
        ("import sys\nsys.exit(1)", ["SystemExit: 1 (bad_{n}.py:2)", "__main__"]),
        ("def f(:\n", ["SyntaxError", "(bad_{n}.py:1)"]),
        ("import nowhere_to_be_found", ["No module named 'nowhere_to_be_found'", "Install"]),
        ("def f(): f()\nf()", ["RecursionError"]),
        ("raise MemoryError", ["MemoryError", "ran out of memory"]),
        (
            "class Meta(type):\n    def __str__(cls): raise ValueError\n"
            "raise ValueError(chr(27) + '[31m' + 'x' * 5000)",
            ["ValueError", "…"],
        ),
        ("\0", ["null bytes"]),
        ("\xff\xfe", ["cannot be imported"]),
    ],
)
def test_modules_that_fail_at_import(
    workdir: Path, source: str, words: list[str], request: pytest.FixtureRequest
) -> None:
    number = abs(hash(source)) % 10**6
    (workdir / f"bad_{number}.py").write_bytes(source.encode("latin-1"))
    for spec in (f"bad_{number}:Model", f"bad_{number}.py:Model"):
        said = message(spec, kind=GeneratorError)
        assert all(word.replace("{n}", str(number)) in said for word in words), said
        assert len(said) < 700


def test_ctrl_c_at_import_passes(workdir: Path) -> None:
    (workdir / "interrupted.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        resolve("interrupted.py:Model")


def test_entry_points_have_their_names_and_the_version_of_their_package() -> None:
    found = resolve("memoriser")
    assert found.name == "memoriser"
    assert found.version == getattr(found.generator, "version", simbench.__version__)
    assert found.source_sha256 is not None


def test_weights_are_known_by_their_checksum(workdir: Path) -> None:
    found = resolve("stranger_models:Weighty")
    assert found.weights_sha256() is None
    (workdir / "w").write_bytes(b"abc")
    found.generator.weights_path = workdir / "w"  # type: ignore[attr-defined]
    assert found.weights_sha256() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    found.generator.weights_path = workdir / "missing"  # type: ignore[attr-defined]
    with pytest.raises(GeneratorError, match="weights_path"):
        found.weights_sha256()


def test_the_training_seed_is_the_generators_own_word(workdir: Path) -> None:
    found = resolve("stranger_models:Weighty")
    assert found.training_seed() is None
    found.generator.training_seed = 2  # type: ignore[attr-defined]
    assert found.training_seed() == 2
    for wrong in ("2", 2.0, True, -1, 2**63):
        found.generator.training_seed = wrong  # type: ignore[attr-defined]
        with pytest.raises(GeneratorError, match=r"`training_seed` is no seed: got .*expected an int"):
            found.training_seed()


def test_what_a_generator_runs_with_replaces_what_it_was_given(workdir: Path) -> None:
    found = resolve("stranger_models:Loaded", {"latent": "8"})
    assert found.effective_parameters() == {"prior": "normal", "latent": 8}
    found.generator.own = {"prior": "learned", "layers": 5, "rate": np.float64(0.5), "note": None}  # type: ignore[attr-defined]
    effective = found.effective_parameters()
    assert effective == {"prior": "learned", "latent": 8, "layers": 5, "rate": 0.5, "note": None}
    assert type(effective["rate"]) is float
    assert found.parameters == {"prior": "normal", "latent": 8}
    assert resolve("stranger_models:Typed").effective_parameters() == resolve("stranger_models:Typed").parameters


def raises_attribute_error() -> None:
    raise AttributeError("not set up")


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (["prior"], "is no mapping: got list"),
        ({"sizes": [1, 2]}, r"cannot record: got 'sizes': \[1, 2\]"),
        ({3: 1}, "cannot record: got 3: 1"),
        ({"rate": float("nan")}, "'rate': nan"),
        ({"text": "x" * 501}, "cannot record"),
        (raises_attribute_error, r"failed in `effective_parameters`: got AttributeError: not set up"),
    ],
)
def test_effective_parameters_that_no_result_can_hold(workdir: Path, own: object, words: str) -> None:
    found = resolve("stranger_models:Loaded")
    found.generator.own = own  # type: ignore[attr-defined]
    with pytest.raises(GeneratorError, match=words):
        found.effective_parameters()


def test_find_takes_what_has_no_sample(workdir: Path) -> None:
    assert find("stranger_models:Sampleless").value.__name__ == "Sampleless"
    assert find("stranger_models:number").value == 3


@pytest.mark.parametrize("pair", ["steps", "=5", "a b=3", "a-b=3", ""])
def test_params_need_a_key_and_a_value(pair: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        parse_params([pair])


def test_params_may_hold_equals_signs_and_nothing_twice() -> None:
    assert parse_params(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    with pytest.raises(UsageError, match="twice"):
        parse_params(["a=1", "a=2"])
