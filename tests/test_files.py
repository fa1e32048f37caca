"""Files: replaced as a whole, in the place and with the permissions of what was there, and never believed unread."""

from __future__ import annotations

import json
import os
import pickle
import signal
import stat
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from evtkit import Tail, TailSketch, fit_tail
from evtkit._common.files import read_arrays, read_json, write_arrays, write_atomic, write_json
from evtkit.estimators import METHODS
from evtkit.tail.stored import METHOD_NAMES

posix = pytest.mark.skipif(os.name == "nt", reason="permissions and links as POSIX has them")


def anything(*content) -> None:
    """A schema that all content fits."""


def put(path, text=b"new") -> Path:
    return write_atomic(path, lambda stream: stream.write(text))


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, "Kind", {"x": np.arange(3)}, {})

    def broken(stream) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, broken)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert np.array_equal(read_arrays(path, "Kind", anything)[0]["x"], np.arange(3))


def test_files_know_their_kind(tmp_path):
    write_arrays(tmp_path / "a.npz", "Kind", {"x": np.arange(3)}, {"note": "ξ"})
    assert read_arrays(tmp_path / "a.npz", "Kind", anything)[1] == {"note": "ξ"}
    with pytest.raises(ValueError, match="not a saved Other"):
        read_arrays(tmp_path / "a.npz", "Other", anything)
    with pytest.raises(ValueError, match="not a folder"):
        write_arrays(tmp_path / "no" / "a.npz", "Kind", {}, {})


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "p.npz", header=np.array(object(), dtype=object))
    with pytest.raises(ValueError, match="not an evtkit file"):
        read_arrays(tmp_path / "p.npz", "Kind", anything)


# -- replacing what is there -------------------------------------------------------------------------------------------


@posix
def test_a_new_file_has_the_permissions_of_the_moment(tmp_path):
    for mask in (0o022, 0o077, 0o027):
        before = os.umask(mask)
        try:
            put(tmp_path / f"{mask}")
        finally:
            os.umask(before)
        assert mode(tmp_path / f"{mask}") == 0o666 & ~mask


@posix
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o664, 0o444])
def test_permissions_stay(tmp_path, permissions):
    path = tmp_path / "state"
    path.touch()
    path.chmod(permissions)
    put(path)
    assert mode(path) == permissions
    assert path.read_bytes() == b"new"


@posix
def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    folder = tmp_path / "far"
    folder.mkdir()
    target, link = folder / "target", tmp_path / "link"
    for _ in range(2):  # the first time there is no target yet
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        put(link)
        assert link.is_symlink()
        assert target.read_bytes() == b"new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["far", "link"]


@posix
def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "pipe", tmp_path / "folder", tmp_path / "loop", Path(os.devnull)):
        with pytest.raises(ValueError, match="cannot write"):
            put(path)
        if not path.is_symlink():
            with pytest.raises(ValueError, match="is not an evtkit file"):
                read_arrays(path, "Kind", anything)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    put(tmp_path / ("ξ" * 127))
    assert len(list(tmp_path.iterdir())) == 1


WRITER = """
import sys, time
from evtkit._common.files import write_atomic
def slowly(stream):
    stream.write(b"half")
    print("writing", flush=True)
    time.sleep(60)
write_atomic(sys.argv[1], slowly)
"""


@posix
def test_what_a_killed_writer_leaves_is_swept_and_a_living_ones_is_not(tmp_path):
    path = tmp_path / "state"
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        put(path, b"first")
        assert len(list(tmp_path.glob(".state.*.part"))) == 1  # it lives
        writer.send_signal(signal.SIGKILL)
    put(tmp_path / "other")
    assert len(list(tmp_path.glob(".*.part"))) == 1  # not this one's
    put(path, b"second")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "state"]
    assert path.read_bytes() == b"second"


MANY = """
import sys
from evtkit._common.files import write_atomic
for i in range(60):
    write_atomic(sys.argv[1], lambda stream: stream.write(sys.argv[2].encode() * 10_000))
"""


def test_several_writers_leave_one_whole_file(tmp_path):
    path = tmp_path / "state"
    writers = [subprocess.Popen([sys.executable, "-c", MANY, path, letter]) for letter in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(set(path.read_bytes())) == 1
    assert len(path.read_bytes()) == 10_000
    assert list(tmp_path.iterdir()) == [path]


# -- reading what may be anything --------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path) -> Path:
    write_arrays(tmp_path / "a.npz", "Kind", {"x": np.arange(300.0), "names": np.array(["ξ", "σ"])}, {"note": [1, 2.5]})
    return tmp_path / "a.npz"


def test_every_truncation_is_refused(saved):
    whole = saved.read_bytes()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        saved.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is not an evtkit file"):
            read_arrays(saved, "Kind", anything)


def test_every_changed_byte_is_refused_or_changes_nothing(saved):
    whole = saved.read_bytes()
    arrays, words = read_arrays(saved, "Kind", anything)
    for place in range(0, len(whole), 5):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :])
        try:
            got, said = read_arrays(saved, "Kind", anything)
        except ValueError:
            continue
        assert said == words
        assert all(np.array_equal(got[name], arrays[name]) for name in arrays)


