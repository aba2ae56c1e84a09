"""Foreign archives and foreign servers: nothing of theirs is trusted."""

import hashlib
import http.server
import io
import socket
import stat
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.basics.errors import BenchError
from bench.datasets.archives import FolderTree, ZipTree, download, open_tree

BODY = bytes(range(256)) * 2000
MD5 = hashlib.md5(BODY).hexdigest()


def make_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


# --------------------------------------------------------------------------------------------------- trees


def test_a_folder_and_its_zip_are_the_same_tree(tmp_path: Path) -> None:
    members = {"b/x.png": b"1", "a/y.png": b"22", "a/c/z.png": b"333", ".hidden/u": b"", "__MACOSX/v": b""}
    for name, data in members.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(data)
    trees = open_tree(tmp_path / "tree"), open_tree(make_zip(tmp_path / "t.zip", members))
    for tree in trees:
        assert list(tree.files) == ["a/c/z.png", "a/y.png", "b/x.png"]
        assert tree.folders == {"a", "a/c", "b"}
        assert tree.read("a/y.png") == b"22"
        assert [size for size, _ in tree.files.values()] == [3, 2, 1]


def test_empty_folders_are_seen(tmp_path: Path) -> None:
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    assert FolderTree(tmp_path / "tree").folders == {"empty"}
    assert ZipTree(make_zip(tmp_path / "t.zip", {"empty/": b""})).folders == {"empty"}


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(FolderTree(tmp_path).folders) < 10


@pytest.mark.parametrize(
    "name", ["../up.png", "/root.png", "a/../b.png", "..\\b.png", "C:\\b.png", "\\b.png", "a//b.png", "./a.png"]
)
def test_unsafe_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchError, match="unsafe name"):
        ZipTree(make_zip(tmp_path / "t.zip", {name: b"1"}))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x.png", "x.png"])
def test_links_in_a_zip_are_refused(tmp_path: Path, target: str) -> None:
    link = zipfile.ZipInfo("a/link.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a/x.png", b"1")
        archive.writestr(link, target)
    with pytest.raises(BenchError, match=r"t\.zip holds a symbolic link, 'a/link\.png'"):
        open_tree(tmp_path / "t.zip")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_archive_is_never_unpacked(tmp_path: Path, mode: str) -> None:
    link, member = tarfile.TarInfo("a"), tarfile.TarInfo("a/ran")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    with tarfile.open(tmp_path / "t.tar", mode) as archive:
        archive.addfile(link)
        archive.addfile(member, io.BytesIO())
    with pytest.raises(BenchError, match=r"t\.tar is a tar or compressed file, .*; unpack it"):
        open_tree(tmp_path / "t.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["t.tar"]


def test_a_truncated_zip_is_one_sentence(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "t.zip", {"a/x.png": b"x" * 5000})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BenchError, match=r"t\.zip is damaged or no zip file"):
        open_tree(path)


def test_a_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "t.zip", {"a/x.png": b"x" * 5000}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(BenchError, match=r"a/x\.png in .* is damaged"):
        open_tree(path).read("a/x.png")


def test_a_bomb_is_refused_before_it_is_read_whether_it_admits_its_size_or_not(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "t.zip", {"a/x.png": bytes(10_000)})
    data = path.read_bytes()
    for claim, message in ((2**31, "more than an image can"), (100, "is damaged")):
        directory = data.rindex(b"PK\x01\x02")
        path.write_bytes(data[: directory + 24] + struct.pack("<I", claim) + data[directory + 28 :])
        with pytest.raises(BenchError, match=message):
            open_tree(path).read("a/x.png")


def test_a_bomb_of_an_admissible_size_is_refused_by_its_ratio(tmp_path: Path) -> None:
    tree = open_tree(make_zip(tmp_path / "t.zip", {"a/x.png": bytes(2**22), "a/y.png": bytes(2**20)}))
    with pytest.raises(BenchError, match=r"a/x\.png in .* unpacks from \d+ to 4194304 bytes, as only a bomb does"):
        tree.read("a/x.png")
    assert tree.read("a/y.png") == bytes(2**20)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no folder or zip file"):
        open_tree(tmp_path / "none")


# ----------------------------------------------------------------------------------------------- downloads


