import signal
from collections.abc import Callable
from functools import partial

import pytest

from mmdwnet.engine import stopping


def interrupt() -> None:
    """As Ctrl-C does, whose signal is ignored in jobs that run in the background."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ('ask', 'kind'),
    [
        (partial(signal.raise_signal, signal.SIGTERM), stopping.Stopped),
        (interrupt, KeyboardInterrupt),
    ],
)
def test_a_request_is_obeyed_where_a_library_makes_an_error_of_it(
    ask: Callable[[], None], kind: type[BaseException]
):
    with pytest.raises(kind), stopping.at_once():
        try:
            ask()
        except:  # noqa: E722  # as in mmengine's Config.pretty_text
            raise SyntaxError('the config cannot be formatted')  # noqa: B904


def test_other_errors_stay():
    with pytest.raises(SyntaxError), stopping.at_once():
        raise SyntaxError('a fault')