def _zip(path, header, claim=None, compress=zipfile.ZIP_STORED, data=b"") -> None:
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("header.npy", header)
        if claim is not None:
            head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {claim}, }}".ljust(117) + chr(10)
            archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + data)


@pytest.mark.parametrize("claim", [(10**12,), (10**6, 10**6), (-8, -1), (2**62, 4), ()], ids=str)
def test_claims_are_held_against_the_bytes_that_are_there(saved, claim):
    with zipfile.ZipFile(saved) as archive:
        header = archive.read("header.npy")
    _zip(saved, header, claim, data=b"1234")
    with pytest.raises(ValueError, match="bytes for shape"):
        read_arrays(saved, "Kind", anything)


def test_compressed_files_are_refused_unread(saved):
    with zipfile.ZipFile(saved) as archive:
        header = archive.read("header.npy")
    _zip(saved, header, (10**8,), zipfile.ZIP_DEFLATED, bytes(8 * 10**8 // 100))
    with pytest.raises(ValueError, match="more than its size"):
        read_arrays(saved, "Kind", anything)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '"Kind"', "[" * 100_000, '{"a":' * 100_000, '{"kind": "Kind", "x": NaN}', "\x00\xff",
     '{"kind": "Kind", "format": 1}', '{"kind": "Kind", "format": "' + "9" * 50_000 + '"}', "9" * 10_000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_json_that_was_not_saved_is_refused_in_short(tmp_path, text):
    path = tmp_path / "state.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="state") as refused:
        read_json(path, "Kind")
    assert len(str(refused.value)) < 400 + len(str(path))


def test_json_comes_back_to_the_last_bit_and_changes_are_seen(tmp_path):
    path = tmp_path / "state.json"
    content = {"x": [0.1, 1e-320, -0.0, 1e308, 3], "names": ["ξ", None], "deep": {"flag": True}}
    write_json(path, "Kind", content)
    assert repr(read_json(path, "Kind")) == repr(content)
    found = json.loads(path.read_text())
    found["x"][0] = 0.2
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match="changed after it was written"):
        read_json(path, "Kind")


def test_a_file_that_is_not_there_is_no_value_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "absent", "Kind", anything)


# -- what is saved comes back ------------------------------------------------------------------------------------------


def _samples():
    rng = np.random.default_rng(0)
    x = rng.standard_exponential((300, 4))
    yield "plain", x, {}
    yield "rounded", np.round(x, 1), {}
    yield "counts", rng.poisson(3.0, (300, 4)).astype(float), {}
    yield "dead", np.where(np.arange(4) < 2, x, 0.0), {}
    yield "with gaps", np.where(rng.random((300, 4)) < [0.0, 0.3, 0.99, 1.0], np.nan, x), {"missing": "drop"}
    yield "heavy", x**-3.0, {}
    yield "bounded", np.minimum(x, 1.5), {}
    yield "huge", x * 1e300, {}
    yield "tiny", x * 1e-300, {}
    yield "shifted", x + 1e9, {}
    yield "float32", x.astype(np.float32), {}
    yield "one channel", x[:, 0], {}
    yield "few", x[:12, :], {}
    yield "cleaned", np.where(rng.random((300, 4)) < 0.01, 1e4, x), {"clean": True}


@pytest.mark.parametrize(("x", "options"), [case[1:] for case in _samples()], ids=[case[0] for case in _samples()])
@pytest.mark.parametrize("side", ["upper", "lower"])
@pytest.mark.parametrize("keep_sample", [True, False])
def test_every_tail_comes_back_as_it_was(tmp_path, x, options, side, keep_sample):
    for method in ("mle", "pwm", "zhang-stephens", "moments", "spot-script"):
        tail = fit_tail(x, quantile=0.8, side=side, keep_sample=keep_sample, method=method, **options)
        tail.save(tmp_path / "tail")
        back = Tail.load(tmp_path / "tail")
        for field in fields(Tail):
            one, other = getattr(tail, field.name), getattr(back, field.name)
            assert type(one) is type(other)
            if isinstance(one, np.ndarray):
                assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
            else:
                assert one == other


@pytest.mark.parametrize(("x", "options"), [case[1:] for case in _samples()], ids=[case[0] for case in _samples()])
@pytest.mark.parametrize("capacity", [1, 40, 1000])
def test_every_sketch_comes_back_as_it_was(tmp_path, x, options, capacity):
    x = x.reshape(len(x), -1)
    sketch = TailSketch(x.shape[1], capacity, dtype=x.dtype, nonfinite="count")
    for stop in (0, len(x) // 2, len(x)):
        sketch.update(x[:stop])
        sketch.save(tmp_path / "sketch")
        assert pickle.dumps(TailSketch.load(tmp_path / "sketch")) == pickle.dumps(sketch)


def test_the_names_of_methods_are_those_of_the_table():
    assert set(METHOD_NAMES) == set(METHODS)
