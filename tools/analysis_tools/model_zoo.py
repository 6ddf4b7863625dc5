"""Write the tables of all models, and the counted costs in their metafiles."""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from complexity import Complexity, Cost, measure
from mmengine.config import Config

from mmdwnet.apis.hub import INDEX, metafiles, read
from mmdwnet.cli.command import add_traceback, run_command
from mmdwnet.errors import UserError

README = Path('README.md')
ZOO = Path('docs/model_zoo.md')
BEGIN = '<!-- model zoo: written by tools/analysis_tools/model_zoo.py -->'
END = '<!-- end of the model zoo -->'
NOTHING = '–'  # noqa: RUF001  (table cell without a published value)


@dataclass(frozen=True)
class Model:
    """Entry of a model in a metafile.

    Attributes:
        name: Stem of the config file.
        group: Method and dataset; the title of a table.
        config: Path of the config, relative to the root of the checkout.
        weights: `dwnet://NAME`, or None if no weights are released.
        results: Published scores by metric.
        published: Published parameters and multiply-adds, if any.
    """

    name: str
    group: str
    config: Path
    weights: str | None
    results: dict[str, float]
    published: dict[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the tables of the checkout in the current folder.

    Args:
        argv: Command-line arguments. Defaults to those of the process.

    Returns:
        The exit code: 0, or 2 if tables are stale or files are missing.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--check', action='store_true', help='write nothing; fail if a file is stale'
    )
    add_traceback(parser)
    return run_command(write_model_zoo, parser.parse_args(argv))


def write_model_zoo(args: argparse.Namespace) -> None:
    """Count the costs of all models and update the files.

    Args:
        args: Options; with `check`, stale files are an error instead.

    Raises:
        UserError: A file is missing, has no place for the tables, or is stale.
    """
    stale = stale_files(Path(), count_all(read_models(Path())))
    if args.check and stale:
        raise UserError(
            f'stale: {", ".join(map(str, stale))}; run tools/analysis_tools/model_zoo.py'
        )
    for path, text in stale.items():
        path.write_text(text)
        print(f'wrote {path}')


def read_models(root: Path) -> list[Model]:
    """Read the metafiles.

    Args:
        root: The checkout.

    Returns:
        The models, in the order of the metafiles.

    Raises:
        UserError: There are no metafiles.
    """
    if not (root / INDEX).is_file():
        raise UserError(f'no {INDEX} in {root.absolute()}: run this in a checkout of mmdwnet')
    return [model for path in metafiles(root) for model in _models(read(path))]


def count_all(models: Iterable[Model], root: Path = Path()) -> dict[str, Complexity]:
    """Count parameters and multiply-adds, which takes a second or two per model.

    Args:
        models: The models.
        root: The checkout.

    Returns:
        Costs by model name, at the image shapes of the paper.
    """
    return {model.name: measure(Config.fromfile(root / model.config)) for model in models}


def stale_files(root: Path, counted: dict[str, Complexity]) -> dict[Path, str]:
    """Find the files that are out of date.

    Args:
        root: The checkout.
        counted: Costs of all models, by name.

    Returns:
        Updated contents by path.

    Raises:
        UserError: A file is missing or has no place for the tables.
    """
    models = read_models(root)
    fresh = {path: _with_costs(path, counted) for path in metafiles(root)}
    fresh[root / README] = _with_tables(root / README, _readme_tables(models, counted))
    fresh[root / ZOO] = _with_tables(root / ZOO, _zoo_tables(models, counted))
    return {path: text for path, text in fresh.items() if path.read_text() != text}


def _models(metafile: dict) -> Iterator[Model]:
    data = {each['Name']: each['Metadata']['Training Data'] for each in metafile['Collections']}
    for model in metafile['Models']:
        method = model['In Collection']
        metrics = [result['Metrics'] for result in model.get('Results', [])]
        yield Model(
            model['Name'],
            f'{method}, {data[method]}',
            Path(model['Config']),
            model.get('Weights'),
            {key: value for each in metrics for key, value in each.items()},
            model.get('Published', {}),
        )


