"""What is captured on a GPU computes what was written; what cannot be captured runs all the same."""

import pytest
import torch

from bench.backbones import Conv4
from bench.basics.seeds import Seed
from bench.contracts import Budget, Context, Tasks, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.learners.adaptation import WrittenOut, adaptation
from bench.learners.conv_grad import Conv4Derivatives
from bench.learners.lloyd import kmeans
from bench.learners.maml import MAML
from bench.learners.protonet import ProtoNet
from bench.tasks.labelled import LabelledSampler
from bench.training import steps
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint
from bench.training.memory import in_pieces

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
STRIDED = Conv4(filters=16, stride=2, pool=False, head="mean")
SPEC = TaskSpec(5, 1, 5)
NEVER = 10**9


def images(n=400):
    rng = torch.Generator().manual_seed(0)
    return UnlabelledImages((torch.rand(n, 1, 28, 28, generator=rng) > 0.8).mul(255).to(torch.uint8).cuda(), "test")


def context(folder, iterations=12, epochs=3, progress=lambda *_: None):
    budget = Budget("test", iterations, epochs, epochs)
    device, weights = torch.device("cuda"), Checkpoint(folder / "weights.safetensors", 1e9)
    return Context(Seed(0), device, budget, ArtifactStore(folder / "artifacts"), weights, progress, notes={})


def trained(monkeypatch, folder, captured, fit, **settings):
    """State and notes after training, captured or step by step."""
    with monkeypatch.context() as patch:
        patch.setattr(steps.Steps, "WARM_UP", 3 if captured else NEVER)
        folder.mkdir()
        made = context(folder, **settings)
        return fit(made), made.notes


