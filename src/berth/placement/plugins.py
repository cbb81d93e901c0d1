# SPDX-License-Identifier: GPL-3.0-or-later
"""Plug-ins under guard: what one raises, or returns that nothing can use, is told under its name."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from berth.errors import BerthError, InvalidInput
from berth.placement.filters.base import Filter, HostFilter
from berth.placement.model import GuestRequest, Host
from berth.placement.reasons import Reason
from berth.placement.weighers.base import HostWeigher, Weigher

Plugin = TypeVar("Plugin", bound=Filter | Weigher)
Check = Callable[..., str]

_HINT = "mend the plug-in, or leave it out of the profile"


def class_problems(plugin: type[Filter] | type[Weigher]) -> Iterator[str]:
    """Yields what the class lacks to be used at all."""
    for name in sorted(getattr(plugin, "__abstractmethods__", ())):
        yield f"has no {name}(); docs/placement.md shows a plug-in"
    if issubclass(plugin, Weigher):
        option = getattr(plugin, "multiplier_option", None)
        if not isinstance(option, str) or not option:
            yield f"multiplier_option: found {option!r}, allowed: the name under which a profile sets its multiplier"


def guarded(plugin: type[Plugin]) -> type[Plugin]:
    """Returns a subclass of the same name whose calls raise InvalidInput, with that name, for a mistake in them."""
    calls: dict[str, Any] = {
        name: _guarded(name, getattr(plugin, name), check)
        for kind, checks in _CHECKS.items()
        if issubclass(plugin, kind)
        for name, check in checks.items()
    }
    calls.update(__module__=plugin.__module__, __qualname__=plugin.__qualname__, __doc__=plugin.__doc__)
    made: type[Plugin] = types.new_class(plugin.__name__, (plugin,), exec_body=lambda space: space.update(calls))
    return made


def _guarded(name: str, call: Callable[..., Any], check: Check) -> Callable[..., Any]:
    @functools.wraps(call)
    def told(self: Filter | Weigher, *given: Any) -> Any:
        try:
            found = call(self, *given)
        except BerthError:
            raise
        except Exception as error:  # a plug-in may raise anything, and the user must hear what
            at = error.__traceback__.tb_next if error.__traceback__ else None
            line = f" at {at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at else ""
            raise _mistake(self, name, given, f"raised {type(error).__name__}: {error}{line}") from error
        allowed = check(found, *given)
        if allowed:
            raise _mistake(self, name, given, f"returned {_described(found)}, allowed: {allowed}")
        return found

    return told


def _mistake(plugin: Filter | Weigher, call: str, given: tuple[Any, ...], text: str) -> InvalidInput:
    """Returns the error; it names the host and the guest that the call was about."""
    about = [f"host {one.name}" for one in given if isinstance(one, Host)]
    about += [f"guest {one.name}" for one in given if isinstance(one, GuestRequest)]
    kind = "filter" if isinstance(plugin, Filter) else "weigher"
    where = f"plug-in {kind} {type(plugin).__name__}: {call}()"
    return InvalidInput(f"{where}{' for ' if about else ''}{' and '.join(about)} {text}", hint=_HINT)


def _described(found: Any) -> str:
    if isinstance(found, np.ndarray):
        return f"an array of {found.dtype} with shape {found.shape}"
    return repr(found) if isinstance(found, (bool, Real, str, type(None))) else f"a {type(found).__name__}"


# Each returns what is allowed instead, nothing for what may be used.


def _anything(found: Any, *given: Any) -> str:
    return ""


def _column_problem(found: Any, kinds: str, noun: str, view: Any, rows: Any) -> str:
    size = view.fleet.size if isinstance(rows, slice) else len(rows)
    if found is None or (isinstance(found, np.ndarray) and found.shape == (size,) and found.dtype.kind in kinds):
        return ""
    return f"None, or a NumPy array of {noun}, one for each of the {size} rows"


def _mask(found: Any, view: Any, request: Any, rows: Any) -> str:
    return _column_problem(found, "b", "booleans", view, rows)


def _raw(found: Any, view: Any, request: Any, rows: Any) -> str:
    return _column_problem(found, "fiub", "numbers", view, rows)


def _texts(found: Any, *given: Any) -> str:
    fine = isinstance(found, (tuple, list)) and all(isinstance(text, str) for text in found)
    return "" if fine else "a tuple of texts"


def _reasons(found: Any, *given: Any) -> str:
    fine = isinstance(found, (tuple, list)) and all(isinstance(reason, Reason) for reason in found)
    return "" if fine else "a tuple of Reasons"


def _reason(found: Any, *given: Any) -> str:
    return "" if found is None or isinstance(found, Reason) else "None for a host that passes, else a Reason"


def _number(found: Any, *given: Any) -> str:
    return "" if isinstance(found, (Real, np.bool_)) else "a number"


_CHECKS: dict[type, dict[str, Check]] = {
    Filter: {
        "__init__": _anything,
        "reads_for": _anything,
        "depends_on": _anything,
        "problems": _texts,
        "passes": _mask,
        "reasons": _reasons,
    },
    HostFilter: {"concerns": _anything, "host_passes": _reason},
    Weigher: {"__init__": _anything, "raw": _raw},
    HostWeigher: {"weigh_host": _number},
}
