"""Settings: one sentence for each way to be wrong, and defaults."""

from aiida_equitrain.common.hyperparameters import Option
from aiida_equitrain.common.settings import Setting, settings_problem, with_defaults

TABLE = {
    'n': Setting(4, 'a number', minimum=1),
    'x': Setting(0.5, 'a share', minimum=0.0, exclusive=True, maximum=1.0),
    'f': Setting(False, 'a choice'),
    'y': Setting(None, 'nothing, or a number', int),
    'z': Setting(1.0, 'a number, or nothing', optional=True),
    'e': Option('a', 'a word', choices=('a', 'b')),
}


def test_right_values():
    """An ``int`` is a ``float``; ``None`` stands where it may; what is not given has its default."""
    given = {'n': 1, 'x': 1, 'f': True, 'y': None, 'z': None, 'e': 'b'}
    assert settings_problem(given, TABLE) is None
    assert with_defaults({'x': 1, 'other': 2}, TABLE) == {'n': 4, 'x': 1.0, 'f': False, 'y': None, 'z': 1.0, 'e': 'a'}
    assert type(with_defaults({'x': 1}, TABLE)['x']) is float


def test_wrong_values():
    """A ``bool`` is no number, and what is not a number lies nowhere."""
    for key, value, sentence in (
        ('m', 1, 'unknown key `m` in the `rattle` input'),
        ('n', True, '`rattle.n` must be of type `int`, not True.'),
        ('n', None, '`rattle.n` must be of type `int`, not None.'),
        ('n', 0, '`rattle.n` is 0; it must be at least 1.'),
        ('x', '1', '`rattle.x` must be of type `float`'),
        ('x', 0.0, '`rattle.x` is 0.0; it must be above 0 and at most 1.'),
        ('x', float('nan'), '`rattle.x` is nan; it must be above 0 and at most 1.'),
        ('y', 0.5, '`rattle.y` must be of type `int`'),
        ('e', 'c', "`rattle.e` is 'c'; it must be one of a, b."),
    ):
        assert str(settings_problem({key: value}, TABLE, 'rattle')).startswith(sentence)
