"""``aiida-equitrain setup``."""

from __future__ import annotations

from itertools import chain

import click

from aiida_equitrain.cli.download import download_display
from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.profile import with_profile
from aiida_equitrain.cli.terminal import echo

COLOURS = {'found': 'blue', 'created': 'green', 'note': 'yellow', 'missing': 'red'}


@click.command('setup', epilog=examples('setup --offline', 'setup --with nequix', 'setup --check'))
@click.option('--check', is_flag=True, help='Change nothing; try everything that is there.')
@click.option('--offline', is_flag=True, help='Use the pseudopotentials and the starter potential of the package.')
@click.option('--computer', default='localhost', show_default=True, help='Computer of the codes.')
@click.option('--python', metavar='PATH', help='Python with MACE, Equitrain and phonopy.  [default: this one]')
@click.option('--pw', metavar='PATH', help='pw.x of Quantum ESPRESSO.  [default: from the PATH]')
@click.option('--ph', metavar='PATH', help='ph.x, for Born charges.  [default: beside pw.x]')
@click.option('--phonopy', metavar='PATH', help='phonopy.  [default: beside the Python, or from the PATH]')
@click.option('--with', 'extras', multiple=True, type=click.Choice(['nequix', 'sevennet']), help='Set that up as well.')
@click.option('--sevennet-python', metavar='PATH', help='Python with sevenn.  [default: an environment made for it]')
@click.option('--nequix-python', metavar='PATH', help='Python with nequix.  [default: an environment made for it]')
@click.option(
    '--gpu/--no-gpu', default=None, help='CUDA packages for `--with`.  [default: where nvidia-smi finds a GPU]'
)
@with_profile
def cmd_setup(
    check: bool,
    offline: bool,
    computer: str,
    python: str | None,
    pw: str | None,
    ph: str | None,
    phonopy: str | None,
    extras: tuple[str, ...],
    sevennet_python: str | None,
    nequix_python: str | None,
    gpu: bool | None,
) -> None:
    """Create what the profile lacks for the main job, and try it.

    What exists is never changed. Online, PseudoDojo's PBE table and MACE-MP-0b3 are downloaded and their checksums are
    held; without internet, or with --offline, the files of the package are used.

    Nequix and SevenNet cannot share an environment with MACE: `--with nequix` makes one beside this one (some minutes
    and 2 GB, with CUDA more), the code `python-nequix` and the foundation `nequix-oam-1-pft`, the default from then on;
    `--with sevennet` one more, the code `python-sevennet`, and the foundations `sevennet-0` and `sevennet-l3i5`.
    """
    complete, pythons = True, {'sevennet': sevennet_python, 'nequix': nequix_python}
    wanted = [name for name, path in pythons.items() if name in extras or path is not None]
    if not check:
        from aiida_equitrain.setup.extras import EXTRAS
        from aiida_equitrain.setup.lock import one_at_a_time
        from aiida_equitrain.setup.setup import Options, run_setup

        options = Options(offline=offline, computer=computer, python=python, pw=pw, ph=ph, phonopy=phonopy, gpu=gpu)
        items = run_setup(options, progress=download_display())
        for name in wanted:
            items = chain(items, EXTRAS[name].run_setup(options, pythons[name], download_display()))
        with one_at_a_time(lambda: echo('Another set-up of this profile is at work; waiting for it.')):
            for item in items:
                complete &= item.state != 'missing'
                echo(f'{item.state:>8}', nl=False, fg=COLOURS[item.state])
                echo(f'  {item.name}: {item.text}')
    from aiida_equitrain.setup.checks import run_checks

    for result in run_checks(computer, wanted):
        complete &= result.passed
        echo('      ok' if result.passed else '  FAILED', nl=False, fg='green' if result.passed else 'red',
             bold=not result.passed)  # fmt: skip
        echo(f'  {result.name}: {result.text}')
    if not complete:
        raise click.ClickException('the set-up is not complete: see the lines above')
