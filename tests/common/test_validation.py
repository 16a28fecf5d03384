import pytest
import yaml

from aiida_equitrain.common.validation import (
    refuse_quoted_numbers,
    refuse_unknown,
    refuse_unknown_nested,
)
from aiida_equitrain.science.text_files import parse_yaml


def test_unknown_key_names_the_nearest():
    assert refuse_unknown(['max_steps', 'dtype'], ['dtype', 'max_steps'], 'the `settings` input') is None
    sentence = refuse_unknown(['max_step'], ['dtype', 'max_steps'], 'the `settings` input')
    assert sentence == 'unknown key `max_step` in the `settings` input: did you mean `max_steps`?'
    assert 'known are `dtype`' in refuse_unknown(['zzz'], ['dtype'], 'x')


def test_unknown_key_at_depth():
    schema = {'pw': {'parameters': None, 'metadata': {'options': None}}}
    assert refuse_unknown_nested({'pw': {'parameters': {'SYSTEM': {'a': 1}}}}, schema, 'the overrides') is None
    sentence = refuse_unknown_nested({'pw': {'metadata': {'option': 1}}}, schema, 'the overrides')
    assert '`pw.metadata.option`' in sentence
    assert '`options`' in sentence


@pytest.mark.parametrize(
    ('text', 'meant'),
    [
        ('1.d-8', 1e-8), ('1D-8', 1e-8), ('-.5d0', -0.5), ('1.5E+3', 1500.0), ('60', 60), ('6.0q1', 60.0),
        ('.true.', True), ('.F.', False), ('.TRUE', True), ('dft-d3', None), ('2D', None), ('./', None),
    ],
)  # fmt: skip
def test_fortran_in_overrides(text, meant):
    overrides = {'label': {'pw': {'pw': {'parameters': {'SYSTEM': {'key': text}}}}}}
    sentence = refuse_quoted_numbers(overrides, 'the overrides')
    if meant is None:
        assert sentence is None
        return
    assert f'`label.pw.pw.parameters.SYSTEM.key` in the overrides is the text `{text}`' in sentence
    remedy = sentence.split('`')[-2]
    for read in (parse_yaml, yaml.safe_load):
        assert read(remedy) == meant
        assert type(read(remedy)) is type(meant)
    assert refuse_quoted_numbers({'label': {'key': text}}, 'the overrides') is None
    assert refuse_quoted_numbers({'parameters': {'SYSTEM': {'key': meant}}}, 'the overrides') is None
