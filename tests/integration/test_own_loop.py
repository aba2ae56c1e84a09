"""What the pages say of training loops, backbones and encoders of one's own, as it stands there: installed and run."""

import json
import re
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from commands import scores
from plugin_packages import install

from bench.training.checkpoint import load_tensors

ROOT = Path(__file__).parents[2]
RUN = ("run", "--no-references", "--budget", "smoke", "budget.evaluation_tasks=20")
LONG = (*RUN, "--methods", "my-pairs", "budget.meta_iterations=100", "budget.checkpoint_seconds=0", "method.batch=32")


def blocks(page: str, section: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def own(bench, tmp_path):
    """``bench`` with the method, backbone and encoder of the pages installed."""
    site = tmp_path / "site"
    (loop,) = blocks("methods/README.md", "Your own training loop", "python")
    (yaml,) = blocks("methods/README.md", "Your own training loop", "yaml")
    (backbone,) = blocks("methods/README.md", "Your own backbone", "python")
    (encoder,) = blocks("baselines/README.md", "Your own encoder", "python")
    assert len(loop.split("\n@dataclass")[1].splitlines()) <= 40
    for adapter in (backbone, encoder):
        assert len(adapter.split("\n@dataclass")[1].strip().splitlines()) <= 12
    files = {"method.py": loop, "backbone.py": backbone, "encoder.py": encoder, "configs/method/my-pairs.yaml": yaml}
    for kind, cls, setting in (("backbone", "MyNetwork", "width: 8"), ("encoder", "RandomResNet", "size: 16")):
        text = f"_target_: my_pairs.{kind}.{cls}\ncard: {{title: Mine}}\n{setting}\n"
        files[f"configs/{kind}/mine.yaml"] = text
    install(site, "my_pairs", files=files)
    bench.environment |= {"PYTHONPATH": str(site)}
    return bench


def artifact(out: Path):
    (path,) = out.glob("artifacts/encoder-pairs-*.safetensors")
    tensors, meta = load_tensors(path)
    return {name: value.tolist() for name, value in tensors.items()}, meta["images"]


def test_the_loop_of_the_page_is_killed_and_goes_on_to_the_same_bits(own):
    own(*LONG, "--out", "whole")
    process = own.start(*LONG, "--out", "killed")
    killed, deadline = own.folder / "killed", time.monotonic() + 120
    while not list(killed.glob("artifacts/*.partial.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # The run has a process of its own, which ends with its parent, as soon as it sees that.
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not list(killed.glob("*/*/*/tasks.parquet")), "it was killed too late for this test to mean anything"
    assert not list(killed.glob("artifacts/encoder-pairs-????????????.safetensors"))
    own(*LONG, "--out", "killed")
    log = next(killed.glob("*/*/*/log.txt")).read_text().split(" start ")[-1]
    begun = re.search(r" pairs (\d+)/100", log)
    assert begun is not None, "progress is shown"
    assert int(begun[1]) > 1, "it began anew instead of going on"
    assert artifact(killed) == artifact(own.folder / "whole")
    (expected,), (resumed,) = scores(own.folder / "whole").values(), scores(killed).values()
    pd.testing.assert_frame_equal(expected, resumed)


def test_its_time_limit_holds(own):
    limit = ("--time-limit", "0.05", "budget.meta_iterations=1000000")
    said = own(*RUN, "--methods", "my-pairs", *limit, code=1).stdout
    assert "timeout: stopped after 3 s; run again to go on" in said


def test_backbone_and_encoder_of_the_pages_work_where_ours_do(own):
    own(*RUN, "--methods", "umtra-maml,umtra-protonet,protoclr-transfer", "learner.eval_steps=5", "backbone=mine")
    records = [json.loads(path.read_text()) for path in own.out.glob("*/*/*/run.json")]
    assert [(one["status"], one["config"]["backbone"]["width"]) for one in records] == [("done", 8)] * 3
    for kind in ("backbone", "encoder"):
        assert "1 of 1 conform" in own("conform", "--group", kind, "mine").stdout