class Server:
    """Sends BODY; how well, its attributes say."""

    def __init__(self) -> None:
        self.ranges = True
        self.break_after: int | None = None
        """Bytes of each answer after which the connection is cut."""
        self.body = BODY
        self.status: int | None = None
        self.asked: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.headers.get("Range"))
                if outer.status:
                    self.send_error(outer.status)
                    return
                start, wanted = 0, self.headers.get("Range")
                if outer.ranges and wanted:
                    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                    if start >= len(outer.body):
                        self.send_error(416)
                        return
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(outer.body) - 1}/{len(outer.body)}")
                else:
                    self.send_response(200)
                data = outer.body[start:]
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data if outer.break_after is None else data[: outer.break_after])

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/file.zip"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def test_a_download_arrives_whole_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple] = []
    download(server.url, tmp_path / "new" / "f.zip", MD5, lambda *call: seen.append(call))
    assert (tmp_path / "new" / "f.zip").read_bytes() == BODY
    assert not (tmp_path / "new" / "f.zip.part").exists()
    assert seen[-1] == ("download f.zip", len(BODY), len(BODY), {})


def test_a_finished_download_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        download(server.url, tmp_path / "f.zip", MD5)
    assert len(server.asked) == 1


def test_a_cut_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.break_after = 200_000
    download(server.url, tmp_path / "f.zip", MD5)
    assert (tmp_path / "f.zip").read_bytes() == BODY
    assert server.asked == [None, "bytes=200000-", "bytes=400000-"]


def test_a_part_of_an_earlier_call_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.zip.part").write_bytes(BODY[:1234])
    download(server.url, tmp_path / "f.zip", MD5)
    assert server.asked == ["bytes=1234-"]
    assert (tmp_path / "f.zip").read_bytes() == BODY


def test_a_part_that_is_whole_already(server: Server, tmp_path: Path) -> None:
    (tmp_path / "f.zip.part").write_bytes(BODY)
    download(server.url, tmp_path / "f.zip", MD5)
    assert (tmp_path / "f.zip").read_bytes() == BODY


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "f.zip.part").write_bytes(b"?" * 1234)
    download(server.url, tmp_path / "f.zip", MD5)
    assert (tmp_path / "f.zip").read_bytes() == BODY


def test_a_server_that_always_breaks_off_gives_up_and_keeps_the_part(server: Server, tmp_path: Path) -> None:
    server.ranges, server.break_after = False, 100_000
    with pytest.raises(BenchError, match=r"broke off while downloading f\.zip; run the same command again"):
        download(server.url, tmp_path / "f.zip", MD5)
    assert not (tmp_path / "f.zip").exists()
    assert (tmp_path / "f.zip.part").read_bytes() == BODY[:100_000]
    assert len(server.asked) == 4
    server.break_after = None
    download(server.url, tmp_path / "f.zip", MD5)
    assert (tmp_path / "f.zip").read_bytes() == BODY


@pytest.mark.parametrize("part", [b"", b"stale" * 100, BODY + b"too long"])
def test_a_wrong_file_is_never_used(server: Server, tmp_path: Path, part: bytes) -> None:
    if part:
        (tmp_path / "f.zip.part").write_bytes(part)
    else:
        server.body = b"<html>log in to this hotel's network</html>"
    with pytest.raises(BenchError, match="is not the expected file"):
        download(server.url, tmp_path / "f.zip", MD5)
    assert not (tmp_path / "f.zip").exists()
    assert not (tmp_path / "f.zip.part").exists()
    server.body = BODY
    download(server.url, tmp_path / "f.zip", MD5)


def test_more_bytes_than_expected_are_not_stored(server: Server, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="more than 1000 bytes"):
        download(server.url, tmp_path / "f.zip", MD5, most_bytes=1000)


def test_a_missing_page(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(BenchError, match=r"cannot download http.*: the server answered 404"):
        download(server.url, tmp_path / "f.zip", MD5)


def test_no_network(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(BenchError, match="is there a network connection"):
        download(f"http://127.0.0.1:{port}/f.zip", tmp_path / "f.zip", MD5)


def test_offline_nothing_is_fetched_but_what_is_there_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_OFFLINE", "1")
    url = "http://127.0.0.1:1/x"
    with pytest.raises(
        BenchError, match=r"x is not there, and nothing is fetched offline .*get it .* from http"
    ) as error:
        download(url, tmp_path / "x", None)
    assert str(tmp_path / "x") in str(error.value)
    (tmp_path / "x").write_bytes(b"whole")
    download(url, tmp_path / "x", None)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_other_kinds_of_address_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="only http and https"):
        download("file:///etc/passwd", tmp_path / "f.zip", MD5)


def test_a_place_that_cannot_be_written_to(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write"):
        download(server.url, tmp_path / "file" / "f.zip", MD5)
