"""The images that a run keeps of its generator: the same latents, whatever the generator has become."""

import torch
from helpers_methods import FakeGenerator, Given, RecordingLearner, make_context, make_images

from bench.contracts import ShowsSamples, TaskSpec
from methods.lasium import Lasium
from methods.umtra import Umtra

SPEC = TaskSpec(5, 1, 5)


class Brighter(FakeGenerator):
    """The same generator, trained on."""

    def decode(self, z):
        return super().decode(z + 1)


def samples(folder, generator, **more):
    return Lasium(Given(generator), RecordingLearner()).samples(make_images(), make_context(folder, **more))


def test_two_trainings_show_the_same_latents(tmp_path):
    young, old = samples(tmp_path, FakeGenerator()), samples(tmp_path, Brighter(), epochs=9)
    assert young.shape == (16, 1, 8, 8)
    torch.testing.assert_close(torch.logit(old) - 1, torch.logit(young))
    assert len(young.flatten(1).unique(dim=0)) == 16
    assert not torch.equal(young, samples(tmp_path, FakeGenerator(), seed=1))


def test_sampling_changes_nothing_of_a_training(tmp_path):
    learner = RecordingLearner()
    method = Lasium(Given(FakeGenerator()), learner)
    method.fit(make_images(), SPEC, make_context(tmp_path / "a"))
    before = [task.query for task in learner.tasks]
    context = make_context(tmp_path / "b")
    method.samples(make_images(), context)
    method.fit(make_images(), SPEC, context)
    assert all(torch.equal(x, y.query) for x, y in zip(before, learner.tasks))


def test_only_methods_with_a_generator_offer_samples():
    assert isinstance(Lasium(Given(FakeGenerator()), RecordingLearner()), ShowsSamples)
    assert not isinstance(Umtra(RecordingLearner()), ShowsSamples)
