"""`key=value`: text typed by the annotations of what it is passed to."""

from __future__ import annotations

import contextlib
import csv
import functools
import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from simbench.core.errors import GeneratorError, UsageError
from simbench.core.plugins import did_you_mean

MAX_TEXT = 500
"""Longest text of a parameter that a Result records."""

BOOLS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
Plain = bool | int | float | str | None


def parse_grid(pairs: Sequence[str]) -> dict[str, list[str]]:
    """The values of each parameter: `["width=3,4", "prior=nf"]` are two of `width` and one of `prior`.

    As in CSV, commas part values, and a value that holds commas itself stands in double quotes: `cuts="1,2",3`.

    Raises:
        UsageError: a pair without `=`, a key given twice, quotes that do not close, or nothing between two commas.
    """
    params: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError("--param takes key=value", got=repr(pair), fix="For example --param steps=50.")
        if key in params:
            raise UsageError(f"--param {key} is given twice", fix="Give it once.")
        params[key] = _values(pair, value)
    return params


def parse_params(pairs: Sequence[str]) -> dict[str, str]:
    """`["steps=50", "prior=nf"]` as a dict. Raises UsageError as `parse_grid`, and where a key has several values."""
    params = parse_grid(pairs)
    for key, values in params.items():
        if len(values) > 1:
            what, fix = f"--param {key} has several values", f"If it is one: --param '{key}=\"{','.join(values)}\"'."
            raise UsageError(what, got=", ".join(values)[:200], expected="one; `simbench run` takes several", fix=fix)
    return {key: values[0] for key, values in params.items()}


def _values(pair: str, text: str) -> list[str]:
    if not {",", '"'} & set(text):
        return [text]
    try:
        values = next(csv.reader([text], strict=True))
    except csv.Error as error:
        fix = "A value that holds commas stands in double quotes: --param 'cuts=\"1,2\",3'."
        raise UsageError("--param has values that cannot be told apart", got=repr(pair)[:200], fix=fix) from error
    if len(values) > 1 and "" in values:
        raise UsageError("--param lacks a value between commas", got=repr(pair)[:200], expected="such as width=3,4")
    return values


def arguments_of(
    spec: str, target: Any, params: Mapping[str, str], skip: tuple[str, ...] = (), option: str = "--param "
) -> tuple[dict[str, Any], dict[str, Plain], dict[str, Plain]]:
    """The keyword arguments to call `target` with; for the record its plain-valued parameters, without `skip`, and
    those that `params` gives. `option` stands before a parameter's name in errors.

    Raises:
        UsageError: a parameter is unknown, missing, or not of the annotated type.
    """
    kinds = inspect.Parameter
    signature = signature_of(target)
    variable = (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    accepted = [each for name, each in signature.items() if each.kind not in variable and name not in skip]
    named = {parameter.name: parameter for parameter in accepted if parameter.kind is not kinds.POSITIONAL_ONLY}
    takes_any = any(parameter.kind is kinds.VAR_KEYWORD for parameter in signature.values())
    hints = _hints(target)

    arguments: dict[str, Any] = {}
    for key, text in params.items():
        if key not in named and not takes_any:
            known = f"one of {', '.join(named)}" if named else "none"
            raise UsageError(f"{spec} has no parameter {key!r}", expected=known, fix=did_you_mean(key, named))
        if len(text) > MAX_TEXT:
            what = f"{option}{key} is too long"
            raise UsageError(what, got=f"{len(text)} characters", expected=f"at most {MAX_TEXT}")
        arguments[key] = _typed(f"{option}{key}", text, _annotation(named[key], hints) if key in named else str)
    missing = [each.name for each in accepted if each.default is kinds.empty and each.name not in arguments]
    if missing:
        flags = " ".join(f"{option}{name}=…" for name in missing)
        what = f"{spec} needs arguments to be constructed"
        raise UsageError(what, got="none for " + ", ".join(missing), fix=f"Pass {flags}.")
    values = {name: arguments.get(name, parameter.default) for name, parameter in named.items()} | arguments
    recorded = {name: _plain(value) for name, value in values.items() if _is_plain(value)}
    return arguments, recorded, {name: _plain(value) for name, value in arguments.items()}


def plain_parameters(spec: str, values: object) -> dict[str, Plain]:
    """A generator's own words on its parameters, for a Result. Raises GeneratorError for what no Result can hold."""
    expected = "a mapping from names to bools, finite numbers, short strings or None"
    if not isinstance(values, Mapping):
        what = f"{spec}: `effective_parameters` is no mapping"
        fix = "Make it a property that returns a dict, or remove it."
        raise GeneratorError(what, got=type(values).__name__, expected=expected, fix=fix)
    for name, value in values.items():
        if not isinstance(name, str) or not _is_plain(value):
            what = f"{spec}: `effective_parameters` holds what a result cannot record"
            fix = "Leave it out, or say it in a short string."
            raise GeneratorError(what, got=f"{name!r}: {value!r}"[:200], expected=expected, fix=fix)
    return {name: _plain(value) for name, value in values.items()}


def signature_of(target: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a callable by name; none where they cannot be known."""
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError):
        return {}


def _hints(target: Any) -> dict[str, Any]:
    whole = target.func if isinstance(target, functools.partial) else target
    function = inspect.getattr_static(whole, "__init__") if isinstance(whole, type) else whole
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
    literals = [kind for kind in _alternatives(annotation) if get_origin(kind) is Literal]
    choices = [repr(value) for kind in literals for value in get_args(kind)]
    expected = f"one of {', '.join(choices)}" if choices else _type_name(annotation)
    known = [str(value) for kind in _alternatives(annotation) for value in get_args(kind)]
    raise UsageError(f"{name} has the wrong type", got=repr(text), expected=expected, fix=did_you_mean(text, known))


def _alternatives(annotation: Any) -> list[Any]:
    """The members of a Union, the strictest first, so that text is tried last."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return [annotation]
    members = [member for part in get_args(annotation) for member in _alternatives(part)]
    order = [type(None), bool, int, float]
    rank = {**{kind: place for place, kind in enumerate(order)}, str: 5, Path: 5}
    return sorted(members, key=lambda member: rank.get(member, 4))


def _convert(text: str, kind: Any) -> Any:
    if kind is type(None):
        return {"none": None, "null": None}[text.lower()]
    if kind is bool:
        return BOOLS[text.lower()]
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
    what = f"a parameter of type {_type_name(kind)} cannot be given on the command line"
    expected = "bool, int, float, str, Path, Literal or an Optional of these"
    raise UsageError(what, got=repr(text), expected=expected, fix="Write a small class that takes one of these.")


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
    return float(value) if isinstance(value, float) else str(value)
