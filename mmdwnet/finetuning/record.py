"""What a folder of results has been made of, and how far it is."""

import hashlib
import json
from pathlib import Path
from typing import Any

from mmengine import fileio

from mmdwnet.errors import UserError

from .found import Found


class Record:
    """The record of a folder of results, in its `finetune.json`.

    A step counts as done for the config that it was done with: after an edit, it is done again.

    Args:
        out: The folder, which need not exist.

    Raises:
        UserError: The folder has a training of another command.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.config = out, out / 'config.py'
        file = out / 'finetune.json'
        self.known: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
        if not self.known and (self.config.exists() or (out / 'run').exists()):
            raise UserError(f'{out} has files of another command: give another --out')

    @property
    def edited(self) -> bool:
        """Return whether the config is another than was written."""
        return self.config.exists() and self.known['config'] != self._digest()

    @property
    def begun(self) -> bool:
        """Return whether there is anything that must not be lost."""
        return bool(self.known) and (self.edited or any(self.out.glob('run/*.pth')))

    def check(self, arguments: dict[str, Any], found: Found) -> None:
        """Check that arguments and data are those of the folder.

        Raises:
            UserError: They are others.
        """
        before = self.known['arguments']
        if changed := [f'{key} {before[key]}' for key in before if before[key] != arguments[key]]:
            raise UserError(
                f'{self.out} has a run with {", ".join(changed)}: to go on with it, give the same '
                f'arguments, or edit {self.config}; for a new run, give another --out'
            )
        if self.known['data'] != _digest_data(found):
            raise UserError(
                f'the data are not those that the run in {self.out} began with: give another --out'
            )

    def begin(self, arguments: dict[str, Any], found: Found, text: str) -> None:
        """Note what the folder is made of, then write its config."""
        data, config = _digest_data(found), _digest(text.encode())
        self.known = dict(arguments=arguments, data=data, config=config)
        self.write('finetune.json', json.dumps(self.known, indent=2))
        self.write('config.py', text)

    def needs(self, step: str) -> bool:
        """Return whether a step is still to be done."""
        return self.known.get(step) != self._digest()

    def done(self, step: str) -> None:
        """Note that a step is done."""
        self.known[step] = self._digest()
        self.write('finetune.json', json.dumps(self.known, indent=2))

    def write(self, name: str, text: str) -> None:
        """Write a file into the folder, whole or not at all."""
        fileio.put_text(text, self.out / name, backend_args=dict(backend='atomic'))

    def _digest(self) -> str:
        return _digest(self.config.read_bytes())


def _digest_data(found: Found) -> str:
    return _digest(repr((found.classes, found.splits)).encode(errors='surrogateescape'))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
