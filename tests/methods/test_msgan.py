"""The MSGAN: its losses, what each of its two steps changes, and trainings that go on from shorter ones."""

from __future__ import annotations

import math
import multiprocessing

import pytest
import torch
import torch.nn.functional as F
from helpers_methods import make_context, make_images

from bench.basics.errors import BenchError, Diverged
from bench.basics.seeds import Seed
from bench.contracts import Generator, GeneratorRecipe
from bench.training.artifacts import Artifact
from bench.training.checkpoint import load_tensors, save_tensors
from methods.generators.msgan import CHUNK, KERNEL, MSGAN, Critic, Decoder, TrainedGAN, _update, _wide_convolution
from methods.generators.training import initialise

SMALL = {"latent_dim": 3, "channels": 4, "batch_size": 8, "precision": "float32"}
STEPS = 5  # an epoch of 40 images in batches of 8


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def networks(channels: int = 4, shape=(2, 8, 8)) -> tuple[Decoder, Critic]:
    decoder, critic = Decoder(shape, channels, 3), Critic(shape[0], channels)
    initialise(decoder, rng())
    initialise(critic, rng(1))
    return decoder.double(), critic.double()


def trained(folder, epochs: int, snapshots=(), progress=None, **settings) -> Artifact:
    """What ``obtain`` reads back for so many epochs."""
    context = make_context(folder, epochs, progress=progress)
    object.__setattr__(context.budget, "generator_snapshots", snapshots)
    MSGAN(**SMALL | settings).obtain(make_images(40), context)
    return next(reversed(context.artifacts.used.values()))


def assert_same(a: Artifact, b: Artifact) -> None:
    assert a.key == b.key
    assert a.tensors.keys() == b.tensors.keys()
    for name, tensor in a.tensors.items():
        assert torch.equal(tensor, b.tensors[name]), name


# The losses, written out one image at a time in float64.


def cross_entropy(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def plain_distance(a, b) -> float:
    values = [abs(x - y) for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)]
    return sum(values) / len(values)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("loss", ["mode_seeking", "as_coded"])
def test_the_generator_loss_is_the_formula_of_the_paper(loss, weight):
    decoder, critic = networks()
    gan = MSGAN(**SMALL, loss=loss, mode_seeking_weight=weight)
    z = torch.randn(15, 3, generator=rng(2), dtype=torch.float64)
    fake = decoder(z[:10])
    made = gan._generator_loss(critic, fake, z)
    logits = [float(critic(image[None]).detach()) for image in fake]
    x1, x2, z1, z2, other = fake[:5], fake[5:], z[:5], z[5:10], z[10:]
    if loss == "mode_seeking":
        adversarial = (
            sum(cross_entropy(a, 0) for a in logits[:5]) / 5 + sum(cross_entropy(b, 0) for b in logits[5:]) / 5
        )
        apart = sum(plain_distance(a, b) for a, b in zip(x1, x2, strict=True)) / 5
        ratio = apart / (sum(plain_distance(a, b) for a, b in zip(z1, z2, strict=True)) / 5)
    else:
        adversarial = sum(cross_entropy(a + b, 0) for a, b in zip(logits[:5], logits[5:], strict=True)) / 5
        pairs = zip(x1, x2, other, z2, strict=True)
        ratio = sum(plain_distance(a, b) / plain_distance(c, d) for a, b, c, d in pairs) / 5
    # Images pass through float32 before they are compared.
    assert float(made.detach()) == pytest.approx(adversarial + weight / (ratio + 1e-5), rel=1e-5)


