"""What the shell offers: asked as bash, zsh and fish ask, through the entry point."""

import os
import subprocess
import sys

import pytest
from plugin_packages import good, install

from bench.cli import completing

MAIN = "import sys; sys.argv = ['bench', *sys.argv[1:]]; from bench.cli import main; main()"


def ask(shell, line, **environment):
    """The words that are offered for an unfinished line, and that nothing heavy was imported for them."""
    words = line.split(" ")
    told = {
        "_BENCH_COMPLETE": f"complete_{shell}",
        **({"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)} if shell == "bash" else {}),
        **({"_TYPER_COMPLETE_ARGS": line} if shell != "bash" else {}),
        **({"_TYPER_COMPLETE_FISH_ACTION": "get-args"} if shell == "fish" else {}),
    }
    code = f"import atexit, sys; atexit.register(lambda: sys.stderr.write(str('torch' in sys.modules))); {MAIN}"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **told, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stderr == "False"
    return found.stdout


@pytest.mark.parametrize(
    ("shell", "line", "offered"),
    [
        ("bash", "bench run umtra,lasium-oc-vae-p", "umtra,lasium-oc-vae-protonet\n"),
        ("bash", "bench run -d omn", "omniglot\n"),
        ("zsh", "bench plan umtra --budget sm", "_arguments '*: :((\"smoke\"))'\n"),
        ("fish", "bench report --experiment figure", "figure5\n"),
    ],
)
def test_the_shells_are_answered(shell, line, offered):
    assert ask(shell, line) == offered


def test_a_broken_plugin_takes_no_word_away(tmp_path):
    install(tmp_path, "broken", files={"configs/method/worse.yaml": "_target_: [\n", "configs/dataset/other.yaml": "1"})
    good(tmp_path)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    assert ask("bash", "bench explain min", PYTHONPATH=path) == "mine\nmini-imagenet\n"


def offered(completer, incomplete, **params):
    class Context:
        pass

    Context.params = params
    return completer(Context, incomplete)


def test_lists_go_on_behind_the_comma_and_no_word_comes_twice():
    letters = completing.words("md", "html", "tex", several=True)
    assert offered(letters, "") == ["md", "html", "tex"]
    assert offered(letters, "md,") == ["md,html", "md,tex"]
    assert offered(letters, "md,tex,h") == ["md,tex,html"]
    assert offered(completing.words("md", "html"), "md,") == []


def test_families_come_first_and_names_once_a_part_is_typed():
    assert "lasium-ro-vae-maml" not in offered(completing.methods(), "")
    assert offered(completing.methods(), "scr") == ["scratch"]
    assert "lasium-ro-vae-maml" in offered(completing.methods(), "lasium-r")


def test_what_is_offered_follows_the_group():
    assert offered(completing.of_group(), "ac", group="encoder") == ["acai"]
    assert offered(completing.of_group(), "ac", group="nonsense") == []
    assert offered(completing.of_group(), "omn") == ["omniglot"]


def test_what_cannot_be_read_offers_nothing(monkeypatch):
    def fail(*_):
        raise OSError("gone")

    monkeypatch.setattr("bench.planning.catalogue.options", fail)
    assert offered(completing.options("dataset"), "") == []
