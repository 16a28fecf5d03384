from aiida_equitrain.common.validation import refuse_unknown, refuse_unknown_nested


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
