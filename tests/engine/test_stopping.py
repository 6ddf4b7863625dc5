import signal

import pytest

from mmdwnet.engine import stopping


@pytest.mark.parametrize(
    ('number', 'kind'), [(signal.SIGTERM, stopping.Stopped), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_request_is_obeyed_where_a_library_makes_an_error_of_it(number, kind):
    with pytest.raises(kind), stopping.at_once():
        try:
            signal.raise_signal(number)
        except:  # noqa: E722  # as in mmengine's Config.pretty_text
            raise SyntaxError('the config cannot be formatted')  # noqa: B904


def test_other_errors_stay():
    with pytest.raises(SyntaxError), stopping.at_once():
        raise SyntaxError('a fault')
