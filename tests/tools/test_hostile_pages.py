"""Pages of nodes whose every word is hostile: nothing of it is more than text, by the parser and in a browser."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from aiida import orm

from aiida_equitrain.report.live import library
from aiida_equitrain.report.write import write_report

pytestmark = pytest.mark.real

sys.path.insert(0, str(Path(__file__).parents[1] / 'hostile'))

KINDS = ['material', 'instability', 'study']
#: Tags that none of our pages has.
FORBIDDEN = {'img', 'iframe', 'object', 'embed', 'base', 'foreignobject', 'image', 'animate', 'set', 'video'}


class Outline(HTMLParser):
    """What tags and attributes a page has."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.names: set[str] = set()
        self.values: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        for name, value in attrs:
            self.names.add(name)
            self.values.setdefault(name, []).append(value or '')


@pytest.fixture(params=KINDS)
def page(request: Any, aiida_profile_clean: Any, tmp_path: Path) -> Path:
    """Return the page of a node whose every word is hostile."""
    import cases_pages

    node = cases_pages.REPORTS[request.param](cases_pages.ALL)
    write_report(node, tmp_path / 'page')
    return tmp_path / 'page' / 'report.html'


def test_text_is_text(page: Path) -> None:
    """No tag, attribute, identifier or address comes from a node, and no character that steers or hides."""
    text = page.read_text(encoding='utf-8').replace(library(), '')
    outline = Outline()
    outline.feed(text)
    assert not outline.tags & FORBIDDEN
    assert not [name for name in outline.names if name.startswith('on') or name in ('src', 'action', 'formaction')]
    for name in ('id', 'class', 'for', 'aria-labelledby', 'data-material'):
        assert all(re.fullmatch(r'[\w .-]*', value, re.ASCII) for value in outline.values.get(name, [])), name
    links = outline.values.get('href', []) + outline.values.get('xlink:href', [])
    assert all(re.fullmatch(r'#[\w-]+|data:,|[a-z0-9_]+\.(csv|cif)', link, re.ASCII) for link in links)
    assert set(outline.values.get('data-material', ['0'])) == {'0'}
    # Of our own scripts and of data there are so many; of data each has its block.
    n_data = text.count('<script type="application/json"')
    assert text.count('<script') == ('data-material' in outline.names) + n_data + (2 if n_data else 0)
    hides = '[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0041]'
    assert re.findall(hides, text) == []
    # It is all there to be read.
    shown = html.unescape(text)
    for part in ('<script>document.title="ran"</script>', '{{ 7 * 7 }}', '$\\frac{1}{$', '\\u001b[2J', '\\u202e'):
        assert part in shown


def test_nothing_runs(page: Path, browser: str, tmp_path: Path) -> None:
    """In a browser nothing of it runs, nothing is asked for, and nothing is said on the console."""
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr', '--virtual-time-budget=2000']
    command = [browser, *options, f'--user-data-dir={tmp_path / "profile"}', '--dump-dom', page.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert 'CONSOLE' not in result.stderr, result.stderr
    title = re.search(r'<title>(.*?)</title>', result.stdout)
    assert title is not None
    assert title.group(1) != 'ran'


def test_policy_is_a_second_wall(browser: str, aiida_profile_clean: Any, tmp_path: Path) -> None:
    """Were a script or a picture to get into a page after all, the browser would not take it."""
    import cases_pages

    write_report(cases_pages.study('Si'), tmp_path)
    path = tmp_path / 'report.html'
    bad = '<script>document.title="ran"</script><img src="x" onerror="document.title=\'ran\'">'
    path.write_text(path.read_text().replace('</header>', f'</header>{bad}'))
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr', '--virtual-time-budget=2000']
    command = [browser, *options, f'--user-data-dir={tmp_path / "profile"}', '--dump-dom', path.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert '<title>ran</title>' not in result.stdout
    assert result.stderr.count('Content Security Policy') >= 2


def test_refused_by_us(aiida_profile_clean: Any, tmp_path: Path) -> None:
    """A folder that cannot be written is no fault of the results."""
    import cases_pages

    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='file'):
        write_report(cases_pages.material('Si'), tmp_path / 'file' / 'page')
    assert orm.QueryBuilder().append(orm.WorkChainNode).count() == 1
