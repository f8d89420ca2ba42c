"""A space in Optuna's terms: distributions of parameters, and a trial that asks for values."""

from __future__ import annotations

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from search.space.domains import Bundle, Choice, Constant, FloatRange, IntRange, Param, Value
from search.space.spec import SearchSpec


def distribution(param: Param) -> BaseDistribution:
    """The domain of a parameter in Optuna's terms; nothing else translates one."""
    match param.domain:
        case Choice(options=options):
            return CategoricalDistribution(options)
        case Bundle():
            return CategoricalDistribution(param.domain.options)
        case IntRange(low=low, high=high, log=log, step=step):
            return IntDistribution(low, high, log=log, step=step)
        case FloatRange(low=low, high=high, log=log, step=step):
            return FloatDistribution(low, high, log=log, step=step)
        case Constant():
            raise AssertionError(f"{param.name} is a constant")


def only_value(domain: BaseDistribution) -> Value:
    """The value of a distribution that has only one."""
    if isinstance(domain, CategoricalDistribution):
        return domain.choices[0]
    assert isinstance(domain, IntDistribution | FloatDistribution)
    return domain.low


def suggest(spec: SearchSpec, trial: Trial) -> dict[str, Value]:
    """The active parameters of a trial; the sampler is never asked for an inactive one."""

    def ask(param: Param) -> Value:
        match distribution(param):
            case CategoricalDistribution(choices=choices):
                return trial.suggest_categorical(param.name, choices)
            case IntDistribution(low=low, high=high, log=log, step=step):
                return trial.suggest_int(param.name, low, high, log=log, step=step)
            case FloatDistribution(low=low, high=high, log=log, step=step):
                return trial.suggest_float(param.name, low, high, log=log, step=step)
        raise AssertionError(param)

    return spec.choose(ask)
