"""Thermal expansion of silicon with the foundation potential: `verdi -p equitrain run examples/qha.py [--submit]`."""

import sys

from aiida_equitrain.launch import nodes, run
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup import shipped as resources
from aiida_equitrain.workflows.qha import QHAWorkChain

foundation = defaults.default_foundation()
builder = QHAWorkChain.get_builder_from_protocol(
    nodes.load_structure(str(resources.structure_file('Si'))),
    foundation,
    **defaults.codes_for(foundation),
    protocol='fast',
)
run.start(builder, submit='--submit' in sys.argv)
