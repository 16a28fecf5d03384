"""Phonons of silicon with the foundation potential: `verdi -p equitrain run examples/phonons.py [--submit]`."""

import sys

from aiida_equitrain.tools import defaults, launch, resources
from aiida_equitrain.workflows.phonons import PhononsWorkChain

builder = PhononsWorkChain.get_builder_from_protocol(
    launch.load_structure(str(resources.structure_file('Si'))),
    defaults.find_code('phonopy'),
    potential=defaults.default_foundation(),
    python_code=defaults.find_code('python'),
    protocol='fast',
)
launch.start(builder, submit='--submit' in sys.argv)
