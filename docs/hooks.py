"""What MkDocs does besides: pages from files outside of docs/, and links as Git hosts have them.

The texts link as on a Git host, from file to file of the repository. In the site, there are only
the pages, so a link to any other file, such as a config, becomes its text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Files in the root of the repository, and the pages that they become.
PAGES = {
    'README.md': 'index.md',
    'SECURITY.md': 'security.md',
    'CONTRIBUTING.md': 'contributing.md',
}
_FENCED = re.compile(r'(^```.*?^```$)', re.MULTILINE | re.DOTALL)
_LINK = re.compile(r'(!?\[([^\]]*)\])\(([^)\s#:]+)(#[^)\s]*)?\)')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside of docs/."""
    root = Path(config.config_file_path).parent
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(root / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the text of a page with the links of the site."""
    sources = {page: name for name, page in PAGES.items()}
    here = page.file.src_uri
    source = posixpath.dirname(sources.get(here, f'docs/{here}'))

    def link(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(source, match[3]))
        if not (Path(config.config_file_path).parent / target).exists():
            return match[0]  # MkDocs reports it
        target = PAGES.get(target, target.removeprefix('docs/'))
        if files.get_file_from_path(target) is None:
            return match[2].replace('_', '_<wbr>')  # long names of configs
        target = posixpath.relpath(target, posixpath.dirname(here) or '.')
        return f'{match[1]}({target}{match[4] or ""})'

    parts = _FENCED.split(markdown)
    return ''.join(part if part.startswith('```') else _LINK.sub(link, part) for part in parts)
