"""The pages of the API have each public name."""

import re

import pytest

import mmdwnet
from mmdwnet import models

from .snippets import ROOT

PAGES = ''.join(path.read_text() for path in sorted((ROOT / 'docs' / 'api').glob('*.md')))
NAMES = {*mmdwnet.__all__, *(f'models.{name}' for name in models.__all__), 'timm'}


@pytest.mark.parametrize('name', sorted(NAMES - {'__version__', 'models'}))
def test_the_api_has(name: str) -> None:
    # Of the registry of mixers, there is nothing to read.
    assert re.search(rf'^::: mmdwnet\.{name}$|`mmdwnet\.{name}` is', PAGES, re.MULTILINE)
