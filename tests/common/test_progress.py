"""What running jobs say of themselves, in words."""

from __future__ import annotations

from pathlib import Path

from aiida_equitrain.common.progress import describe_pw

CASES = Path(__file__).parents[1] / 'fixtures' / 'cases'


def test_pw() -> None:
    """The last iteration of pw.x and its accuracy; of a relaxation its step; nothing before the first iteration."""
    output = (CASES / 'si_unconv.out').read_text()
    assert describe_pw(output) == 'SCF iteration 3, accuracy 8.1e-05 Ry'
    assert describe_pw(output[: output.index('estimated scf')]) == 'SCF iteration 1'
    assert describe_pw(output[: output.index('iteration #')]) == ''
    end = output.replace('convergence NOT achieved after', 'convergence has been achieved in')
    assert describe_pw(end) == 'SCF converged in 3 iterations, forces follow'
    relaxation = f'{end}\n     number of scf cycles    =   1\n     number of bfgs steps    =   0\n{output}'
    assert describe_pw(relaxation) == 'step 2 of the relaxation, SCF iteration 3, accuracy 8.1e-05 Ry'
