"""Arrays come back as they were, by whatever Python wrote them; nothing else comes back, and nothing runs."""

import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.basics.errors import BenchError
from bench.datasets.pickles import read_arrays


def written(path: Path, value: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(tmp_path: Path, protocol: int) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    value = {"image_data": images, "class_dict": {"n01": [0, np.int64(1)], b"n02": np.array([1, 2])}}
    got = read_arrays(written(tmp_path / "a.pkl", value, protocol))
    assert np.array_equal(got["image_data"], images)
    assert got["image_data"].dtype == np.uint8
    assert got["class_dict"]["n01"] == [0, 1]
    assert got["class_dict"][b"n02"].tolist() == [1, 2]


@given(
    hnp.arrays(
        st.sampled_from(["u1", "<i4", ">i2", "<f8", "?", ">u8"]), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)
    ),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
    st.booleans(),
)
def test_arrays_come_back_bit_for_bit(tmp_path_factory: Any, array: np.ndarray, protocol: int, columns: bool) -> None:
    array = np.asfortranarray(array) if columns else array
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    got = read_arrays(written(path, [array], protocol))[0]
    assert got.shape == array.shape
    assert got.dtype == array.dtype
    assert got.tobytes() == array.tobytes()


def test_python_2_and_numpy_1(tmp_path: Path) -> None:
    """As Python 2.7 writes it: strings without an encoding, and the module names of NumPy 1."""
    short = lambda text: b"U" + bytes([len(text)]) + text  # SHORT_BINSTRING  # noqa: E731
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + short(b"b") + b"tR"
        b"(K\x01(K\x02K\x03t" + b"cnumpy\ndtype\n(" + short(b"u1") + b"K\x00K\x01tR"
        b"(K\x03" + short(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"I00\n" + short(b"\x00\x01\x02\xfd\xfe\xff") + b"tb"
    )
    text = (
        b"\x80\x02}(" + short(b"image_data") + array + short(b"class_dict") + b"}" + short(b"n01") + b"]K\x07as" + b"u."
    )
    (tmp_path / "a.pkl").write_bytes(text)
    assert list(pickle.loads(text, encoding="bytes")) == [b"image_data", b"class_dict"], "what is tested is a pickle"
    got = read_arrays(tmp_path / "a.pkl")
    assert got[b"image_data"].tolist() == [[0, 1, 2], [253, 254, 255]]
    assert got[b"class_dict"] == {b"n01": [7]}


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, Any]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.system, eval, os.mkdir, np.load, np.memmap, np.fromfile, io.open])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, function: Any, protocol: int) -> None:
    ran = tmp_path / "ran"
    argument = {os.system: f"touch {ran}", eval: f"open({str(ran)!r}, 'w')"}.get(function, str(ran))
    path = written(tmp_path / "a.pkl", {"image_data": np.zeros(3), "x": [Runs(function, argument)]}, protocol)
    with pytest.raises(BenchError) as caught:
        read_arrays(path)
    assert not ran.exists()
    assert f"{function.__name__}, and a pickle may name nothing but NumPy's arrays" in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([{}, []], dtype=object), "array of 'O8'"),
        (np.zeros(2, dtype=[("a", "u1")]), "array of 'V1'"),
        (np.ma.array([1]), "asks for numpy.*_mareconstruct"),
        ({1, 2}, "set"),
    ],
)
def test_only_numbers_in_arrays(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        read_arrays(written(tmp_path / "a.pkl", [value], 4))


@pytest.mark.parametrize(
    "text",
    [
        b"\x80\x02cnumpy\nndarray\n(\x8a\x05\x00\x00\x00\x00\x7ftR.",  # numpy.ndarray of half a terabyte
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n}(U\x01xK\x01ub.",  # attributes for the reader's functions
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\ntR.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\ntR.",  # an array without content
        b"\x80\x02cnumpy\ndtype\n.",
        b"P1\n.",
        b"\x80\x02]q\x00h\x00a.",  # a list in itself
        b"",
        b"PK\x03\x04 no pickle",
        b"\x80\x02}U\x05image",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",  # says that it is longer than any file
    ],
)
def test_made_up_pickles_are_one_sentence(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(text)
    with pytest.raises(BenchError, match=r"is refused: |is damaged or no pickle file") as caught:
        read_arrays(tmp_path / "a.pkl")
    assert "\n" not in str(caught.value)


def test_a_shape_that_the_bytes_do_not_fill_is_damage(tmp_path: Path) -> None:
    data = pickle.dumps(np.zeros((3, 5), np.uint8), 2)
    assert data.count(b"K\x03K\x05") == 1
    (tmp_path / "a.pkl").write_bytes(data.replace(b"K\x03K\x05", b"K\x03K\x07"))
    with pytest.raises(BenchError, match=r"a\.pkl is damaged"):
        read_arrays(tmp_path / "a.pkl")


SAME_AGAIN = b"\x80\x02}K\x01K\x01\x86q\x00" + b"".join(b"h%c\x86q%c" % (i, i + 1) for i in range(40)) + b"K\x01s."
"""164 bytes: tuples of the one before, twice, the last of which is to be hashed."""
IN_LISTS = b"\x80\x02]q\x00" + b"".join(b"0]q%c(" % (i + 1) + b"h%c" % i * 20 + b"e" for i in range(8)) + b"."
FROM_BEHIND = (
    b"\x80\x02"
    + b"".join(b"]q%c0" % i for i in range(30))
    + b"".join(b"h%c(h%ch%ce0" % (i, i - 1, i - 1) for i in range(29, 0, -1))
    + b"h\x1d."
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SAME_AGAIN, "stands for more than"),
        (IN_LISTS, "stands for more than"),
        (FROM_BEHIND, "holds a value that is within itself"),
        (b"\x80\x02K\x01" + b"\x85" * 100_000 + b".", "nests values more than 100 deep"),  # hashing it would crash
        (b"\x80\x02]r\xff\xff\xff\x7f.", "numbers its values up to 2147483647"),
        (b"\x80\x02]2\x86.", "doubles a value"),
    ],
)
def test_a_small_pickle_that_stands_for_much_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, message: str
) -> None:
    (tmp_path / "a.pkl").write_bytes(text)
    monkeypatch.setattr("bench.datasets.pickles._Unpickler", None)
    with pytest.raises(BenchError, match=f"is refused: it {message}"):
        read_arrays(tmp_path / "a.pkl")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_shared_arrays_and_many_small_ones_are_no_bomb(tmp_path: Path, protocol: int) -> None:
    array = np.arange(3)
    value = [array, array, {"again": array}, [np.full(2, i) for i in range(300)], [np.int64(i) for i in range(300)]]
    got = read_arrays(written(tmp_path / "a.pkl", value, protocol))
    assert got[2]["again"].tolist() == got[1].tolist() == [0, 1, 2]
    assert got[3][299].tolist() == [299, 299]
    assert got[4] == list(range(300))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pkl")
    with pytest.raises(BenchError, match="it is no file"):
        read_arrays(tmp_path / "a.pkl")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot read"):
        read_arrays(tmp_path / "none.pkl")


@given(st.binary(max_size=200))
def test_noise_is_one_sentence_or_plain_values(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.pkl"
    path.write_bytes(data)
    message = ""
    try:
        read_arrays(path)
    except BenchError as error:
        message = str(error)
    assert "\n" not in message