@pytest.mark.parametrize("loss", ["mode_seeking", "as_coded"])
def test_the_discriminator_loss_is_the_formula_of_the_paper(loss):
    decoder, critic = networks()
    gan = MSGAN(**SMALL, loss=loss)
    fake = decoder(torch.randn(10, 3, generator=rng(2), dtype=torch.float64)).detach()
    real = torch.rand(5, 2, 8, 8, generator=rng(3), dtype=torch.float64)
    noise = torch.rand(15, 1, generator=rng(4)) * 0.05
    made = gan._discriminator_loss(critic, fake, real, noise)
    logits = [float(critic(image[None]).detach()) for image in (*fake, *real)]
    extra = noise.flatten().tolist()
    if loss == "mode_seeking":  # fake is 1, real is 0; half of the weight is the real images'
        fakes = sum(cross_entropy(logits[i], 1 + extra[i]) for i in range(10)) / 10
        reals = sum(cross_entropy(logits[i], extra[i]) for i in range(10, 15)) / 5
        expected = (fakes + reals) / 2
    else:  # the first half of the fakes alone
        fakes = sum(cross_entropy(logits[i], 1 + extra[i]) for i in range(5))
        reals = sum(cross_entropy(logits[10 + i], extra[5 + i]) for i in range(5))
        expected = (fakes + reals) / 10
    assert float(made.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(4, 8, 8), (3, 12, 5)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_wide_convolution_is_a_convolution(shape, outputs):
    maps = torch.randn(2, *shape, generator=rng(), requires_grad=True)
    weight = torch.randn(outputs, shape[0], KERNEL, KERNEL, generator=rng(1), requires_grad=True)
    bias = torch.randn(outputs, generator=rng(2), requires_grad=True)
    for b in (bias, None):
        made = _wide_convolution(maps, weight, b)
        expected = F.conv2d(maps, weight, b, padding=KERNEL // 2)
        torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)
        for leaf in (maps, weight):
            ours, theirs = (torch.autograd.grad(y.square().sum(), leaf)[0] for y in (made, expected))
            made, expected = _wide_convolution(maps, weight, b), F.conv2d(maps, weight, b, padding=KERNEL // 2)
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_the_layers_have_the_sizes_of_the_paper():
    decoder, critic = Decoder((1, 28, 28), 128, 128), Critic(1, 128)
    assert decoder.dense.out_features == 7 * 7 * 128
    assert [layer.weight.shape for layer in (decoder.up1, decoder.up2, decoder.image)] == [
        (128, 128, 4, 4),
        (128, 128, 4, 4),
        (1, 128, 7, 7),
    ]
    x = torch.rand(2, 1, 28, 28)
    sizes = [tuple(x.shape[1:]) for layer in critic.layers if (x := layer(x)).shape and hasattr(layer, "weight")]
    assert sizes == [(64, 14, 14), (128, 7, 7), (128, 4, 4)]
    assert decoder(torch.zeros(2, 128)).shape == (2, 1, 28, 28)


# A step of one network leaves the other alone.


def test_a_step_changes_one_network_alone():
    decoder, critic = networks()
    parameters = [*decoder.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    gan = MSGAN(**SMALL)
    z = torch.randn(15, 3, generator=rng(2), dtype=torch.float64)
    real = torch.rand(5, 2, 8, 8, generator=rng(3), dtype=torch.float64)

    def state() -> list[list[torch.Tensor]]:
        return [[tensor.clone() for tensor in network.state_dict().values()] for network in (decoder, critic)]

    def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> list[bool]:
        return [torch.equal(x, y) for x, y in zip(a, b, strict=True)]

    for _ in range(2):  # Adam's moments of the second round must not leak either
        start = state()
        fake = decoder(z[:10])
        _update(gan._discriminator_loss(critic, fake.detach(), real, torch.zeros(15, 1)), optimizer, critic)
        middle = state()
        assert all(same(start[0], middle[0])), "the discriminator's step changed the generator"
        assert not any(same(start[1], middle[1]))
        _update(gan._generator_loss(critic, fake, z), optimizer, decoder)
        end = state()
        assert all(same(middle[1], end[1])), "the generator's step changed the discriminator"
        assert not any(same(middle[0], end[0]))


# Trainings that go on.


@pytest.mark.parametrize("stop", [2, STEPS, STEPS + 3])
def test_an_interrupted_training_ends_with_the_same_bytes(tmp_path, one_thread, stop):
    steps = []

    def interrupt(stage, done, total, metrics):
        steps.append(done)
        if done == stop and steps.count(stop) == 1:
            raise KeyboardInterrupt

    whole = trained(tmp_path / "a", 2)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "b", 2, progress=interrupt)
    assert not list((tmp_path / "b/artifacts").glob("msgan-????????????.safetensors"))
    resumed = trained(tmp_path / "b", 2, progress=interrupt)
    assert steps == list(range(1, 2 * STEPS + 1)), "what was done when it was interrupted is not done again"
    assert_same(whole, resumed)


def test_a_longer_training_goes_on_from_a_shorter_one(tmp_path, one_thread):
    steps = []
    trained(tmp_path / "a", 2)
    longer = trained(tmp_path / "a", 3, progress=lambda stage, done, total, metrics: steps.append((done, total)))
    assert steps == [(done, 3 * STEPS) for done in range(2 * STEPS + 1, 3 * STEPS + 1)]
    assert_same(longer, trained(tmp_path / "b", 3))
    assert longer.meta["epochs"] == 3
    assert len(longer.tensors["losses"]) == 3 * STEPS


def test_snapshots_are_what_separate_trainings_make(tmp_path, one_thread):
    trained(tmp_path / "a", 3, snapshots=(0, 1, 2, 9))

    def never(*_):
        raise AssertionError("trained again")

    for epochs in (0, 1, 2, 3):
        assert_same(trained(tmp_path / "a", epochs, progress=never), trained(tmp_path / str(epochs), epochs))
    assert len(list((tmp_path / "a/artifacts").glob("msgan-????????????.safetensors"))) == 4


def test_a_shorter_training_after_a_longer_one_is_made_on_its_own(tmp_path, one_thread):
    longer = trained(tmp_path / "a", 3)
    line = next((tmp_path / "a/artifacts").glob("*.training.safetensors"))
    before = line.read_bytes()
    assert_same(trained(tmp_path / "a", 1), trained(tmp_path / "b", 1))
    assert line.read_bytes() == before, "the long training can still go on"
    assert not list((tmp_path / "a/artifacts").glob("*.partial.safetensors"))
    assert_same(trained(tmp_path / "a", 4), trained(tmp_path / "c", 4))
    assert_same(trained(tmp_path / "a", 3), longer)


def _train_in_a_process(folder, epochs):
    torch.set_num_threads(1)
    trained(folder, epochs)


def test_processes_that_ask_for_different_lengths_at_once(tmp_path, one_thread):
    context = multiprocessing.get_context("fork")
    lengths = (1, 3, 2, 2)
    workers = [context.Process(target=_train_in_a_process, args=(tmp_path / "a", epochs)) for epochs in lengths]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * len(lengths)
    for epochs in {*lengths}:
        assert_same(trained(tmp_path / "a", epochs), trained(tmp_path / str(epochs), epochs))


# What is told, refused, or not used.


@pytest.mark.parametrize(("value", "message"), [(0.0, "it collapsed, images of different"), (math.nan, "non-finite")])
def test_a_dead_generator_is_not_used(tmp_path, value, message):
    artifact = trained(tmp_path, 1)
    tensors, meta = load_tensors(artifact.path)
    tensors["image.weight"].fill_(value)
    save_tensors(artifact.path, tensors, meta)
    context = make_context(tmp_path)
    with pytest.raises(Diverged, match=f"msgan: .*{message}"):
        MSGAN(**SMALL).obtain(make_images(40), context)
    assert context.notes is None, "nothing was noted of it, so nothing came of it"


def test_an_untrained_generator_is_used_whatever_it_makes(tmp_path):
    context = make_context(tmp_path, epochs=0)
    gan = MSGAN(**SMALL).obtain(make_images(40), context)
    assert gan.decode(gan.sample_prior(2, rng())).shape == (2, 1, 8, 8)
    assert context.notes["msgan"]["epochs"] == 0
    assert context.notes["msgan"]["diversity"] > 0


def test_a_training_that_diverges_says_so_and_leaves_nothing_finished(tmp_path):
    with pytest.raises(Diverged, match="msgan: the loss became non-finite at step"):
        trained(tmp_path, 2, lr=1e20)
    assert not list((tmp_path / "artifacts").glob("msgan-????????????.safetensors"))


@pytest.mark.parametrize(("shape", "size"), [((1, 30, 28), "30x28"), ((3, 84, 84), "84x84")])
def test_unsupported_sizes_are_refused(tmp_path, shape, size):
    with pytest.raises(BenchError, match=f"at most 32 pixels, not {size}; choose another generator"):
        MSGAN(**SMALL).obtain(make_images(4, shape), make_context(tmp_path))


def test_a_single_image_is_refused(tmp_path):
    with pytest.raises(BenchError, match="1 images are too few"):
        MSGAN(**SMALL).obtain(make_images(1), make_context(tmp_path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"loss": "mode_seking"}, "Did you mean 'mode_seeking'?"),
        ({"precision": "float16"}, "precision must be one of auto, bfloat16, float32"),
        ({"mode_seeking_weight": -1.0}, "mode_seeking_weight must be 0 or more"),
        ({"label_noise": math.inf}, "label_noise must be 0 or more"),
        ({"lr": 0.0}, "lr must be above 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(BenchError) as error:
        MSGAN(**settings)
    assert message in str(error.value)


# The trained generator.


def test_it_is_a_generator_whose_images_do_not_depend_on_their_batch(tmp_path):
    gan = MSGAN(**SMALL).obtain(make_images(40), make_context(tmp_path))
    assert isinstance(MSGAN(), GeneratorRecipe)
    assert isinstance(gan, Generator)
    z = gan.sample_prior(CHUNK["cpu"] + 7, rng())
    images = gan.decode(z)
    assert images.shape == (len(z), 1, 8, 8)
    assert images.dtype == torch.float32
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert not images.requires_grad
    torch.testing.assert_close(gan.decode(z[-3:-2]), images[-3:-2], atol=1e-6, rtol=0)
    torch.testing.assert_close(gan.decode(z.flip(0)).flip(0), images, atol=1e-6, rtol=0)
    weight = torch.ones(1, 64, requires_grad=True)
    F.linear(images.flatten(1), weight).sum().backward()  # usable in a meta-learner's gradient


def test_prior_is_standard_normal():
    decoder = Decoder((1, 8, 8), 4, 3)
    initialise(decoder, rng())
    z = TrainedGAN(decoder, {}).sample_prior(20000, rng())
    assert float((z.T.cov() - torch.eye(3)).abs().max()) < 0.05
    assert float(z.mean(0).abs().max()) < 0.03


@pytest.mark.parametrize("loss", ["mode_seeking", "as_coded"])
def test_both_precisions_train_and_have_names_of_their_own(tmp_path, loss):
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    if not supported:
        pytest.skip("this processor has no bfloat16 instructions")
    exact, fast = (trained(tmp_path, 2, precision=precision, loss=loss) for precision in ("float32", "bfloat16"))
    assert exact.key != fast.key
    assert all(tensor.dtype == torch.float32 for tensor in fast.tensors.values())
    assert not torch.equal(exact.tensors["losses"], fast.tensors["losses"])
    torch.testing.assert_close(exact.tensors["losses"], fast.tensors["losses"], rtol=0.05, atol=0.05)
    assert trained(tmp_path, 2, precision="auto", loss=loss).key == fast.key


def test_it_starts_from_the_seed_alone(tmp_path):
    """Glorot-uniform weights drawn on the CPU; the global generator and the first weights of others have no part."""
    before = torch.get_rng_state()
    start = trained(tmp_path, 0)
    assert torch.equal(before, torch.get_rng_state())
    expected = Decoder((1, 8, 8), 4, 3)
    initialise(expected, Seed(0).at("generator").at("weights", "decoder").generator())
    for name, tensor in expected.state_dict().items():
        assert torch.equal(start.tensors[name], tensor), name
    bound = math.sqrt(6 / (4 * 16 + 4 * 16))
    assert 0.9 * bound < float(start.tensors["up1.weight"].abs().max()) <= bound
    assert not start.tensors["up1.bias"].any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_it_starts_with_the_same_weights_on_every_device(tmp_path):
    images = make_images(40)
    there = type(images)(images.pixels.cuda(), images.fingerprint)
    contexts = [make_context(tmp_path / name, epochs=0) for name in ("cpu", "cuda")]
    made = [MSGAN(**SMALL).obtain(one, context) for one, context in zip((images, there), contexts, strict=True)]
    for a, b in zip(*(gan.network.state_dict().values() for gan in made), strict=True):
        assert torch.equal(a, b.cpu())
