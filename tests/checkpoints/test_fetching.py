import multiprocessing
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmdwnet.checkpoints.fetching import fetch
from mmdwnet.errors import UserError

CONTENT = b'whole'


class Handler(BaseHTTPRequestHandler):
    """Sends a file slowly; one called short.pth breaks off."""

    def do_GET(self) -> None:
        self.server.asked += 1
        found = self.path.endswith('.pth?raw=1')
        self.send_response(200 if found else 404)
        self.send_header('Content-Length', str(len(CONTENT)))
        self.end_headers()
        time.sleep(0.3)
        if found:
            self.wfile.write(CONTENT[:2] if 'short' in self.path else CONTENT)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.asked = 0
        server.address = f'http://127.0.0.1:{server.server_port}'
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    """An empty cache of torch hub."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    return tmp_path / 'hub' / 'checkpoints'


def check(path: Path) -> None:
    if path.read_bytes() != CONTENT:
        raise UserError(f'{path.name} is not whole')


def load(address: str, results: multiprocessing.Queue) -> None:
    results.put(fetch(f'{address}/a.pth?raw=1', check).read_bytes())


def test_many_processes_download_once(server, cache: Path):
    context = multiprocessing.get_context('fork')
    results = context.Queue()
    processes = [context.Process(target=load, args=(server.address, results)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [CONTENT] * 4
    for process in processes:
        process.join()
    assert server.asked == 1
    assert fetch(f'{server.address}/a.pth?raw=1', check) == cache / 'a.pth'
    assert server.asked == 1


def test_broken_downloads_leave_nothing(server, cache: Path):
    with pytest.raises(UserError, match=r'short\.pth is not whole'):
        fetch(f'{server.address}/short.pth?raw=1', check)
    assert not [path for path in cache.iterdir() if path.suffix != '.lock']


@pytest.mark.parametrize('name', ['none.txt', 'a.pth?raw=1'])
def test_what_cannot_be_had_is_told(server, cache: Path, name):
    # What is not there, and where nobody answers.
    address = server.address if name == 'none.txt' else 'http://127.0.0.1:9'
    file = name.split('?')[0]
    with pytest.raises(UserError) as caught:
        fetch(f'{address}/{name}', check)
    said = str(caught.value)
    assert f'{file} is not in {cache} and cannot be downloaded' in said
    assert f'get {address}/{name} where there is a network, and put it into {cache}' in said
    assert '\n' not in said


def test_a_cache_that_cannot_be_written_is_told(server, tmp_path: Path):
    (tmp_path / 'hub').write_text('in the way')
    with pytest.raises(UserError, match='cannot be downloaded'):
        fetch(f'{server.address}/a.pth?raw=1', check)
