"""`simbench init`: ten lines that pass `simbench check`."""

from __future__ import annotations

from pathlib import Path

import pytest
from toys import ToyTask

from simbench.core.errors import DataError, UsageError
from simbench.generators.contract import check_generator
from simbench.generators.resolve import resolve
from simbench.generators.template import write_scaffold
from simbench.tasks import get_task
from simbench.tasks.base import Task


@pytest.mark.parametrize("name", ["zn-geant3", "mnist"])
def test_the_generator_passes_the_contract_of_its_task(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mymodel.py"
    task = get_task(name)
    write_scaffold(path, task)
    try:
        task.load("test")
    except DataError as error:
        pytest.skip(str(error))
    checks = list(check_generator(f"{path}:Model", {}, task))
    assert [(found.name, found.reason) for found in checks if found.status != "ok"] == []
    assert checks[-1].name == "memory"


def test_any_other_task_has_a_start_too(tmp_path: Path) -> None:
    write_scaffold(tmp_path / "mymodel.py", ToyTask())
    checks = list(check_generator(f"{tmp_path / 'mymodel.py'}:Model", {}, ToyTask()))
    assert [(found.name, found.reason) for found in checks if found.status != "ok"] == []


@pytest.mark.parametrize("template", [get_task("zn-geant3").template, get_task("mnist").template, Task.template])
def test_it_is_ten_lines_at_most(template: str) -> None:
    lines = [
        line for line in template.format(task="mnist", file="mymodel.py", name="Model").splitlines() if line.strip()
    ]
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my_flow.py", "MyFlow"),
        ("flow.py", "Flow"),
        ("vaeGAN_2.py", "VaeGAN2"),
        ("mymodel.py", "Model"),
        ("model.py", "Model"),
        ("my_model.py", "MyModel"),
        ("_.py", "Model"),
        ("none.py", "Model"),
    ],
)
def test_the_class_is_called_like_the_file(tmp_path: Path, file: str, name: str) -> None:
    assert write_scaffold(tmp_path / file, ToyTask()) == name
    assert resolve(f"{tmp_path / file}:{name}").name == name


def test_a_template_without_a_name_keeps_its_class(tmp_path: Path) -> None:
    class Own(ToyTask):
        template = "class Model:\n    def sample(self, conditions, *, seed): ...\n"

    assert write_scaffold(tmp_path / "my_flow.py", Own()) == "Model"


def test_its_parameters_can_be_set(tmp_path: Path) -> None:
    write_scaffold(tmp_path / "mymodel.py", get_task("zn-geant3"))
    found = resolve(f"{tmp_path / 'mymodel.py'}:Model", {"width": "4"})
    assert found.parameters == {"photons_per_gev": 0.7, "width": 4.0}


def test_files_are_never_overwritten_and_have_a_name_that_imports(tmp_path: Path) -> None:
    path = tmp_path / "mymodel.py"
    path.write_text("precious")
    with pytest.raises(UsageError, match="never overwritten"):
        write_scaffold(path, get_task("mnist"))
    assert path.read_text() == "precious"
    for name in ("mymodel", "mymodel.txt", "my-model.py", "1model.py"):
        with pytest.raises(UsageError, match="can be imported"):
            write_scaffold(tmp_path / name, get_task("mnist"))
    with pytest.raises(UsageError, match=r"below\.py"):
        write_scaffold(path / "below.py", get_task("mnist"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["mymodel.py"]
