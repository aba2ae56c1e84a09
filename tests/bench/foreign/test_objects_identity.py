"""The SHA-256 of a callable covers the code behind it, which is found without being run."""

import importlib
import sys

import pytest

from bench.basics.errors import BenchError
from bench.foreign import objects, sources
from bench.foreign.roles import ENCODER

WITNESS = "open('ran', 'w').close()\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder that can be imported from; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    importlib.invalidate_caches()


def write(folder, **files):
    for name, text in files.items():
        path = folder / (name.replace("__of__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("changed", ["pkg/net", "pkg/__init__", "pkg/deep/er", "beside", "lib/more"])
def test_a_change_anywhere_behind_the_name_is_another_object(here, changed):
    write(
        here,
        pkg__of____init__=f"{WITNESS}from .net import encode\n",
        pkg__of__net=f"{WITNESS}import beside\nfrom .deep.er import x\n",
        pkg__of__deep__of__er="x = 1\n",
        beside="def f():\n    from lib.more import y\n",
        lib__of__more="y = 1\n",
        unrelated="z = 1\n",
    )
    for name in ("pkg:encode", "pkg.net:encode"):
        first = objects.digest(name, ENCODER)
        assert objects.digest(name, ENCODER) == first
        write(here, unrelated="z = 2\n")
        assert objects.digest(name, ENCODER) == first
        path = here / f"{changed}.py"
        text = path.read_text()
        path.write_text(text + "# changed\n")
        assert objects.digest(name, ENCODER) != first
        path.write_text(text)
        assert objects.digest(name, ENCODER) == first
    assert not (here / "ran").exists()


def test_a_file_alone_is_known_by_itself_and_by_what_it_imports_beside_it(here):
    write(here, alone="import torch\n\ndef encode(x):\n    return x\n")
    first = objects.digest("alone:encode", ENCODER)
    assert first != objects.digest("alone:other", ENCODER)
    write(here, net="w = 1\n")
    assert objects.digest("alone:encode", ENCODER) == first
    write(here, alone="from net import w\n")
    second = objects.digest("alone:encode", ENCODER)
    write(here, net="w = 2\n")
    assert objects.digest("alone:encode", ENCODER) != second


def test_only_what_is_imported_counts_unless_names_are_put_together(here):
    write(here, pkg__of____init__="", pkg__of__a="from . import b, c\n", pkg__of__b="", pkg__of__c="", pkg__of__d="")
    first = objects.digest("pkg.a:f", ENCODER)
    write(here, pkg__of__d="x = 1\n")
    (here / "pkg" / "weights.bin").write_bytes(b"x")
    (here / "pkg" / "__pycache__").mkdir()
    (here / "pkg" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"x")
    assert objects.digest("pkg.a:f", ENCODER) == first
    write(here, pkg__of__c="x = 1\n")
    assert objects.digest("pkg.a:f", ENCODER) != first
    write(here, pkg__of__b="import importlib\nd = importlib.import_module('pkg.' + 'd')\n")
    second = objects.digest("pkg.a:f", ENCODER)
    write(here, pkg__of__d="x = 2\n")
    assert objects.digest("pkg.a:f", ENCODER) != second
    (here / "pkg" / "d.py").rename(here / "pkg" / "e.py")
    assert objects.digest("pkg.a:f", ENCODER) not in (first, second)


def test_imports_in_every_form_are_followed(here):
    forms = (
        "import lib.net",
        "from lib import net",
        "from lib.net import x",
        "import lib.net as y",
        "from lib.net import *",
    )
    write(
        here, lib__of__net="x = 1\n", lib__of__user__of____init__="", lib__of__user__of__inner="from ..net import x\n"
    )
    for form in forms:
        write(here, alone=f"def f():\n    {form.replace('*', 'z')}\n" if "*" not in form else f"{form}\n")
        for name in ("alone:f", "lib.user.inner:f"):
            write(here, lib__of__net="x = 1\n")
            first = objects.digest(name, ENCODER)
            write(here, lib__of__net="x = 2\n")
            assert objects.digest(name, ENCODER) != first, form


def test_what_is_not_there_or_too_large_is_one_sentence(here, monkeypatch):
    write(here, pkg__of____init__="x = 1\n", pkg__of__a="", mine="import pkg\n", pkg__of__b="")
    for name in ("none:f", "pkg.none:f", "pkg.a.b:f", "mine.a:f"):
        with pytest.raises(BenchError, match=r"^encoder\.callable=\S+: (there is no module|ModuleNotFoundError: )"):
            objects.digest(name, ENCODER)
    monkeypatch.setattr(sources, "MOST_FILES", 1)
    with pytest.raises(
        BenchError, match=r"the code behind 'mine' has more than 1 files or 128 MiB; name a function in a"
    ):
        objects.digest("mine:f", ENCODER)


def test_what_is_installed_is_known_by_its_own_package_alone():
    assert sources._home(importlib.util.find_spec("numpy")) is None
    assert sources._home(importlib.util.find_spec("json")) is None
    assert objects.digest("json.decoder:JSONDecoder", ENCODER) == objects.digest("json.decoder:JSONDecoder", ENCODER)
    assert b"def load" in b"".join(sources.of("json"))
    assert not list(sources.of("math"))[1:]
