"""The families that are set up only when asked for; ``python -m`` this makes the environment of one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiida_equitrain.common.foundations import BEST
from aiida_equitrain.setup import nequix, sevennet
from aiida_equitrain.setup.download import DownloadError
from aiida_equitrain.setup.environment import Recipe, make_environment
from aiida_equitrain.setup.foundations import Progress
from aiida_equitrain.setup.setup import Item, Options


@dataclass(frozen=True)
class Extra:
    """A family with an environment of its own.

    :param run_setup: creates what is absent; takes the options, the path of a Python or ``None``, and what shows the
        progress of a download.
    :param foundation: label of the potential that a check tries.
    """

    recipe: Recipe
    run_setup: Callable[[Options, str | None, Progress | None], Iterator[Item]]
    foundation: str


#: By the name that `--with` takes.
EXTRAS = {
    'nequix': Extra(nequix.RECIPE, nequix.run_setup, BEST),
    'sevennet': Extra(sevennet.RECIPE, sevennet.run_setup, 'sevennet-0'),
}

if __name__ == '__main__':
    try:
        make_environment(EXTRAS[sys.argv[1]].recipe, Path(sys.argv[2]))
    except DownloadError as problem:
        sys.exit(str(problem))
