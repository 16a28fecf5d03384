"""Fine-tune the foundation on labelled frames: `verdi -p equitrain run examples/finetune.py PK [--submit]`.

PK is that of a `DatasetData`, such as the output `dataset` of `examples/label.py`; without it the newest one is taken.
"""

import sys

from aiida.orm import QueryBuilder

from aiida_equitrain.data.dataset import DatasetData
from aiida_equitrain.launch import nodes, run
from aiida_equitrain.setup import defaults
from aiida_equitrain.workflows.finetune import FinetuneWorkChain

given = [argument for argument in sys.argv[1:] if not argument.startswith('-')]
if given:
    dataset = nodes.load_dataset(given[0])
else:
    others = {'label': {'!==': nodes.FORGETTING_LABEL}}
    newest = QueryBuilder().append(DatasetData, filters=others, tag='d').order_by({'d': {'id': 'desc'}}).first()
    if newest is None:
        sys.exit('there are no labelled frames yet: run examples/label.py first')
    dataset = newest[0]

foundation = defaults.default_foundation()
builder = FinetuneWorkChain.get_builder_from_protocol(
    foundation=foundation,
    dataset=dataset,
    python_code=defaults.find_code(defaults.python_label(foundation)),
    strategy='l2-tsp',
    forgetting_dataset=nodes.forgetting_dataset(),
    protocol='fast',
)
run.start(builder, submit='--submit' in sys.argv)
