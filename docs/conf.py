"""Configuration of the site: ``sphinx-build -W docs docs/_build``; every reference has to lead somewhere."""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
import warnings
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / '_extensions'))

# Processes are looked at in a profile of the build's own.
_aiida = tempfile.TemporaryDirectory()
os.environ['AIIDA_PATH'] = _aiida.name
warnings.filterwarnings('ignore', message='Creating AiiDA configuration folder')

from aiida import load_profile
from aiida.manage.configuration import get_config
from aiida.storage.sqlite_temp import SqliteTempBackend

import aiida_equitrain

# autodoc looks at every attribute of a class, those that AiiDA is about to remove as well.
get_config(create=True).set_option('warnings.showdeprecations', False)
load_profile(SqliteTempBackend.create_profile('docs', filepath=f'{_aiida.name}/repository'), allow_switch=True)

METADATA = tomllib.loads((DOCS.parent / 'pyproject.toml').read_text(encoding='utf-8'))['project']

project = 'aiida-equitrain'
author = copyright = METADATA['authors'][0]['name']
release = aiida_equitrain.__version__

extensions = [
    'myst_nb',
    'sphinx_design',
    'sphinx_copybutton',
    'sphinx_click',
    'sphinx.ext.autodoc',
    'sphinx.ext.intersphinx',
    'aiida.sphinxext',
    'process_pages',
    'repository_links',
]
exclude_patterns = ['_build']
highlight_language = 'text'
# Docstrings have code in single backticks.
default_role = 'code'

html_theme = 'furo'
html_title = f'aiida-equitrain {release}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_theme_options = {
    'source_repository': METADATA['urls']['Source'],
    'source_branch': 'main',
    'source_directory': 'docs/',
}

myst_enable_extensions = ['colon_fence', 'deflist', 'dollarmath']
myst_heading_anchors = 4
copybutton_prompt_text = r'\$ |>>> '
copybutton_prompt_is_regexp = True

repository_url = METADATA['urls']['Source']
repository_pages = {
    'starter/MODEL_CARD.md': 'topics/starter.md',
    'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md',
    'examples/README.md': 'howto/examples.md',
}

# The notebook takes a minute: it is executed where the site is published, and by `scripts/test.sh --all`.
EXECUTE = bool(os.environ.get('READTHEDOCS') or os.environ.get('EXECUTE_NOTEBOOKS'))
nb_execution_mode = 'force' if EXECUTE else 'off'
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_output_stderr = 'remove'
nb_merge_streams = True

autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
autodoc_member_order = 'bysource'
python_use_unqualified_type_names = True

# Nothing is asked of other servers but where the site is published.
intersphinx_mapping = (
    {
        'python': ('https://docs.python.org/3', None),
        'aiida': ('https://aiida.readthedocs.io/projects/aiida-core/en/stable', None),
        'numpy': ('https://numpy.org/doc/stable', None),
        'pandas': ('https://pandas.pydata.org/docs', None),
    }
    if os.environ.get('READTHEDOCS')
    else {}
)
nitpicky = True
# Types of other packages, which only the published site can link to.
nitpick_ignore_regex = [
    (r'py:.*', r'(?!aiida_equitrain).*'),
]
