"""``aiida-equitrain reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_equitrain.cli.examples import examples
from aiida_equitrain.cli.launch_study import pairs
from aiida_equitrain.cli.numbers import FiniteRange
from aiida_equitrain.cli.places import file_to_write
from aiida_equitrain.cli.terminal import echo, echo_passing

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command('reproduce', epilog=examples('reproduce study.aiida', 'reproduce study.aiida --rerun finetune,phonons'))
@click.argument('archive', type=FILE)
@click.option('--sha256', help='What the publisher says that the file has.')
@click.option('--rerun', default='', help='Steps to run again: `finetune,phonons`, or `all` (with DFT).')
@click.option('--code', 'chosen', callback=pairs, multiple=True, metavar='THEIRS=YOURS', help='Labels of codes.')
@click.option('--csv', 'table', type=click.Path(path_type=Path), callback=file_to_write, help='Write all lines there.')
@click.option(
    '--patience',
    type=FiniteRange(min=0),
    default=5,
    show_default=True,
    help='Seconds that computing one set of phonons again may take; what takes longer is not computed.',
)
@click.pass_context
def cmd_reproduce(
    ctx: click.Context,
    archive: Path,
    sha256: str | None,
    rerun: str,
    chosen: dict[str, str],
    table: Path | None,
    patience: float,
) -> None:
    """Check a published archive, and run steps of it again.

    All nodes, files and links are compared with the manifest, and derived results are computed again from their stored
    inputs: nothing of the archive is executed or imported, and no profile is needed. `--rerun` imports it into the
    profile and executes its potentials in jobs: do that with an archive whose origin you trust.
    The exit status is 0 if all that was asked for is reproduced, else 1.
    """
    from aiida.common.exceptions import NotExistent

    from aiida_equitrain.cli.profile import load_profile
    from aiida_equitrain.publish.check import check_file, clean_copy, own_copy
    from aiida_equitrain.publish.rerun import steps_problem

    steps = tuple(step for step in rerun.split(',') if step)
    try:
        if problem := steps_problem(steps):
            raise ValueError(problem)
        if steps:
            load_profile(ctx.find_root().params.get('profile'))
        with own_copy(archive) as copy:
            manifest, problems = check_file(copy, sha256)
            echo(f'{archive.name}: {len(manifest["nodes"])} nodes, {manifest["process"].partition(":")[2]} '
                       f'{manifest["root"]}, published {manifest["created"][:10]}')  # fmt: skip
            _stop_at(problems, 'change(s) since it was published')
            echo('  checksums: all nodes, files and links are those of the manifest')
            with clean_copy(copy, manifest) as clean:
                ok = _reproduce(clean, manifest, steps, chosen, table, patience)
    except (ValueError, NotExistent) as error:
        raise click.ClickException(str(error)) from error
    if not ok:
        ctx.exit(1)


def _stop_at(problems: list[Any], what: str) -> None:
    """Print what is wrong with nodes, and stop if there is anything.

    :raises click.ClickException: then.
    """
    for problem in problems[:10]:
        echo(f'  {problem.kind} {problem.uuid}: {problem.what[:200]}', fg='red')
    if problems:
        raise click.ClickException(f'{len(problems)} {what}; nothing was imported')


def _reproduce(
    clean: Path,
    manifest: dict[str, Any],
    steps: tuple[str, ...],
    chosen: dict[str, str],
    table: Path | None,
    patience: float,
) -> bool:
    """Compute again, import and run again, and print what came of it."""
    from aiida_equitrain.publish import rerun
    from aiida_equitrain.publish.check import Derived, content_problems, derive, read_only

    with read_only(clean):
        _stop_at(content_problems(), 'node(s) whose files are not what they say')
        published: Derived = derive(manifest, _show_progress, patience)
    checks = published.checks
    wrong = [check for check in checks if check.difference]
    for check in wrong[:10]:
        echo(f'  {check.what[:80]} of {check.uuid}: {str(check.difference)[:200]}', fg='red')
    n_numbers = sum(check.n_numbers for check in checks)
    echo(f'  derived results: {len(checks) - len(wrong)} of {len(checks)} follow from their stored inputs '
               f'({n_numbers} numbers)')  # fmt: skip
    found = None
    if steps:
        found = _run_again(clean, manifest['root'], steps, chosen)
    else:
        echo('  to run again: --rerun finetune,phonons, or --rerun all')
    lines = rerun.compare(published.numbers, None if found is None else rerun.numbers_of(found))
    differ = {} if found is None else rerun.versions_that_differ(published.versions, rerun.versions_of(found))
    _print(lines, differ)
    if table is not None:
        import pandas as pd

        pd.DataFrame([vars(line) for line in lines]).to_csv(table, index=False)
    return not wrong and not any(line.verdict == 'differs' for line in lines)


def _show_progress(done: int, total: int) -> None:
    """Show how many results were computed again."""
    echo_passing(f'    computing result {done + 1} of {total}')


def _run_again(clean: Path, root: str, steps: tuple[str, ...], chosen: dict[str, str]) -> Any:
    """Import the archive into the loaded profile, and run the steps there."""
    from aiida.orm import load_node

    from aiida_equitrain.cli.launch_options import go
    from aiida_equitrain.publish import rerun
    from aiida_equitrain.publish.importing import import_clean

    import_clean(clean)
    published: Any = load_node(root)
    codes = rerun.map_codes(published, chosen)
    for uuid, code in codes.items():
        echo(f'  code: {load_node(uuid).label} -> {code.full_label}')
    for sentence in rerun.plan(published, steps):
        echo(f'  runs: {sentence}')
    for potential in rerun.potentials_of(published):
        echo(f'  executes: the potential {potential.uuid} with SHA-256 {potential.checked_sha256()}')
    node = go(lambda: rerun.builder_of(published, steps, codes), submit=False)
    if node is None:
        raise click.ClickException('the rerun goes on; call `reproduce` again when it has ended')
    return node


def _print(lines: list[Any], versions: dict[str, tuple[str, str]]) -> None:
    """Print a line per quantity: how many rows are reproduced, and the worst one."""
    echo()
    echo(f'{"quantity":<46}{"reproduced":>12}{"differ":>8}{"not rerun":>11}   largest difference (tolerance)')
    for quantity in dict.fromkeys(line.quantity for line in lines):
        here = [line for line in lines if line.quantity == quantity]
        count = {verdict: sum(line.verdict == verdict for line in here)
                 for verdict in ('reproduced', 'differs', 'not rerun')}  # fmt: skip
        known = [line for line in here if line.found is not None]
        worst = max(known, key=lambda line: abs(line.found - line.published) / line.tolerance, default=None)
        text = '' if worst is None else f'{abs(worst.found - worst.published):.2g} ({worst.tolerance:.2g}), {worst.row}'
        echo(f'{quantity:<46}{count["reproduced"]:>12}{count["differs"]:>8}{count["not rerun"]:>11}'
                    f'   {text}', fg='red' if count['differs'] else None)  # fmt: skip
    for name, (theirs, ours) in versions.items():
        echo(f'version of {name}: {theirs} there, {ours} here')
