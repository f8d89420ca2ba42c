"""Reading data: `load` gives a `Dataset`, `describe` its facts, `SETS` lists the named sets."""

from recsys.data.demo import planted
from recsys.data.facts import describe, describe_lines
from recsys.data.named import SETS, NamedSet
from recsys.data.read import Dataset
from recsys.data.source import load

__all__ = ["SETS", "Dataset", "NamedSet", "describe", "describe_lines", "load", "planted"]
