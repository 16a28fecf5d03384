"""What the examples share: run a job here or, with `--submit`, in the daemon."""

import sys

from aiida.engine import run_get_node, submit
from aiida.manage import get_manager

from aiida_equitrain.tools.launch import daemon_problem


def start(builder):
    """Run or submit, and say where the results are."""
    problem = daemon_problem()
    if '--submit' in sys.argv:
        if problem:
            sys.exit(f'nothing can be submitted: {problem}')
        node = submit(builder)
        print(f'Submitted {node.process_label} {node.pk}: aiida-equitrain launch follow {node.pk}')
        return node
    if problem:
        # The broker of the embedded kind runs only with the daemon, and nothing here needs one.
        get_manager().set_runner(get_manager().create_runner(communicator=None))
    node = run_get_node(builder).node
    print(f'{node.process_label} {node.pk} ended with exit code {node.exit_status}: verdi node show {node.pk}')
    return node
