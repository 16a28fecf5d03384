"""Phonons of silicon with the foundation potential: `verdi -p equitrain run examples/phonons.py [--submit]`."""

import sys

from aiida_equitrain.launch import nodes, run
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup import shipped as resources
from aiida_equitrain.workflows.phonons.workchain import PhononsWorkChain

foundation = defaults.default_foundation()
builder = PhononsWorkChain.get_builder_from_protocol(
    nodes.load_structure(str(resources.structure_file('Si'))),
    defaults.find_code('phonopy'),
    potential=foundation,
    **defaults.codes_for(foundation),
    protocol='fast',
)
run.start(builder, submit='--submit' in sys.argv)
