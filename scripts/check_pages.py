"""Open pages in a headless Chromium, narrow and wide, light and dark, and print what is wrong with them.

    python scripts/check_pages.py FOLDER_OR_FILE ... [--pictures FOLDER]

Of a folder all HTML files are taken, however deep. A page must ask for no other file, say nothing on the console, fit
the screen, cut no text of a figure, draw lines with a contrast of 3, and pass axe-core (WCAG 2.2 AA, contrast of text
among it). Needs a Chromium on the PATH and, of the extra `tests`, axe-playwright-python: playwright, which drives the
browser, with axe-core.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WIDTHS = (390, 820, 1280)
SCHEMES = ('light', 'dark')
HEIGHT = 900
#: For a page to be drawn; a machine may be busy.
PATIENCE_MS = 300_000
BROWSERS = ('chromium', 'google-chrome', 'chromium-browser')
AXE = {
    'resultTypes': ['violations'],
    'runOnly': {'type': 'tag', 'values': ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']},
}
#: What does not fit, is cut, or is hard to see.
SEEN = Path(__file__).with_suffix('.js').read_text(encoding='utf-8')


def pages_of(paths: list[Path]) -> list[Path]:
    """Return the HTML files of folders, and files as they are."""
    found = [page for path in paths for page in (sorted(path.rglob('*.html')) if path.is_dir() else [path])]
    if not found:
        raise SystemExit(f'no page in {", ".join(map(str, paths))}')
    return found


def check(browser: Any, page: Path, pictures: Path | None = None) -> Iterator[str]:
    """Yield what is wrong with a page, a line each, with the width and the colours where it was seen.

    :param pictures: folder for pictures of the whole page.
    """
    for scheme in SCHEMES:
        for width in WIDTHS:
            context = browser.new_context(viewport={'width': width, 'height': HEIGHT}, color_scheme=scheme)
            context.set_default_timeout(PATIENCE_MS)
            yield from (f'{page}, {width} {scheme}: {line}' for line in look(context.new_page(), page))
            if pictures is not None:
                pictures.mkdir(parents=True, exist_ok=True)
                name = f'{page.parent.name}-{page.stem}-{width}-{scheme}.png'
                context.pages[0].screenshot(path=pictures / name, full_page=True)
            context.close()


def look(tab: Any, page: Path) -> list[str]:
    """Open a page in a tab and return what is wrong with it."""
    from axe_playwright_python.sync_playwright import Axe

    found: list[str] = []
    own = page.absolute().as_uri()
    tab.on('console', lambda message: found.append(f'console: {message.text}'))
    tab.on('pageerror', lambda error: found.append(f'script: {error}'))
    tab.on('request', lambda request: request.url.startswith((own, 'data:')) or found.append(f'asks for {request.url}'))
    tab.goto(own)
    live = tab.locator('figure[data-live]').count()
    if live:
        tab.wait_for_function(f'document.querySelectorAll("figure.is-live .main-svg").length >= {live}')
    # Plotly draws again once it knows how much room there is.
    tab.wait_for_timeout(300)
    found += tab.evaluate(SEEN)
    for broken in Axe().run(tab, options=AXE).response['violations']:
        for node in broken['nodes']:
            reasons = '; '.join(each['message'] for each in (*node['any'], *node['all'], *node['none']))
            found.append(f'{broken["id"]}: {" ".join(map(str, node["target"]))}: {reasons or broken["help"]}')
    return found


def run(paths: list[Path], pictures: Path | None = None) -> list[str]:
    """Return what is wrong with pages.

    :param paths: files, and folders of them.
    :raises SystemExit: if there is no page or no browser.
    """
    from playwright.sync_api import sync_playwright

    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        raise SystemExit('no chromium on the PATH (Debian: apt-get install chromium)')
    pages = pages_of(paths)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=['--no-sandbox', '--disable-gpu'])
        found = [line for page in pages for line in check(browser, page, pictures)]
        browser.close()
    return found


def main() -> None:
    """Read the arguments, print what was found, and end with 1 if that is anything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('paths', nargs='+', type=Path, metavar='FOLDER_OR_FILE')
    parser.add_argument('--pictures', type=Path, metavar='FOLDER', help='write pictures of all pages there')
    arguments = parser.parse_args()
    found = run(arguments.paths, arguments.pictures)
    print(*found, sep='\n', end='\n' if found else '')
    looks = len(pages_of(arguments.paths)) * len(WIDTHS) * len(SCHEMES)
    print(f'{looks} looks ({", ".join(map(str, WIDTHS))} wide, {" and ".join(SCHEMES)}): {len(found)} faults')
    sys.exit(bool(found))


if __name__ == '__main__':
    main()
