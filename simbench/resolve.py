"""From what a user types after `--generator` to an object with `sample`."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from simbench.errors import GeneratorError, SimbenchError, UsageError
from simbench.names import did_you_mean, entry_points, unknown_name
from simbench.protocols import Generator
from simbench.usercode import user_error

GROUP = "simbench.generators"
MAX_TEXT = 500
"""Longest text of a parameter that a Result records."""

Plain = bool | int | float | str | None
FORMS = "an entry-point name, pkg.module:attr, path/file.py:attr"


@dataclass(frozen=True)
class Resolved:
    """A generator, ready for `setup`, with what a Result records of it.

    Attributes:
        spec: what the user typed.
        name: the entry-point name or the attribute; used for folders and boards.
        generator: the object with `sample`.
        parameters: the constructor's arguments: those given, and the defaults that are plain values.
        version: the generator's `version`, else that of its package.
        source_sha256: checksum of the file that defines it, where there is one.
    """

    spec: str
    name: str
    generator: Generator
    parameters: Mapping[str, Plain] = field(default_factory=dict)
    version: str | None = None
    source_sha256: str | None = None

    @property
    def weights(self) -> Path | None:
        """The file of weights that the generator names as `weights_path`, known after its `setup`."""
        path = getattr(self.generator, "weights_path", None)
        return None if path is None else Path(path)

    def weights_sha256(self) -> str | None:
        """The checksum of `weights`. Raises GeneratorError where it names no readable file."""
        if self.weights is None:
            return None
        try:
            return file_sha256(self.weights)
        except OSError as error:
            raise GeneratorError(
                f"{self.spec} names its weights but they cannot be read", got=f"weights_path = {self.weights}",
                expected="the file that `setup` loaded", fix="Set weights_path to that file, or to None.",
            ) from error  # fmt: skip


class FunctionGenerator:
    """A bare function as a generator; its further keyword arguments are parameters."""

    def __init__(self, function: Callable[..., Any], **parameters: Any) -> None:
        self.function = function
        self.parameters = parameters

    def sample(self, conditions: Any, *, seed: int) -> Any:
        """What the function returns."""
        return self.function(conditions, seed=seed, **self.parameters)


@dataclass(frozen=True)
class Target:
    """What a spec names, before it is made into a generator."""

    value: Any
    name: str
    version: str | None


def resolve(spec: str, params: Mapping[str, str] | None = None, target: Target | None = None) -> Resolved:
    """The generator that `spec` names, constructed with `params` (text from `--param key=value`, typed by its annotations).

    The working directory (and the folder of `file.py`) is importable meanwhile. `target` is what `find(spec)` gave, if it was called.

    Raises:
        UsageError: the name is unknown, or a parameter is unknown, missing or of the wrong type.
        GeneratorError: the user's code raised, or what it gave has no `sample(conditions, *, seed)`.
    """
    target = target or find(spec)
    generator, parameters = _construct(spec, target, params or {})
    if not callable(getattr(generator, "sample", None)):
        raise GeneratorError(
            f"{spec} is no generator", got=f"{_describe(target.value)} without a method `sample`",
            expected="sample(self, conditions, *, seed)", fix="`simbench init mymodel.py` writes one to start from.",
        )  # fmt: skip
    if not _takes_seed(generator.sample):
        raise GeneratorError(
            f"{spec}: `sample` takes no seed", got=f"sample{_signature(generator.sample)}", expected="sample(self, conditions, *, seed)",
            fix="Add the keyword `seed` and draw all random numbers from it.",
        )  # fmt: skip
    version = getattr(generator, "version", None)
    source = generator.function if isinstance(generator, FunctionGenerator) else generator
    return Resolved(
        spec=spec,
        name=target.name,
        generator=generator,
        parameters=parameters,
        version=version if isinstance(version, str) else target.version,
        source_sha256=_source_sha256(source),
    )


def construct(spec: str, params: Mapping[str, str] | None = None) -> Any:
    """The object that `spec` names, constructed as `resolve` does, whatever it is. For `simbench train`."""
    return _construct(spec, find(spec), params or {})[0]


def parse_params(pairs: list[str]) -> dict[str, str]:
    """`["steps=50", "prior=nf"]` as a dict. Raises UsageError for a pair without `=` or a key given twice."""
    params: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError("--param takes key=value", got=repr(pair), fix="For example --param steps=50.")
        if key in params:
            raise UsageError(f"--param {key} is given twice", fix="Give it once.")
        params[key] = value
    return params


def file_sha256(path: Path) -> str:
    """The checksum of a file, read in pieces. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- from spec to target ---------------------------------------------------------------------------------------------------------


