"""Set up Nequix: a virtual environment of its own, its code, and the best of its foundations.

Its PyTorch model runs on e3nn 0.5 and later, MACE on 0.4.4. What pip would bring along is written down here: Nequix
asks for the CUDA packages of JAX, gigabytes of them, and jobs compute with PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiida.common.exceptions import NotExistent

from aiida_equitrain.common.foundations import BEST, FOUNDATIONS
from aiida_equitrain.common.names import Family
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup.download import DownloadError
from aiida_equitrain.setup.environment import Recipe, ensure_python
from aiida_equitrain.setup.foundations import Progress, describe, download_known
from aiida_equitrain.setup.setup import Item, Options

RECIPE = Recipe(
    Family.NEQUIX.value,
    'nequix',
    'nequix.torch_impl.model',
    (
        'jax', 'jaxlib', 'e3nn-jax', 'equinox', 'jraph', 'optax', 'tqdm', 'pyyaml', 'h5py', 'cloudpickle',
        'e3nn>=0.5.8', 'matscipy>=1.1.1', 'torch-geometric>=2.6.1', 'ase>=3.24',
    ),
    ('nequix==0.4.5',),
)  # fmt: skip


def run_setup(options: Options, python: str | None = None, progress: Progress | None = None) -> Iterator[Item]:
    """Create what is absent for Nequix in the loaded profile, and yield what was done, part by part.

    :param python: a Python with Nequix; by default an environment is made.
    """
    yield from ensure_python(RECIPE, options, python)
    try:
        defaults.find_code(RECIPE.able.python, options.computer)
    except NotExistent:
        return
    node = defaults.stored_foundation(BEST)
    if node is not None:
        yield Item(BEST, 'found', describe(node))
        return
    by_hand = f'store the file with `aiida-equitrain potential import {BEST}.nqx`'
    if options.offline:
        text = f'with `--offline` nothing is downloaded: fetch {FOUNDATIONS[BEST].url}, and {by_hand}'
        yield Item(BEST, 'missing', text)
        return
    try:
        yield Item(BEST, 'created', describe(download_known(BEST, progress=progress)))
    except DownloadError as exception:
        yield Item(BEST, 'missing', f'{exception}; try again, or fetch it elsewhere and {by_hand}')
