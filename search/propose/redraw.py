"""A sampler of Optuna that draws again until a config is new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from search.propose.distributions import distribution, only_value
from search.propose.new_configs import Known, another
from search.propose.samplers import STARTUP, sampler
from search.space.domains import Param, Value
from search.space.spec import SearchSpec

SAMPLER_ATTEMPTS = 10


class NewConfigs(optuna.samplers.BaseSampler):
    """The sampler of one trial, which never proposes a config that the run has had.

    Its first draw of a whole config is the one that Optuna itself would make with `sampler`. If
    the run has had that config, further draws follow: by the same sampler, then uniformly from
    what a countable space has left, or at random from the whole space. Raises NoNewConfigError
    where none of them is new.

    seed: the run's. number: the trial's. known: whether the run has had a config with these
    parameters. startup: random trials before the sampler learns.
    """

    def __init__(
        self, spec: SearchSpec, seed: int, number: int, known: Known, startup: int = STARTUP
    ) -> None:
        self._spec, self._seed, self._number, self._known = spec, seed, number, known
        self._startup = startup
        self._base = sampler(spec, seed, number, startup=startup)
        self._params: dict[str, Value] = {}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What `sampler` draws together; Optuna asks for it before `sample_relative`."""
        return self._base.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Choose the whole config here, since Optuna asks for this before anything else."""
        for attempt in range(SAMPLER_ATTEMPTS):
            if attempt:
                self._base = sampler(self._spec, self._seed, self._number, attempt, self._startup)
                search_space = self._base.infer_relative_search_space(study, trial)
            relative = self._base.sample_relative(study, trial, search_space)
            self._params = self._complete(study, trial, relative)
            if not self._known(self._params):
                return relative
        self._params = another(self._spec, self._seed, self._number, self._known)
        return {}

    def _complete(
        self, study: Study, trial: FrozenTrial, relative: Mapping[str, Any]
    ) -> dict[str, Value]:
        """The config that Optuna would make from the parameters that were drawn together."""

        def pick(param: Param) -> Value:
            domain = distribution(param)
            if domain.single():
                return only_value(domain)
            if param.name in relative:
                value: Value = relative[param.name]
                if domain._contains(domain.to_internal_repr(value)):
                    return value
            return self._base.sample_independent(study, trial, param.name, domain)

        return self._spec.choose(pick)

    def sample_independent(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002
    ) -> Any:
        """The value that `sample_relative` has already chosen."""
        return self._params[param_name]