def _samples_file(spec: str) -> Target:
    path = spec.partition(":")[2]
    raise UsageError(
        f"{spec} holds samples that are made already: there is nothing to construct or time",
        fix=f"Use `simbench score {path}`.",
    )


PREFIXES: dict[str, Callable[[str], Target] | None] = {
    "samples": _samples_file,
    "onnx": None,
    "pt2": None,
    "cmd": None,
}
"""How `prefix:rest` is resolved, before modules and files are tried. None: named in the design, not in this version."""


def find(spec: str) -> Target:
    """What `spec` names, imported and not constructed. Raises as `resolve` does."""
    head, colon, attribute = spec.rpartition(":")
    prefix = spec.partition(":")[0]
    if colon and prefix in PREFIXES and not Path(f"{prefix}.py").is_file():
        handler = PREFIXES[prefix]
        if handler is None:
            raise _unknown_prefix(prefix)
        return handler(spec)
    if not colon:
        return _registered(spec)
    if not head or not all(part.isidentifier() for part in attribute.split(".")):
        if prefix.isidentifier() and attribute:
            raise _unknown_prefix(prefix)
        raise UsageError("not a generator", got=repr(spec), expected=FORMS)
    is_file = head.endswith(".py") or "/" in head or "\\" in head
    module = _file_module(Path(head)) if is_file else _named_module(head, spec)
    package = sys.modules.get(module.__name__.partition(".")[0])
    version = getattr(module, "__version__", None) or getattr(package, "__version__", None)
    return Target(_attribute(module, attribute, head), attribute, version if isinstance(version, str) else None)


def _unknown_prefix(prefix: str) -> UsageError:
    known = [f"{name}:" for name, handler in PREFIXES.items() if handler is not None]
    return UsageError(
        "unknown prefix of a generator", got=f"{prefix}:", expected=f"one of {', '.join(known)}; or {FORMS}"
    )


def _registered(spec: str) -> Target:
    known = entry_points(GROUP)
    if spec in known:
        point = known[spec]
        module = _import(point.module, f"the registered {spec!r} ({point.value}) cannot be loaded")
        return Target(_attribute(module, point.attr, point.module), spec, point.dist.version if point.dist else None)
    as_file = Path(spec if spec.endswith(".py") else f"{spec}.py")
    if as_file.is_file():
        raise UsageError(
            "the generator lacks the name of the class or function", got=repr(spec), fix=f"Try {as_file}:Model."
        )
    error = unknown_name("generator", spec, known)
    raise UsageError(
        error.what, got=error.got, expected=f"{error.expected}; or pkg.module:attr, path/file.py:attr", fix=error.fix
    )


