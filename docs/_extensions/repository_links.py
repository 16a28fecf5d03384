"""Links of the pages to what lies in the repository beside ``docs``, and pages that lie there.

A link that leads out of ``docs`` leads to the file in the repository on the web, or to its page on the site. So do
links of a page that holds nothing but ``{repository-page} FILE``: it is that file of the repository.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

PAGE = re.compile(r'^:::\{repository-page\} (\S+)\n:::\s*$', re.MULTILINE)
LINK = re.compile(r'\]\((?!\w+:|#|/)([^)#\s]+)')


def read_source(app: Sphinx, name: str, source: list[str]) -> None:
    """Change the links of a page, after putting the file in its place that it stands for."""
    root = Path(app.srcdir).parent
    if Path(app.env.doc2path(name)).suffix != '.md':
        return
    base = Path(app.srcdir, name).parent
    if found := PAGE.search(source[0]):
        file = root / found.group(1)
        app.env.note_dependency(str(file))
        source[0], base = file.read_text(encoding='utf-8'), file.parent

    def lead(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(base / match.group(1)))
        if not target.exists():
            raise ExtensionError(f'{name}: there is no {target}')
        inside = target.is_relative_to(app.srcdir)
        path = str(target.relative_to(app.srcdir if inside else root))
        if inside or path in app.config.repository_pages:
            return f'](/{path if inside else app.config.repository_pages[path]}'
        return f']({app.config.repository_url}/{"tree" if target.is_dir() else "blob"}/main/{path}'

    source[0] = LINK.sub(lead, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what is done with every page, and what it has to know."""
    app.add_config_value('repository_url', '', 'env')
    app.add_config_value('repository_pages', {}, 'env')
    app.connect('source-read', read_source)
    return {'parallel_read_safe': True}