def _with_costs(path: Path, counted: dict[str, Complexity]) -> str:
    """Return the text of a metafile with the costs replaced by the counted ones."""
    text = path.read_text()
    for model in read(path)['Models']:
        cost = counted[model['Name']].total
        text, found = re.subn(
            rf'(- Name: {re.escape(model["Name"])}\n(?:    .*\n)*?    Metadata:\n'
            r'      Parameters: )\d+(\n      FLOPs: )\d+\n',
            rf'\g<1>{cost.parameters}\g<2>{cost.multiply_adds}\n',
            text,
        )
        if found != 1:
            raise UserError(
                f'{path} has no place for the costs of {model["Name"]}: give its Metadata the '
                'lines "Parameters: 0" and "FLOPs: 0", in this order'
            )
    return text


def _with_tables(path: Path, tables: str) -> str:
    """Return the text of a file with the tables between its markers replaced."""
    text = path.read_text() if path.is_file() else ''
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UserError(f'{path} has no place for the tables: put it between {BEGIN} and {END}')
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f'{before}{BEGIN}\n\n{tables}\n{END}{after}'


def _groups(models: list[Model]) -> dict[str, list[Model]]:
    groups: dict[str, list[Model]] = {}
    for model in models:
        groups.setdefault(model.group, []).append(model)
    return groups


def _readme_tables(models: list[Model], counted: dict[str, Complexity]) -> str:
    """Return a compact table for each group."""
    tables = []
    for group, members in _groups(models).items():
        lines = [
            [
                group,
                f"paper's {_metrics(members)}",
                "parameters (paper's)",
                "FLOPs (paper's)",
                'weights',
            ]
        ]
        for model in members:
            cost = counted[model.name].total
            parameters, flops = _published(model)
            lines.append(
                [
                    f'[{model.name}]({model.config.as_posix()})',
                    _scores(model),
                    f'{_millions(cost.parameters)} ({parameters})',
                    f'{_billions(cost.multiply_adds)} ({flops})',
                    _weights(model),
                ]
            )
        tables.append(_table(lines))
    return '\n'.join(tables)


def _zoo_tables(models: list[Model], counted: dict[str, Complexity]) -> str:
    """Return a full table for each group, with its title."""
    header = ['input', 'parameters', "paper's", 'FLOPs', "paper's", 'difference', 'weights']
    tables = []
    for group, members in _groups(models).items():
        lines = [['config', f"paper's {_metrics(members)}", *header]]
        for model in members:
            height, width = counted[model.name].shape
            cost = counted[model.name].total
            lines.append(
                [
                    f'[{model.name}](../{model.config.as_posix()})',
                    _scores(model),
                    f'{height} x {width}',
                    f'{cost.parameters:,}',
                    _published(model)[0],
                    _billions(cost.multiply_adds),
                    _published(model)[1],
                    _difference(model, cost),
                    _weights(model),
                ]
            )
        tables.append(f'### {group}\n\n{_table(lines)}')
    return '\n'.join(tables)


def _table(lines: list[list[str]]) -> str:
    lines = [lines[0], ['---'] * len(lines[0]), *lines[1:]]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def _metrics(models: list[Model]) -> str:
    return ' / '.join(dict.fromkeys(key for model in models for key in model.results))


def _scores(model: Model) -> str:
    return ' / '.join(f'{score:.1f}' for score in model.results.values()) or NOTHING


def _weights(model: Model) -> str:
    return f'`{model.weights}`' if model.weights else NOTHING


def _published(model: Model) -> tuple[str, str]:
    """Return the published parameters and multiply-adds, with the published digits."""
    parameters, flops = (model.published.get(key) for key in ('Parameters', 'FLOPs'))
    return (
        NOTHING if parameters is None else f'{round(parameters / 1e6, 1):g} M',
        NOTHING if flops is None else f'{flops / 1e9:.{1 if flops < 1e11 else 0}f} G',
    )


def _difference(model: Model, cost: Cost) -> str:
    if 'FLOPs' not in model.published:
        return NOTHING
    return f'{100 * (cost.multiply_adds / model.published["FLOPs"] - 1):+.1f} %'


def _millions(parameters: int) -> str:
    return f'{parameters / 1e6:.1f} M'


def _billions(flops: int) -> str:
    return f'{flops / 1e9:.{2 if flops < 1e11 else 1}f} G'


if __name__ == '__main__':
    os.chdir(Path(__file__).parents[2])  # paths are relative to the root
    sys.exit(main())
