"""The phases behind the soft mode of cubic GeTe: `verdi -p equitrain run examples/instability.py [--submit]`."""

import sys

from aiida.orm import StructureData
from ase.build import bulk

from aiida_equitrain.launch import run
from aiida_equitrain.setup import defaults
from aiida_equitrain.workflows.instability.workchain import InstabilityWorkChain

foundation = defaults.default_foundation()
builder = InstabilityWorkChain.get_builder_from_protocol(
    StructureData(ase=bulk('GeTe', 'rocksalt', a=6.0)),
    defaults.find_code('phonopy'),
    foundation,
    **defaults.codes_for(foundation),
    protocol='fast',
)
run.start(builder, submit='--submit' in sys.argv)
