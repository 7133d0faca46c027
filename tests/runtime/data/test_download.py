"""Downloads from a server on this machine that can break off, lie, and ignore ranges."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from linvit_dsl.cli.parser import parse
from linvit_runtime.data import DataProblem
from linvit_runtime.data.download import RemoteFile, obtain, verify

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content`; `break_after` bytes the connection ends."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.break_after: int | None = None
        self.ranges = True
        self.requests: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        partial = bool(wanted) and server.ranges
        body = server.content[start if partial else 0 :]
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.break_after])

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def file(server: Server) -> RemoteFile:
    url = f"http://127.0.0.1:{server.server_address[1]}/set.bin"
    return RemoteFile("set.bin", url, SHA256, len(CONTENT))


def test_a_download_takes_its_name_when_it_is_whole(
    server: Server, file: RemoteFile, tmp_path: Path
) -> None:
    path = obtain(file, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert {p.name for p in path.parent.iterdir()} == {"set.bin", "set.bin.lock"}
    obtain(file, path.parent)
    assert len(server.requests) == 1, "a file that is there is not downloaded again"


def test_a_broken_download_is_continued(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    server.break_after = 30_000
    with pytest.raises(DataProblem, match="could not be downloaded"):
        obtain(file, tmp_path)
    assert not (tmp_path / "set.bin").exists()
    have = (tmp_path / "set.bin.part").stat().st_size
    assert 0 < have <= 30_000
    server.break_after = None
    assert obtain(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={have}-"]


def test_a_server_without_ranges_starts_again(
    server: Server, file: RemoteFile, tmp_path: Path
) -> None:
    server.ranges = False
    (tmp_path / "set.bin.part").write_bytes(CONTENT[:1000])
    assert obtain(file, tmp_path).read_bytes() == CONTENT


def test_a_whole_part_is_only_checked(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    (tmp_path / "set.bin.part").write_bytes(CONTENT)
    assert obtain(file, tmp_path).read_bytes() == CONTENT
    assert not server.requests


def test_a_part_that_is_too_long_starts_again(
    server: Server, file: RemoteFile, tmp_path: Path
) -> None:
    (tmp_path / "set.bin.part").write_bytes(CONTENT + b"more")
    assert obtain(file, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None]


def test_other_content_is_thrown_away(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    server.content = bytes(len(CONTENT))
    with pytest.raises(DataProblem, match="not the file expected"):
        obtain(file, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["set.bin.lock"]


def test_an_endless_answer_is_cut(server: Server, file: RemoteFile, tmp_path: Path) -> None:
    server.content = CONTENT + bytes(8 << 20)
    with pytest.raises(DataProblem, match="not the file expected"):
        obtain(file, tmp_path)


def test_no_network_names_the_file_wanted(tmp_path: Path) -> None:
    file = RemoteFile("set.bin", "http://127.0.0.1:9/set.bin", SHA256, len(CONTENT))
    with pytest.raises(DataProblem) as caught:
        obtain(file, tmp_path)
    for part in ("set.bin", str(tmp_path), SHA256, "102,400 bytes", "--data or", "LINVIT_DATA"):
        assert part in str(caught.value)


def test_every_flag_that_the_help_names_exists(tmp_path: Path) -> None:
    with pytest.raises(DataProblem) as caught:
        obtain(RemoteFile("set.bin", "http://127.0.0.1:9/set.bin", SHA256, 1), tmp_path)
    flags = re.findall(r"--[a-z-]+", str(caught.value.hint))
    assert flags
    for verb in ("train", "eval"):
        for flag in flags:
            assert getattr(parse([verb, "x", flag, "there"]), flag[2:]) == "there"


def test_a_folder_that_cannot_be_made_is_a_problem(file: RemoteFile, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("not a folder")
    with pytest.raises(DataProblem, match=r"set\.bin is not in"):
        obtain(file, tmp_path / "plain")


def test_verify_shows_both_checksums(file: RemoteFile, tmp_path: Path) -> None:
    (tmp_path / "set.bin").write_bytes(b"other")
    with pytest.raises(DataProblem) as caught:
        verify(file, tmp_path / "set.bin")
    assert SHA256 in str(caught.value)
    assert hashlib.sha256(b"other").hexdigest() in str(caught.value)
