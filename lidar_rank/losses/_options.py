"""Options of the losses: annotations say which values an option takes, and one check holds callers to them."""

import functools
import inspect
import math
import types
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

Callee = TypeVar("Callee", bound=Callable[..., Any])


@dataclass(frozen=True)
class Range:
    """Finite numbers from ``low`` to ``high``, both included."""

    low: float
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return math.isfinite(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"be >= {self.low:g}" if self.high == math.inf else f"lie in [{self.low:g}, {self.high:g}]"


# Within these bounds float32 has room for what the losses make of an option; beyond, a gradient would be NaN.
Positive = Annotated[float, Range(1e-6, 1e6)]
NonNegative = Annotated[float, Range(0, 1e6)]
Fraction = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(1)]
Scope = Literal["image", "batch"]
Reduction = Literal["mean", "sum", "none"]


@dataclass(frozen=True)
class Option:
    """The values that an option takes: numbers of one kind within a range, words, or None."""

    name: str
    kind: type | None = None  # bool, int or float; None if it takes words alone
    bounds: Range = Range(-math.inf)
    words: tuple[str, ...] = ()
    optional: bool = False

    def check(self, value: object) -> None:
        """Raise a ValueError that names the option, what it takes and what it got."""
        must = self._broken_rule(value)
        if must is not None and not (value is None and self.optional):
            raise ValueError(f"{self.name} must {must}, got {value!r}")

    def _broken_rule(self, value: object) -> str | None:
        if self.words and (self.kind is None or isinstance(value, str)):
            allowed = isinstance(value, str) and value in self.words
            return None if allowed else f"be {'a number or ' if self.kind else ''}one of {self.words}"
        if self.kind is bool:
            return None if isinstance(value, bool) else "be True or False"
        if isinstance(value, bool) or not isinstance(value, Integral if self.kind is int else Real):
            return "be an integer" if self.kind is int else "be a number"
        return None if float(value) in self.bounds else str(self.bounds)


def option_of(name: str, annotation: object) -> Option | None:
    """Read the annotation of a parameter; None if the parameter is no option but an input, such as a tensor."""
    kind, bounds, words, optional = None, Range(-math.inf), (), False
    is_union = get_origin(annotation) in (Union, types.UnionType)
    for part in get_args(annotation) if is_union else (annotation,):
        bare, *metadata = get_args(part) if get_origin(part) is Annotated else (part,)
        if bare is types.NoneType:
            optional = True
        elif get_origin(bare) is Literal:
            words = get_args(bare)
        elif bare in (bool, int, float):
            kind, bounds = bare, metadata[0] if metadata else bounds
        else:
            return None
    return Option(name, kind, bounds, words, optional)


def check_option(name: str, value: object, annotation: object) -> None:
    """Refuse a value that the annotation does not allow, with a ValueError."""
    option = option_of(name, annotation)
    if option is not None:
        option.check(value)


def options_of(function: Callable[..., Any]) -> dict[str, Option]:
    """Return the options of a function by name: its keyword-only parameters that are not inputs."""
    parameters = inspect.signature(function).parameters.values()
    options = [option_of(p.name, p.annotation) for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return {option.name: option for option in options if option is not None}


def checks_options(function: Callee) -> Callee:
    """Make ``function`` refuse option values that its annotations do not allow, with a ValueError."""
    options = options_of(function)

    @functools.wraps(function)
    def checked(*args: Any, **named: Any) -> Any:
        for name, value in named.items():
            if name in options:
                options[name].check(value)
        return function(*args, **named)

    return cast(Callee, checked)
