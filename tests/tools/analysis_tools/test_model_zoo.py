from pathlib import Path

import model_zoo
import pytest
from complexity import Complexity

ROOT = Path(__file__).parents[3]
MODELS = {model.name: model for model in model_zoo.read_models(ROOT)}
PUBLISHED = [model for model in MODELS.values() if 'FLOPs' in model.published]


@pytest.fixture(scope='module')
def counted() -> dict[str, Complexity]:
    return model_zoo.count_all(MODELS.values(), ROOT)


def test_all_models_are_in_the_metafiles() -> None:
    configs = {path for task in ('cls', 'det', 'seg') for path in ROOT.glob(f'configs/{task}/*.py')}
    assert {ROOT / model.config for model in MODELS.values()} == configs
    assert len(PUBLISHED) == 12 + 4


@pytest.mark.slow
def test_tables_are_fresh(counted: dict[str, Complexity]) -> None:
    stale = model_zoo.stale_files(ROOT, counted)
    assert not stale, f'run tools/analysis_tools/model_zoo.py for {", ".join(map(str, stale))}'


@pytest.mark.slow
@pytest.mark.parametrize('model', PUBLISHED, ids=lambda model: model.name)
def test_multiply_adds_are_the_published(
    model: model_zoo.Model, counted: dict[str, Complexity]
) -> None:
    found = counted[model.name].total.multiply_adds
    assert found == pytest.approx(model.published['FLOPs'], rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize('name', [n for n, model in MODELS.items() if model.published])
def test_parameters_are_the_published(name: str, counted: dict[str, Complexity]) -> None:
    # For detectors and segmentors, the published numbers are in millions.
    exact = MODELS[name].config.parent.name == 'cls'
    found = counted[name].total.parameters
    assert MODELS[name].published['Parameters'] == (found if exact else round(found, -6))


METAFILE = """
Collections:
  - Name: Nano
    Metadata:
      Training Data: digits
Models:
  - Name: nano
    In Collection: Nano
    Config: nano.py
    Weights: dwnet://nano
    Metadata:
      Parameters: 0
      FLOPs: 0
    Published:
      Parameters: 1.3e+6
      FLOPs: 0.2e+9
    Results:
      - Task: Image Classification
        Dataset: digits
        Metrics:
          Top 1 Accuracy: 98.3
"""
CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='DWNet', arch='nano'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', in_channels=256, num_classes=10),
)
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a checkout with one model and empty tables as the current folder."""
    (tmp_path / 'docs').mkdir()
    for name in ('README.md', 'docs/model_zoo.md'):
        (tmp_path / name).write_text(f'Before.\n{model_zoo.BEGIN}\n{model_zoo.END}\nAfter.\n')
    (tmp_path / 'nano.py').write_text(CONFIG)
    (tmp_path / 'metafile.yml').write_text(METAFILE)
    (tmp_path / 'model-index.yml').write_text('Import: [metafile.yml]')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.rglob('*.*') if path.is_file()}


def test_what_is_written(checkout: Path, capsys: pytest.CaptureFixture) -> None:
    assert model_zoo.main([]) == 0
    after = contents(checkout)
    row = '| [nano](nano.py) | 98.3 | 1.3 M (1.3 M) | 0.20 G (0.2 G) | `dwnet://nano` |'
    assert after['README.md'].splitlines()[-4] == row
    zoo = after['model_zoo.md'].splitlines()
    assert zoo[-4] == (
        '| [nano](../nano.py) | 98.3 | 224 x 224 | 1,251,082 | 1.3 M | 0.20 G | 0.2 G | -2.5 % '
        '| `dwnet://nano` |'
    )
    assert '### Nano, digits' in zoo
    for text in (after['README.md'], after['model_zoo.md']):
        assert text.startswith('Before.\n<!-- ') and text.endswith(' -->\nAfter.\n')
    assert '      Parameters: 1251082\n      FLOPs: 195' in after['metafile.yml']
    assert model_zoo.main(['--check']) == 0


@pytest.mark.parametrize('name', ['README.md', 'docs/model_zoo.md', 'metafile.yml'])
def test_stale_files_are_found(checkout: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    assert model_zoo.main([]) == 0
    text = (checkout / name).read_text()
    (checkout / name).write_text(text.replace('1.3 M', '1.4 M', 1).replace('1251082', '1251083'))
    if name == 'docs/model_zoo.md':
        (checkout / name).write_text(text.replace('1,251,082', '1,251,083'))
    before = contents(checkout)
    capsys.readouterr()
    assert model_zoo.main(['--check']) == 2
    assert capsys.readouterr().err == (f'stale: {name}; run tools/analysis_tools/model_zoo.py\n')
    assert contents(checkout) == before


def test_another_model_makes_all_stale(checkout: Path, capsys: pytest.CaptureFixture) -> None:
    assert model_zoo.main([]) == 0
    config = (checkout / 'nano.py').read_text()
    (checkout / 'nano.py').write_text(config.replace('num_classes=10', 'num_classes=1000'))
    assert model_zoo.main(['--check']) == 2
    assert 'stale: metafile.yml, README.md, docs/model_zoo.md;' in capsys.readouterr().err


def test_what_is_missing_is_told(checkout: Path, capsys: pytest.CaptureFixture) -> None:
    def told() -> str:
        assert model_zoo.main([]) == 2
        return capsys.readouterr().err

    (checkout / 'README.md').write_text('No tables.')
    assert told().startswith('README.md has no place for the tables: put it between <!-- ')
    metafile = METAFILE.replace('      FLOPs: 0\n', '', 1)
    (checkout / 'metafile.yml').write_text(metafile)
    assert told().startswith('metafile.yml has no place for the costs of nano: ')
    (checkout / 'model-index.yml').unlink()
    assert told().startswith(f'no model-index.yml in {checkout}')