def _file_module(path: Path) -> types.ModuleType:
    if not path.is_file():
        near = [entry.name for entry in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise UsageError("no such file", got=str(path), expected="a Python file", fix=did_you_mean(path.name, near))
    if path.suffix != ".py":
        raise UsageError("not a Python file", got=str(path), expected="path/file.py:attr")
    name = f"simbench_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UsageError("not a Python file", got=str(path), expected="path/file.py:attr")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _importable(path.resolve().parent), _user_code(f"{path} cannot be imported"):
        spec.loader.exec_module(module)
    return module


def _named_module(name: str, spec: str) -> types.ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError("not a generator", got=repr(spec), expected=FORMS)
    with _importable():
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise user_error(
                    error, f"the package of {name} cannot be imported", fix="Install what it needs."
                ) from error
            found = None
        except SimbenchError:
            raise
        except (Exception, SystemExit) as error:
            raise user_error(error, f"the package of {name} cannot be imported") from error
    if found is None:
        suggestion = did_you_mean(name, [entry.stem for entry in Path.cwd().glob("*.py")])
        raise UsageError(
            f"there is no module {name!r}", got=repr(spec), expected=FORMS,
            fix=suggestion or "Install the package, or run simbench in the folder that holds it.",
        )  # fmt: skip
    return _import(name, f"{name} cannot be imported")


def _import(name: str, what: str) -> types.ModuleType:
    with _importable(), _user_code(what):
        return importlib.import_module(name)


def _attribute(module: types.ModuleType, dotted: str, where: str) -> Any:
    value: Any = module
    for part in dotted.split("."):
        if not hasattr(value, part):
            public = [name for name in dir(value) if not name.startswith("_")]
            raise UsageError(
                f"{where} has no {part!r}",
                fix=did_you_mean(part, public) or "Name the class or function that generates.",
            )
        value = getattr(value, part)
    return value


@contextlib.contextmanager
def _importable(folder: Path | None = None) -> Iterator[None]:
    """Import from the working directory (and `folder`) first. Afterwards the path is as it was, but for the folders at its very end,
    where they shadow nothing: a user's `setup` or `sample` may import, too."""
    before = list(sys.path)
    folders = [str(path) for path in dict.fromkeys((folder, Path.cwd())) if path is not None]
    sys.path[:0] = folders
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before + [path for path in folders if path not in before]


@contextlib.contextmanager
def _user_code(what: str) -> Iterator[None]:
    """Turn whatever user code raises, SystemExit too, into one sentence. KeyboardInterrupt passes."""
    try:
        yield
    except SimbenchError:
        raise
    except ModuleNotFoundError as error:
        raise user_error(
            error, what, fix="Install the missing package into the environment that runs simbench."
        ) from error
    except SystemExit as error:
        raise user_error(error, what, fix="Put what belongs to a script under `if __name__ == '__main__':`.") from error
    except Exception as error:
        raise user_error(error, what) from error


# --- from target to generator ----------------------------------------------------------------------------------------------------


def _construct(spec: str, target: Target, params: Mapping[str, str]) -> tuple[Any, dict[str, Plain]]:
    value = target.value
    if isinstance(value, type):
        arguments, parameters = _arguments(spec, value, params, skip=())
        with _importable(), _user_code(f"{spec} cannot be constructed"):
            return value(**arguments), parameters
    if not callable(getattr(value, "sample", None)) and callable(value) and _takes_seed(value):
        arguments, parameters = _arguments(spec, value, params, skip=("seed",))
        return FunctionGenerator(value, **arguments), parameters
    if callable(value) and not hasattr(value, "sample"):
        raise GeneratorError(
            f"{spec} is no generator", got=f"{_describe(value)} with the signature {_signature(value)}",
            expected="sample(conditions, *, seed)", fix="`simbench init mymodel.py` writes one to start from.",
        )  # fmt: skip
    if params:
        raise UsageError(
            f"{spec} is an instance and takes no --param", got=", ".join(params), fix="Name its class instead."
        )
    return value, {}


def _arguments(
    spec: str, target: Any, params: Mapping[str, str], skip: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Plain]]:
    """The keyword arguments to call `target` with, and all its plain-valued parameters for the record."""
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        signature = inspect.Signature()
    kinds = inspect.Parameter
    accepted = [
        p
        for p in signature.parameters.values()
        if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD) and p.name not in skip
    ]
    if skip and accepted:  # a function: its first argument is the conditions
        accepted = accepted[1:]
    named = {parameter.name: parameter for parameter in accepted if parameter.kind is not kinds.POSITIONAL_ONLY}
    takes_any = any(parameter.kind is kinds.VAR_KEYWORD for parameter in signature.parameters.values())
    hints = _hints(target)

    arguments: dict[str, Any] = {}
    for key, text in params.items():
        if key not in named and not takes_any:
            known = f"one of {', '.join(named)}" if named else "none"
            raise UsageError(f"{spec} has no parameter {key!r}", expected=known, fix=did_you_mean(key, named))
        if len(text) > MAX_TEXT:
            raise UsageError(
                f"--param {key} is too long", got=f"{len(text)} characters", expected=f"at most {MAX_TEXT}"
            )
        arguments[key] = _typed(f"--param {key}", text, _annotation(named[key], hints) if key in named else str)
    missing = [
        parameter.name for parameter in accepted if parameter.default is kinds.empty and parameter.name not in arguments
    ]
    if missing:
        flags = " ".join(f"--param {name}=…" for name in missing)
        raise UsageError(
            f"{spec} needs arguments to be constructed", got="none for " + ", ".join(missing), fix=f"Pass {flags}."
        )
    values = {name: arguments.get(name, parameter.default) for name, parameter in named.items()} | arguments
    recorded = {name: _plain(value) for name, value in values.items() if _is_plain(value)}
    return arguments, recorded