@pytest.mark.parametrize(
    "learner", [MAML(STRIDED), MAML(STRIDED, first_order=True), MAML(Conv4(16)), ProtoNet(STRIDED)]
)
def test_captured_meta_training_is_the_training_step_by_step(tmp_path, monkeypatch, learner):
    from methods.umtra import Umtra

    def fit(context):
        return Umtra(learner=learner).fit(images(), SPEC, context).state()

    graph, notes = trained(monkeypatch, tmp_path / "graph", True, fit)
    eager, others = trained(monkeypatch, tmp_path / "eager", False, fit)
    assert notes["meta_training"] == "captured: sampling, gradient and optimiser"
    assert others["meta_training"].startswith("step by step")
    for name, value in eager.items():
        torch.testing.assert_close(graph[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_every_sampler_that_says_so_draws_the_same_when_replayed(tmp_path):
    from methods.aal import Aal
    from methods.generators.msgan import MSGAN
    from methods.generators.vae import VAE
    from methods.lasium import Lasium
    from methods.umtra import Umtra

    made, learner = context(tmp_path, epochs=1), MAML(STRIDED)
    samplers = [
        Umtra(learner=learner).sampler(images(), made),
        Umtra(learner=learner, augmentation="photo").sampler(images(), made),
        Umtra(learner=learner).sampler(images(30_000), made),  # another way of drawing without replacement
        Aal(learner=learner).sampler(images(), made),
        *(Lasium(VAE(channels=8), learner, strategy).sampler(images(), made) for strategy in ("n", "ro", "oc")),
        Lasium(MSGAN(channels=8), learner, "ro").sampler(images(), made),
        LabelledSampler.of(images().pixels, torch.arange(400) // 10),
        LabelledSampler.of(images().pixels, torch.randint(0, 20, (3, 400), generator=torch.Generator().manual_seed(1))),
    ]
    graphs = steps.CudaGraphs(torch.device("cuda"))
    for sampler in samplers:
        assert sampler.capturable
        with graphs.stream():
            sampler.sample(4, SPEC, Seed(0).generator("cuda"))
            rng = torch.Generator("cuda")
            replay, tasks = graphs.capture(lambda sampler=sampler, rng=rng: sampler.sample(4, SPEC, rng), rng)
            for seed in (1, 2):
                rng.manual_seed(seed)
                replay()
                expected = sampler.sample(4, SPEC, torch.Generator("cuda").manual_seed(seed))
                torch.testing.assert_close(tasks.support, expected.support, rtol=0, atol=1e-6)
                torch.testing.assert_close(tasks.query, expected.query, rtol=0, atol=1e-6)


class Waiting:
    """A sampler that says it can be captured and cannot: it reads a number back."""

    image_shape = (1, 28, 28)

    def __init__(self, capturable):
        self.capturable = capturable

    def sample(self, n, spec, rng):
        level = float(torch.rand((), generator=rng, device=rng.device).item())
        shape = n, spec.way, spec.shot + spec.query, 1, 28, 28
        both = level * torch.rand(shape, generator=rng, device=rng.device)
        return Tasks(both[:, :, : spec.shot], both[:, :, spec.shot :])


def test_a_sampler_that_cannot_be_captured_falls_back_with_one_line(tmp_path, monkeypatch):
    said = []

    def fit(capturable):
        return lambda context: MAML(STRIDED).fit(Waiting(capturable), SPEC, context).state()

    def progress(stage, *_):
        said.append(stage)

    graph, notes = trained(monkeypatch, tmp_path / "graph", True, fit(True), progress=progress)
    eager, _ = trained(monkeypatch, tmp_path / "eager", False, fit(True))
    modest, plain = trained(monkeypatch, tmp_path / "modest", True, fit(False))
    assert notes["meta_training"] == plain["meta_training"] == "captured: gradient and optimiser"
    assert len([one for one in said if "cannot be captured" in one]) == 1
    for name, value in eager.items():
        torch.testing.assert_close(graph[name], value, rtol=1e-3, atol=1e-4, msg=name)
        torch.testing.assert_close(modest[name], value, rtol=1e-3, atol=1e-4, msg=name)


def recipes():
    from baselines.contrast.moco import MoCo
    from baselines.contrast.psco import PsCo
    from baselines.contrast.simclr import SimCLR
    from baselines.encoders.acai import ACAI
    from baselines.encoders.bigan import BiGAN
    from baselines.encoders.deepcluster import DeepCluster
    from bench.views.crops import Crops
    from methods.generators.msgan import MSGAN
    from methods.generators.vae import VAE

    return [
        VAE(channels=8),
        MSGAN(channels=8),
        ACAI(depth=4),
        BiGAN(width=64),
        DeepCluster(maps=8, clusters=20, batch_size=100),
        SimCLR(STRIDED, Crops(), batch=50, hidden=64),
        MoCo(STRIDED, Crops(), batch=50, hidden=64, queue=120),
        PsCo(STRIDED, Crops(), batch=50, hidden=64, queue=120),
    ]


@pytest.mark.parametrize(
    "which", range(8), ids=["vae", "msgan", "acai", "bigan", "deepcluster", "simclr", "moco", "psco"]
)
def test_captured_generators_and_encoders_train_as_step_by_step(tmp_path, monkeypatch, which):
    def fit(context):
        recipe = recipes()[which]
        # One epoch: DeepCluster's clusters of a second one would turn rounding into other labels.
        recipe.obtain(images(800), context)
        return next(iter(context.artifacts.used.values())).tensors["losses"]

    graph, notes = trained(monkeypatch, tmp_path / "graph", True, fit, epochs=1)
    eager, _ = trained(monkeypatch, tmp_path / "eager", False, fit, epochs=1)
    assert next(iter(notes.values()))["program"] == "captured: the whole step"
    torch.testing.assert_close(graph, eager, rtol=2e-2, atol=2e-3)


def test_a_resumed_captured_training_is_the_uninterrupted_one(tmp_path, monkeypatch):
    from methods.umtra import Umtra

    class Stop(Exception):
        pass

    def interrupting(stage, done, total, metrics):
        if done >= 6:
            raise Stop

    monkeypatch.setattr("bench.training.loop.time", type("Clock", (), {"monotonic": staticmethod(iter_clock())}))
    method = Umtra(learner=MAML(STRIDED))
    whole = method.fit(images(), SPEC, context(tmp_path / "a")).state()
    with pytest.raises(Stop):
        method.fit(images(), SPEC, context(tmp_path / "b", progress=interrupting))
    again = method.fit(images(), SPEC, context(tmp_path / "b")).state()
    for name, value in whole.items():
        torch.testing.assert_close(again[name], value, rtol=1e-3, atol=1e-4, msg=name)


def iter_clock():
    """A clock that moves a second at every look: progress is then called after each step."""
    now = iter(range(10**9))
    return lambda: float(next(now))


@pytest.mark.parametrize("backbone", [STRIDED, Conv4(16), Conv4(16, stride=2, pool=False, norm_scale=True)])
@pytest.mark.parametrize("inductive", [False, True])
def test_the_products_and_kernels_of_the_gpu_are_the_convolutions_of_the_cpu(backbone, inductive):
    rng = torch.Generator().manual_seed(1)
    params = {name: value.double() for name, value in backbone.init(rng, (1, 28, 28), 5).items()}
    support = torch.rand(3, 5, 1, 1, 28, 28, generator=rng, dtype=torch.float64)
    query = torch.rand(3, 5, 3, 1, 28, 28, generator=rng, dtype=torch.float64)
    there = {name: value.cuda() for name, value in params.items()}
    for first_order in (False, True):
        inner = adaptation(backbone, 2, 0.1, inductive)
        loss, expected = inner.meta_gradient(params, support, query, first_order)
        found_loss, found = inner.meta_gradient(there, support.cuda(), query.cuda(), first_order)
        torch.testing.assert_close(found_loss.cpu(), loss, rtol=1e-7, atol=1e-7)
        for name, value in expected.items():
            assert (found[name].cpu() - value).norm() <= 1e-6 * value.norm(), name
    scores = adaptation(backbone, 6, 0.1, inductive).scores(params, support, query.flatten(1, 2))
    program = adaptation(backbone, 6, 0.1, inductive)
    for _ in range(2):  # captured by the first call, replayed by the second
        found = program.scores(there, support.cuda(), query.cuda().flatten(1, 2))
        torch.testing.assert_close(found.cpu(), scores, rtol=1e-5, atol=1e-6)
    assert program.program == "captured"


def test_grouped_convolutions_and_products_agree_on_the_gpu():
    rng = torch.Generator().manual_seed(1)
    params = {name: value.double().cuda() for name, value in STRIDED.init(rng, (3, 20, 20), 5).items()}
    support = torch.rand(2, 5, 2, 3, 20, 20, generator=rng, dtype=torch.float64).cuda()

    class Grouped(WrittenOut):
        def _derivatives(self, images):
            return Conv4Derivatives(self.backbone, tuple(images.shape[-3:]), len(images), rows=False)

    one = WrittenOut(STRIDED, 2, 0.1, False).meta_gradient(params, support, support, False)[1]
    other = Grouped(STRIDED, 2, 0.1, False).meta_gradient(params, support, support, False)[1]
    for name, value in other.items():
        assert (one[name] - value).norm() <= 1e-6 * value.norm(), name


@pytest.mark.parametrize("shape", [(3, 1, 1, 3, 6), (3, 1, 2, 3, 6), (3, 1, 1, 6, 1), (7, 3, 1, 6, 1)])
def test_convolutions_as_products_and_their_gradients(shape):
    import torch.nn.functional as F

    from bench.learners.convolution import convolve, convolve_transposed

    side, padding, stride, inputs, outputs = shape
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    rng = torch.Generator("cuda").manual_seed(0)
    x = torch.randn(2, inputs, 9, 10, device="cuda", generator=rng)
    weight = torch.randn(outputs, inputs, side, side, device="cuda", generator=rng)
    bias = torch.randn(outputs, device="cuda", generator=rng)
    spread = weight.transpose(0, 1).contiguous()
    pairs = [
        (
            lambda x, w, b: convolve(x, w, b, padding, stride),
            lambda x, w, b: F.conv2d(x, w, b, stride, padding),
            weight,
        ),
        (
            lambda x, w, b: convolve_transposed(x, w, b, padding, stride, stride - 1),
            lambda x, w, b: F.conv_transpose2d(x, w, b, stride, padding, stride - 1),
            spread,
        ),
    ]
    for ours, theirs, kernel in pairs:
        leaves = [[one.clone().requires_grad_() for one in (x, kernel, bias)] for _ in range(2)]
        y, expected = ours(*leaves[0]), theirs(*leaves[1])
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
        towards = torch.randn(y.shape, device="cuda", generator=rng)
        found = torch.autograd.grad((y * towards).sum(), leaves[0])
        for one, other in zip(found, torch.autograd.grad((expected * towards).sum(), leaves[1]), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_equal_seeds_give_equal_clusters():
    points = torch.randn(5000, 64, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    first, second = (kmeans(points, 100, torch.Generator("cuda").manual_seed(3)).labels for _ in range(2))
    assert torch.equal(first, second)


def test_a_piece_that_memory_does_not_suffice_for_is_halved():
    free, _ = torch.cuda.mem_get_info()
    a_row = free // 4
    done = []

    def work(rows):
        torch.empty((rows.stop - rows.start) * a_row, dtype=torch.uint8, device="cuda")
        done.append(rows)

    try:
        assert in_pieces(16, 16, work) in (1, 2, 4)
    finally:
        torch.cuda.empty_cache()  # other processes want some too
    assert [rows.start for rows in done] == [0, *[rows.stop for rows in done[:-1]]]
    assert done[-1].stop == 16
