"""Thermal conductivity of silicon with the foundation potential: `verdi -p equitrain run examples/kappa.py [--submit]`.

Needs phono3py: `pip install 'aiida-equitrain[kappa]'`.
"""

import sys

from aiida_equitrain.launch import nodes, run
from aiida_equitrain.setup import defaults
from aiida_equitrain.setup import shipped as resources
from aiida_equitrain.workflows.kappa import KappaWorkChain

foundation = defaults.default_foundation()
builder = KappaWorkChain.get_builder_from_protocol(
    nodes.load_structure(str(resources.structure_file('Si'))),
    foundation,
    **defaults.codes_for(foundation),
    protocol='fast',
)
run.start(builder, submit='--submit' in sys.argv)
