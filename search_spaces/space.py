"""A search space: what a trial may be, and the ways to walk through it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.errors import SpaceError
from search_spaces.inheritance import Inheritance, read_space
from search_spaces.linking import conditions_hold, link
from search_spaces.nearest import advice
from search_spaces.reading import Parameter
from search_spaces.values import ParamValue, StoredValue, json_value, short_repr

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Parameters in a fixed order, every parent before the children that depend on it.

    Parameter values are those that training gets: lists, None and all. A parameter whose `when` does not
    hold is left out of a configuration; constants are part of it.
    """

    parameters: tuple[Parameter, ...] = ()

    # -- made from and into ------------------------------------------------------------------------------

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, ParamValue] | str,
        base: Path | None = None,
        fixed: Mapping[str, ParamValue] | None = None,
        dropped: Collection[str] = (),
    ) -> Space:
        """The space that a sweep file or a file of `search_spaces/` describes.

        Args:
            mapping: definitions by name with `extends` among them, or just a name or path.
            base: the folder that relative paths start from.
            fixed: values that make inherited parameters of these names constants.
            dropped: names of inherited parameters that have no meaning here, and are left out.
        """
        changed = Inheritance(fixed=fixed or {}, dropped=frozenset(dropped))
        return cls(parameters=read_space(mapping, base, (), changed))

    def to_json(self) -> dict[str, list[dict[str, ParamValue]]]:
        """Plain JSON types only; a list, so that no store can change the order."""
        return {"parameters": [parameter.to_json() for parameter in self.parameters]}

    @classmethod
    def from_json(cls, document: Mapping[str, Sequence[Mapping[str, ParamValue]]]) -> Space:
        """The inverse of `to_json`."""
        return cls(parameters=link([Parameter.from_json(entry) for entry in document["parameters"]]))

    # -- what is in it -----------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """All names, constants among them."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def searched_parameters(self) -> tuple[Parameter, ...]:
        """The parameters that are not constants."""
        return tuple(parameter for parameter in self.parameters if parameter.domain.is_searched)

    @property
    def constants(self) -> dict[str, ParamValue]:
        """The constants' values by name."""
        return {p.name: p.domain.at(0.0) for p in self.parameters if not p.domain.is_searched}

    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distribution of every searched parameter, conditional ones among them."""
        return {parameter.name: parameter.domain.distribution() for parameter in self.searched_parameters}

    # -- walking through it ------------------------------------------------------------------------------

    def suggest(self, trial: Trial) -> dict[str, ParamValue]:
        """A configuration drawn by an Optuna trial, define-by-run."""
        return self._walk(lambda parameter: parameter.domain.suggest(trial, parameter.name))

    def sobol(
        self, count: int, seed: int, start: int = 0, held: Mapping[str, int] | None = None
    ) -> list[dict[str, ParamValue]]:
        """Configurations `start` … `start + count - 1` of one scrambled Sobol sequence.

        Every searched parameter has its own dimension whether its `when` holds or not, so that the
        configuration at an index depends on the space, the seed and the index alone.

        Args:
            held: parameters that have the coordinate of another index of the sequence in all of them.
        """
        if not self.searched_parameters:
            return [self._walk(lambda parameter: parameter.domain.at(0.0)) for _ in range(count)]
        dimensions = {parameter.name: index for index, parameter in enumerate(self.searched_parameters)}
        points = {at: _sobol_points(len(dimensions), 1, seed, at)[0] for at in set((held or {}).values())}
        fixed = {name: points[at][dimensions[name]] for name, at in (held or {}).items()}

        def configuration(point: list[float]) -> dict[str, ParamValue]:
            at = {name: fixed.get(name, point[dimension]) for name, dimension in dimensions.items()}
            return self._walk(lambda p: p.domain.at(at.get(p.name, 0.0)))

        return [configuration(point) for point in _sobol_points(len(dimensions), count, seed, start)]

    def middle(self) -> dict[str, ParamValue]:
        """The configuration whose every coordinate is in the middle of its range."""
        return self._walk(lambda parameter: parameter.domain.at(0.5))

    def grid(self, limit: int) -> list[dict[str, ParamValue]]:
        """Every configuration of the grid, in order: the first parameter changes slowest.

        Raises:
            SpaceError: more than `limit` configurations, or a float range without points, values or step.
        """
        found: list[dict[str, ParamValue]] = []
        for configuration in self._grid(0, {}):
            if len(found) == limit:
                raise SpaceError(
                    f"a grid must have at most {limit} configurations", "more", "give ranges fewer points"
                )
            found.append({name: json_value(value, ()) for name, value in configuration.items()})
        return found

    def _grid(self, index: int, chosen: dict[str, ParamValue]) -> Iterator[dict[str, ParamValue]]:
        while index < len(self.parameters) and not conditions_hold(self.parameters[index], chosen):
            index += 1
        if index == len(self.parameters):
            yield chosen
            return
        parameter = self.parameters[index]
        for value in _grid_values(parameter):
            yield from self._grid(index + 1, {**chosen, parameter.name: value})

    def _walk(self, draw: Callable[[Parameter], ParamValue]) -> dict[str, ParamValue]:
        chosen: dict[str, ParamValue] = {}
        for parameter in self.parameters:
            if conditions_hold(parameter, chosen):
                chosen[parameter.name] = draw(parameter)
        return chosen

    # -- given configurations ----------------------------------------------------------------------------

    def check_params(self, params: Mapping[str, ParamValue]) -> None:
        """Refuses a configuration, whole or in part, that this space could not draw."""
        self._check_names(params)
        by_name = {parameter.name: parameter for parameter in self.parameters}
        values = {name: _read_value(by_name[name], value) for name, value in params.items()}
        for name in values:
            self._check_condition(by_name[name], {**self.constants, **values})

    def check_configuration(self, params: Mapping[str, ParamValue]) -> None:
        """Refuses what is no whole configuration of this space: what lies outside it, and what lacks a
        parameter whose `when` holds (a sampler would take that as searched by no one)."""
        self.check_params(params)
        whole = self._walk(lambda parameter: params.get(parameter.name, parameter.domain.at(0.0)))
        missing = [name for name in whole if name not in params]
        if missing:
            must = f"a configuration must have {missing[0]}"
            raise SpaceError(must, f"only {', '.join(params) or 'nothing'}", key=(missing[0],))

    def _check_names(self, params: Mapping[str, ParamValue]) -> None:
        for name in params:
            if name not in self.names:
                do = advice(str(name), self.names)
                raise SpaceError("a name must be one of the space's", short_repr(name), do, key=(str(name),))

    def _check_condition(self, parameter: Parameter, values: Mapping[str, ParamValue]) -> None:
        known = [condition for condition in parameter.when if condition.parent in values]
        given = {condition.parent: values[condition.parent] for condition in known}
        if known and not conditions_hold(
            Parameter(name="", domain=parameter.domain, when=tuple(known)), given
        ):
            raise SpaceError(
                f"{parameter.name} is read only when {_format_conditions(parameter)}",
                ", ".join(f"{name} {short_repr(value)}" for name, value in given.items()),
                "leave it out",
                key=(parameter.name,),
            )

    def encode(self, params: Mapping[str, ParamValue]) -> dict[str, StoredValue]:
        """The configuration, whole or in part, as `study.enqueue_trial` takes it.

        Constants, and parameters whose `when` does not hold, are left out.
        """
        self._check_names(params)
        encoded: dict[str, StoredValue] = {}
        chosen: dict[str, ParamValue] = dict(self.constants)
        for parameter in self.parameters:
            if parameter.name not in params or not _may_hold(parameter, params, chosen):
                continue
            chosen[parameter.name] = _read_value(parameter, params[parameter.name])
            if parameter.domain.is_searched:
                encoded[parameter.name] = parameter.domain.encode(chosen[parameter.name])
        return encoded

    def decode(self, stored: Mapping[str, StoredValue]) -> dict[str, ParamValue]:
        """The configuration behind an Optuna trial's `params`, constants included."""
        chosen: dict[str, ParamValue] = {}
        for parameter in self.parameters:
            if not conditions_hold(parameter, chosen):
                continue
            if not parameter.domain.is_searched:
                chosen[parameter.name] = parameter.domain.at(0.0)
            elif parameter.name in stored:
                chosen[parameter.name] = parameter.domain.decode(stored[parameter.name])
        return chosen


