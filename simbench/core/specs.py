"""What a user names as `name`, `pkg.module:attr` or `path/file.py:attr`, imported: a generator, a task."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import inspect
import keyword
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simbench.core.errors import SimbenchError, UsageError
from simbench.core.files import file_sha256
from simbench.core.plugins import did_you_mean, entry_points, unknown_name
from simbench.core.user_code import user_code


@dataclass(frozen=True)
class Kind:
    """A kind of thing that users name.

    Attributes:
        noun: what it is called: `generator`.
        group: its entry-point group.
        error: what an exception of the user's code becomes.
        method: one that its classes have, by which a hint finds the class in a file.
        wanted: what to name, in a sentence.
        prefixes: what else stands before a colon, `onnx`.
    """

    noun: str
    group: str
    error: type[SimbenchError]
    method: str
    wanted: str
    prefixes: tuple[str, ...] = ()

    @property
    def forms(self) -> str:
        """How one is named that has no name of its own, for error messages."""
        return ", ".join(["pkg.module:attr", "path/file.py:attr", *(f"{prefix}:FILE" for prefix in self.prefixes)])


@dataclass(frozen=True)
class Target:
    """What a spec names, before anything is made of it. `version` is that of its module or package."""

    value: Any
    name: str
    version: str | None


def find_target(spec: str, kind: Kind, others: Iterable[str] = ()) -> Target:
    """What `spec` names, imported. The working directory and the folder of `file.py` are importable meanwhile.

    `others` are names that are known elsewhere, for the error that says which there are.

    Raises:
        UsageError: there is no such name, file, module or attribute.
        The `error` of its kind: the user's code raised.
    """
    head, colon, attribute = spec.rpartition(":")
    if not colon:
        return _registered(spec, kind, others)
    if not head or not all(part.isidentifier() for part in attribute.split(".")):
        raise UsageError(f"not a {kind.noun}", got=repr(spec), expected=f"a name, {kind.forms}")
    is_file = head.endswith(".py") or "/" in head or "\\" in head
    module = _file_module(Path(head), kind) if is_file else _named_module(head, spec, kind)
    package = sys.modules.get(module.__name__.partition(".")[0])
    version = getattr(module, "__version__", None) or getattr(package, "__version__", None)
    return Target(_attribute(module, attribute, head, kind), attribute, version if isinstance(version, str) else None)


def source_sha256(value: Any) -> str | None:
    """The checksum of the file that defines a function, a class or the class of an object; None where there is none."""
    source = value if inspect.isroutine(value) or isinstance(value, type) else type(value)
    try:
        path = inspect.getsourcefile(source)
        return file_sha256(Path(path)) if path else None
    except (TypeError, OSError):
        return None


def described(value: Any) -> str:
    """`class Model`, `a function`, `int object`."""
    if isinstance(value, type):
        return f"class {value.__name__}"
    return "a function" if inspect.isroutine(value) else f"{type(value).__name__} object"


def _registered(spec: str, kind: Kind, others: Iterable[str]) -> Target:
    known = entry_points(kind.group)
    if spec in known:
        point = known[spec]
        module = _import(point.module, f"the registered {spec!r} ({point.value}) cannot be loaded", kind)
        value = _attribute(module, point.attr, point.module, kind)
        return Target(value, spec, point.dist.version if point.dist else None)
    as_file = Path(spec if spec.endswith(".py") else f"{spec}.py")
    if as_file.is_file():
        what = f"the {kind.noun} lacks the name of the class or function"
        raise UsageError(what, got=repr(spec), fix=f"Try {as_file}:{_class_in(as_file, kind)}.")
    error = unknown_name(kind.noun, spec, [*known, *others])
    expected = f"{error.expected}; or {kind.forms}"
    raise UsageError(error.what, got=error.got, expected=expected, fix=error.fix)


def class_name(path: Path) -> str:
    """What `simbench init` calls the class in a file: `my_flow.py` holds `MyFlow`, `mymodel.py` holds `Model`."""
    words = path.stem.split("_")
    name = "".join(word[:1].upper() + word[1:] for word in words)
    plain = len(words) == 1 and name.lower().endswith("model")
    return "Model" if plain or not name.isidentifier() or keyword.iskeyword(name) else name


def _class_in(path: Path, kind: Kind) -> str:
    """The first class of a file with the method of the kind, by its text; what `simbench init` would call it, else."""
    with contextlib.suppress(OSError, ValueError, SyntaxError):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(getattr(part, "name", "") == kind.method for part in node.body):
                return node.name
    return class_name(path)


def _file_module(path: Path, kind: Kind) -> types.ModuleType:
    if not path.is_file():
        near = [entry.name for entry in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise UsageError("no such file", got=str(path), expected="a Python file", fix=did_you_mean(path.name, near))
    if path.suffix != ".py":
        raise UsageError("not a Python file", got=str(path), expected="path/file.py:attr")
    name = f"simbench_user_{kind.noun}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UsageError("not a Python file", got=str(path), expected="path/file.py:attr")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with importable(path.resolve().parent), user_code(f"{path} cannot be imported", kind.error):
        spec.loader.exec_module(module)
    return module


def _named_module(name: str, spec: str, kind: Kind) -> types.ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"not a {kind.noun}", got=repr(spec), expected=f"a name, {kind.forms}")
    with importable(), user_code(f"the package of {name} cannot be imported", kind.error):
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            found = None
    if found is None:
        suggestion = did_you_mean(name, [*kind.prefixes, *(entry.stem for entry in Path.cwd().glob("*.py"))])
        fix = suggestion or "Install the package, or run simbench in the folder that holds it."
        raise UsageError(f"there is no module {name!r}", got=repr(spec), expected=f"a name, {kind.forms}", fix=fix)
    return _import(name, f"{name} cannot be imported", kind)


def _import(name: str, what: str, kind: Kind) -> types.ModuleType:
    with importable(), user_code(what, kind.error):
        return importlib.import_module(name)


def _attribute(module: types.ModuleType, dotted: str, where: str, kind: Kind) -> Any:
    value: Any = module
    for part in dotted.split("."):
        if not hasattr(value, part):
            public = [name for name in dir(value) if not name.startswith("_")]
            raise UsageError(f"{where} has no {part!r}", fix=did_you_mean(part, public) or kind.wanted)
        value = getattr(value, part)
    return value


@contextlib.contextmanager
def importable(folder: Path | None = None) -> Iterator[None]:
    """Import from the working directory (and `folder`) first; afterwards last, for a user's code that runs later."""
    folders = [str(path) for path in dict.fromkeys((folder, Path.cwd())) if path is not None]
    sys.path[:0] = folders
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for path in folders:  # what the user's code has put there stays
            with contextlib.suppress(ValueError):
                sys.path.remove(path)
            if path not in sys.path:
                sys.path.append(path)
