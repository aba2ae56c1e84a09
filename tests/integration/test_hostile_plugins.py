"""A broken plugin breaks itself only, and a folder of the user's hides nothing of ours."""

import pytest
from plugin_packages import METHOD, good, install


@pytest.fixture
def site(bench):
    """A folder of installed packages that ``bench`` has on its path."""
    folder = bench.folder / "site packages"
    folder.mkdir()
    bench.environment["PYTHONPATH"] = str(folder)
    return folder


def test_broken_plugins_are_listed_with_file_and_reason_and_disturb_nobody(bench, site):
    good(site, entry="good_plugin.code:Mine")
    install(site, "no_configs")
    install(site, "greedy", files={"configs/way/x.yaml": "a: 1"})
    install(site, "gone", entry="not_installed")
    install(site, "odd", entry="???")
    install(site, "no_import", files={
        "code.py": "raise RuntimeError('it was never finished')\n",
        "configs/method/unfinished.yaml": "_target_: no_import.code.Mine\n",
    })  # fmt: skip
    install(site, "ends", files={
        "code.py": "import sys\nsys.exit(0)\n", "configs/method/ending.yaml": "_target_: ends.code.Mine\n",
    })  # fmt: skip
    install(site, "no_yaml", files={"configs/method/torn.yaml": "a: ["})
    install(site, "labels", files={
        "code.py": METHOD,
        "configs/method/peeking.yaml": '_target_: labels.code.Mine\ncard: {supervised: "no"}\n',
        "configs/method/chance.yaml": "_target_: labels.code.Mine\n",
    })  # fmt: skip

    shown = bench("list", "plugins").stdout
    for line in (
        "method mine",
        "it has no folder 'configs'",
        "configs/way is called as a setting of every run",
        "there is no package 'not_installed'",
        "'???' names no package",
        "RuntimeError: it was never finished",
        "no_import/code.py, line 1",
        "SystemExit",
        "torn.yaml cannot be used: it is not valid YAML",
        "peeking.yaml cannot be used: line 2: card.supervised must be true or false, not 'no'",
        "the name is taken by ",
    ):
        assert line in " ".join(shown.split()), line
    assert "mine" in bench("list", "methods").stdout
    plan = bench("plan", "--methods", "mine,umtra", "--budget", "smoke", "--no-references", "way=4")
    assert "2 of 2 runs to do" in plan.stdout
    assert "is not available" not in plan.stderr
    assert "it was never finished" in bench.error("plan", "--methods", "unfinished")
    assert "SystemExit" in bench.error("plan", "--methods", "mine,ending")
    assert "peeking.yaml: line 2: card.supervised must be" in bench.error("plan", "--methods", "peeking")
    message = bench.error("plan", "--methods", "torm")
    assert "says why" in message.split("torn.yaml")[0], "the likeliest comes first"
    assert "'bench list plugins' says why" in message


@pytest.mark.parametrize("where", ["working directory", "first on the path"])
def test_folders_of_the_users_called_as_our_packages_do_no_harm(bench, site, where):
    bench.environment["PYTHONHASHSEED"] = "0"  # a new interpreter, which imports nothing before it has its path
    folder = bench.folder if where == "working directory" else site
    for name in ("configs", "methods", "baselines"):
        (folder / name).mkdir()
        if where != "working directory":
            (folder / name / "__init__.py").write_text("raise RuntimeError('this is not yours')\n")
    request = ("--methods", "umtra", "--budget", "smoke", "--no-references")
    assert "1 of 1 runs to do" in bench("plan", *request).stdout
    assert "glyphs" in bench("list", "datasets").stdout
