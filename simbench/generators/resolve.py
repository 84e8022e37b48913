"""From what a user types after `--generator` to an object with `sample`."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simbench.core.errors import DataError, GeneratorError, UsageError
from simbench.core.files import file_sha256
from simbench.core.parameters import MAX_TEXT, Plain, arguments_of, plain_parameters, signature_of
from simbench.core.specs import Kind, Target, described, find_target, importable, source_sha256
from simbench.core.text import printable
from simbench.core.user_code import user_code
from simbench.generators.protocol import Generator

if TYPE_CHECKING:
    from simbench.generators.session import Session
    from simbench.results.schema import GeneratorRecord
    from simbench.tasks.base import Task

GROUP = "simbench.generators"
EFFECTIVE = "effective_parameters"
ADAPTERS = "onnx:FILE, pt2:FILE, cmd:PROGRAM"


@dataclass(frozen=True)
class Resolved:
    """A generator, ready for `setup`, with what a Result records of it.

    Attributes:
        spec: what the user typed.
        name: the class attribute `name` of the generator, else the entry-point name or the attribute; used for folders
            and boards.
        generator: the object with `sample`.
        parameters: the constructor's arguments: those given, and the defaults that are plain values.
        given: the arguments that the user gave.
        version: the generator's `version`, else that of its package.
        source_sha256: checksum of the file that defines it, where there is one.
    """

    spec: str
    name: str
    generator: Generator
    parameters: Mapping[str, Plain] = field(default_factory=dict)
    given: Mapping[str, Plain] = field(default_factory=dict)
    version: str | None = None
    source_sha256: str | None = None

    def set_up(self, task: Task, device: str = "cpu", root_seed: int = 0) -> Session:
        """The generator, set up for a task on a device. Raises GeneratorError where its `setup` raises."""
        from simbench.generators.session import Session

        return Session(self.generator, task, self.spec, device, root_seed)

    @property
    def weights(self) -> Path | None:
        """The file of weights that the generator names as `weights_path`, known after its `setup`."""
        path = getattr(self.generator, "weights_path", None)
        return None if path is None else Path(path)

    def effective_parameters(self) -> dict[str, Plain]:
        """The parameters that the generator runs with, known after its `setup`: its own over those given.

        Raises:
            GeneratorError: `effective_parameters` is no mapping of names to plain values.
        """
        own: Any = {}
        # asked for statically: an AttributeError of the property's own is an error
        if inspect.getattr_static(self.generator, EFFECTIVE, None) is not None:
            with user_code(f"{self.spec} failed in `{EFFECTIVE}`"):
                own = getattr(self.generator, EFFECTIVE)
        return {**self.parameters, **plain_parameters(self.spec, own)}

    def weights_sha256(self) -> str | None:
        """The checksum of `weights`. Raises GeneratorError where it names no readable file."""
        if self.weights is None:
            return None
        try:
            return file_sha256(self.weights)
        except OSError as error:
            what = f"{self.spec} names its weights but they cannot be read"
            got = f"weights_path = {self.weights}"
            fix = "Set weights_path to that file, or to None."
            raise GeneratorError(what, got=got, expected="the file that `setup` loaded", fix=fix) from error

    def training_seed(self) -> int | None:
        """The seed that the weights were trained with, known after `setup`, if the generator names it.

        Raises:
            GeneratorError: `training_seed` is no seed.
        """
        seed: object = getattr(self.generator, "training_seed", None)
        if seed is None or (type(seed) is int and 0 <= seed < 2**63):
            return seed
        what, expected = f"{self.spec}: `training_seed` is no seed", "an int from 0 to 2**63 - 1, or None"
        raise GeneratorError(what, got=repr(seed)[:80], expected=expected, fix="Set it to the seed of the training.")

    def training_seconds(self) -> float | None:
        """What its training took, known after `setup`, if the generator names it. Raises GeneratorError otherwise."""
        seconds: object = getattr(self.generator, "training_seconds", None)
        if seconds is None or (isinstance(seconds, int | float) and 0 <= seconds < math.inf):
            return None if seconds is None else float(seconds)
        what, expected = f"{self.spec}: `training_seconds` is no time", "seconds, or None"
        raise GeneratorError(what, got=repr(seconds)[:80], expected=expected, fix="Set it to what the training took.")


class FunctionGenerator:
    """A bare function as a generator; its further keyword arguments are parameters."""

    def __init__(self, function: Callable[..., Any], **parameters: Any) -> None:
        self.function = function
        self.parameters = parameters

    def sample(self, conditions: Any, *, seed: int) -> Any:
        """What the function returns."""
        return self.function(conditions, seed=seed, **self.parameters)


def resolve(spec: str, params: Mapping[str, str] | None = None, target: Target | None = None) -> Resolved:
    """The generator that `spec` names, constructed with `params` (the text of `--param`, typed by its annotations).

    The working directory and the folder of `file.py` are importable meanwhile. `target` is `find(spec)`, if known.

    Raises:
        UsageError: the name is unknown, or a parameter is unknown, missing or of the wrong type.
        GeneratorError: the user's code raised, or what it gave has no `sample(conditions, *, seed)`.
    """
    target = target or find(spec)
    generator, parameters, given = _construct(spec, target, params or {})
    if not callable(getattr(generator, "sample", None)):
        got = f"{described(target.value)} without a method `sample`"
        fix = "`simbench init mymodel.py` writes one to start from."
        raise GeneratorError(f"{spec} is no generator", got=got, expected="sample(self, conditions, *, seed)", fix=fix)
    if not _takes_seed(generator.sample):
        got = f"sample{_signature(generator.sample)}"
        expected = "sample(self, conditions, *, seed)"
        fix = "Add the keyword `seed` and draw all random numbers from it."
        raise GeneratorError(f"{spec}: `sample` takes no seed", got=got, expected=expected, fix=fix)
    source = generator.function if isinstance(generator, FunctionGenerator) else generator
    return Resolved(
        spec=spec,
        name=_own_word(spec, type(generator), "name") or target.name,
        generator=generator,
        parameters=parameters,
        given=given,
        version=_own_word(spec, generator, "version") or target.version,
        source_sha256=source_sha256(source),
    )


def _own_word(spec: str, generator: object, attribute: str) -> str | None:
    """What a generator calls itself; None where it says nothing. Raises GeneratorError where it is too long."""
    word = getattr(generator, attribute, None)
    if not isinstance(word, str) or not word.strip():
        return None
    if len(word) > MAX_TEXT:
        what = f"{spec}: its `{attribute}` is too long"
        raise GeneratorError(what, got=f"{len(word)} characters", expected=f"at most {MAX_TEXT}")
    return word


def resolve_again(spec: str, record: GeneratorRecord) -> Resolved:
    """The generator of a result, constructed with the arguments that the user gave then; what was a default is one now.

    Raises:
        DataError: it no longer takes them.
        UsageError, GeneratorError: as `resolve`.
    """
    fix = f"Bring back {printable(spec, 100)} as it was, or run it anew."
    try:
        resolved = resolve(spec, {name: str(value) for name, value in record.given.items()})
    except UsageError as error:
        what = f"{printable(spec, 100)} can no longer be constructed as it was"
        raise DataError(what, got=str(error), expected=f"the parameters {record.given}", fix=fix) from error
    if dict(resolved.given) != record.given:
        what = f"{printable(spec, 100)} no longer has the parameters that were recorded"
        raise DataError(what, got=str(dict(resolved.given)), expected=str(record.given), fix=fix)
    return resolved


def _samples_file(spec: str) -> Target:
    path = spec.partition(":")[2]
    what = f"{spec} holds samples that are made already: there is nothing to construct or time"
    raise UsageError(what, fix=f"Use `simbench score {path}`.")


def _adapter(module: str, attribute: str, takes: Callable[[str], Any]) -> Callable[[str], Target]:
    """How a prefix names a generator of this folder, which takes what follows it."""

    def target(spec: str) -> Target:
        prefix, _, rest = spec.partition(":")
        if not rest:
            raise UsageError(f"{prefix}: names nothing", got=repr(spec), expected=ADAPTERS)
        kind = getattr(importlib.import_module(f"simbench.generators.{module}"), attribute)
        return Target(functools.partial(kind, takes(rest)), Path(rest.split()[0]).stem, None)

    return target


PREFIXES: dict[str, Callable[[str], Target]] = {
    "samples": _samples_file,
    "onnx": _adapter("onnx", "Onnx", Path),
    "pt2": _adapter("exported", "Exported", Path),
    "cmd": _adapter("program", "Program", str),
}
"""How `prefix:rest` is resolved, before modules and files are tried."""

GENERATOR = Kind(
    "generator", GROUP, GeneratorError, "sample", "Name the class or function that generates.", tuple(PREFIXES)
)


def find(spec: str) -> Target:
    """What `spec` names, imported and not constructed. Raises as `resolve` does."""
    prefix, colon, rest = spec.partition(":")
    if colon and prefix in PREFIXES and not Path(f"{prefix}.py").is_file():
        return PREFIXES[prefix](spec)
    attribute = rest.rpartition(":")[2]
    if prefix.isidentifier() and attribute and not all(part.isidentifier() for part in attribute.split(".")):
        raise UsageError("unknown prefix of a generator", got=f"{prefix}:", expected=f"a name, {GENERATOR.forms}")
    return find_target(spec, GENERATOR)


def _construct(spec: str, target: Target, params: Mapping[str, str]) -> tuple[Any, dict[str, Plain], dict[str, Plain]]:
    """The generator, its parameters, and those of them that were given."""
    value = target.value
    if isinstance(value, type | functools.partial):
        arguments, parameters, given = arguments_of(spec, value, params)
        with importable(), user_code(f"{spec} cannot be constructed"):
            return value(**arguments), parameters, given
    if not callable(getattr(value, "sample", None)) and callable(value) and _takes_seed(value):
        skip = (*list(signature_of(value))[:1], "seed")
        arguments, parameters, given = arguments_of(spec, value, params, skip=skip)
        return FunctionGenerator(value, **arguments), parameters, given
    if callable(value) and not hasattr(value, "sample"):
        got = f"{described(value)} with the signature {_signature(value)}"
        fix = "`simbench init mymodel.py` writes one to start from."
        raise GeneratorError(f"{spec} is no generator", got=got, expected="sample(conditions, *, seed)", fix=fix)
    if params:
        what = f"{spec} is an instance and takes no --param"
        raise UsageError(what, got=", ".join(params), fix="Name its class instead.")
    return value, {}, {}


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