def _read_value(parameter: Parameter, value: ParamValue) -> ParamValue:
    try:
        return parameter.domain.read(value)
    except SpaceError as error:
        must = f"{parameter.name} must fit its space: {error.must}"
        raise SpaceError(must, error.found, error.do, key=(parameter.name,)) from error


def _grid_values(parameter: Parameter) -> Sequence[ParamValue]:
    try:
        return parameter.domain.grid()
    except SpaceError as error:
        raise SpaceError(error.must, error.found, error.do, key=(parameter.name,)) from error


def _may_hold(
    parameter: Parameter, given: Mapping[str, ParamValue], chosen: Mapping[str, ParamValue]
) -> bool:
    """True also where a parent is left to the sampler: then nobody can tell yet."""
    unknown = any(c.parent not in given and c.parent not in chosen for c in parameter.when)
    return unknown or conditions_hold(parameter, chosen)


def _format_conditions(parameter: Parameter) -> str:
    parts = [f"{c.parent} is {' or '.join(short_repr(v) for v in c.values)}" for c in parameter.when]
    return " and ".join(parts)


def _sobol_points(dimensions: int, count: int, seed: int, start: int) -> list[list[float]]:
    """Points by index; a first draw of one keeps scipy from warning about counts that are no power of 2."""
    from scipy.stats import qmc

    engine = qmc.Sobol(d=dimensions, scramble=True, seed=seed)
    points: list[list[float]] = []
    if start == 0:
        points += engine.random(1).tolist()
    else:
        engine.fast_forward(start)
    if count > len(points):
        points += engine.random(count - len(points)).tolist()
    return points[:count]