def _hints(target: Any) -> dict[str, Any]:
    function = inspect.getattr_static(target, "__init__") if isinstance(target, type) else target
    try:
        return typing.get_type_hints(function)
    except Exception:  # annotations may name what is imported for type checkers only
        return {}


def _annotation(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    """The type of a parameter: annotated, else that of its default, else text."""
    if parameter.name in hints:
        return hints[parameter.name]
    if parameter.annotation is not parameter.empty:
        simple: dict[Any, Any] = {kind.__name__: kind for kind in (bool, int, float, str, Path)}
        return simple.get(parameter.annotation, parameter.annotation)
    return type(parameter.default) if isinstance(parameter.default, (bool, int, float, Path)) else str


def _typed(name: str, text: str, annotation: Any) -> Any:
    """`text` as a value of the annotated type. Raises UsageError."""
    for kind in _alternatives(annotation):
        with contextlib.suppress(ValueError, KeyError):
            return _convert(text, kind)
    choices = [
        repr(value) for kind in _alternatives(annotation) if get_origin(kind) is Literal for value in get_args(kind)
    ]
    expected = f"one of {', '.join(choices)}" if choices else _type_name(annotation)
    known = [str(value) for kind in _alternatives(annotation) for value in get_args(kind)]
    raise UsageError(f"{name} has the wrong type", got=repr(text), expected=expected, fix=did_you_mean(text, known))


def _alternatives(annotation: Any) -> list[Any]:
    """The members of a Union, the strictest first, so that text is tried last."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return [annotation]
    members = [member for part in get_args(annotation) for member in _alternatives(part)]
    order = [type(None), bool, int, float]
    return sorted(
        members, key=lambda member: order.index(member) if member in order else 5 if member in (str, Path) else 4
    )


def _convert(text: str, kind: Any) -> Any:
    if kind is type(None):
        return {"none": None, "null": None}[text.lower()]
    if kind is bool:
        return {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }[text.lower()]
    if kind is int:
        return int(text)
    if kind is float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value
    if get_origin(kind) is Literal:
        return {str(value): value for value in get_args(kind)}[text]
    if kind is Path:
        return Path(text)
    if kind in (str, Any, inspect.Parameter.empty):
        return text
    raise UsageError(
        f"a parameter of type {_type_name(kind)} cannot be given on the command line", got=repr(text),
        expected="bool, int, float, str, Path, Literal or an Optional of these", fix="Write a small class that takes one of these.",
    )  # fmt: skip


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _is_plain(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, (str, Path)):
        return len(str(value)) <= MAX_TEXT
    return value is None or isinstance(value, (bool, int))


def _plain(value: Any) -> Plain:
    if value is None or type(value) in (bool, int, float, str):
        return typing.cast(Plain, value)
    return str(value)


def _takes_seed(function: Any) -> bool:
    """Whether `seed=` may be passed; True where the signature cannot be read."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True
    seed = parameters.get("seed")
    if seed is not None:
        return seed.kind is not inspect.Parameter.POSITIONAL_ONLY
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())


def _signature(function: Any) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):
        return "(...)"


def _describe(value: Any) -> str:
    if isinstance(value, type):
        return f"class {value.__name__}"
    return "a function" if inspect.isroutine(value) else f"{type(value).__name__} object"


def _source_sha256(value: Any) -> str | None:
    source = value if inspect.isroutine(value) else type(value)
    try:
        path = inspect.getsourcefile(source)
        return file_sha256(Path(path)) if path else None
    except (TypeError, OSError):
        return None
