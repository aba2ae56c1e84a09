"""The classifiers of Hsu et al. 2019 against plain loops over tasks, and the method that puts them on an encoder."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans

from baselines import classifiers
from baselines.classifiers import KNN, MLP, ClusterMatching, Linear, MLPClassifier, Prototype
from baselines.embedding import Embedding
from baselines.encoders.pixels import RawPixels
from bench.basics.errors import BenchError
from bench.basics.seeds import Seed
from bench.contracts import Budget, Classifier, ClassifierRecipe, Context, Learner, Method, TaskSpec
from bench.datasets.images import LabelledImages, UnlabelledImages
from bench.training.artifacts import ArtifactStore
from bench.training.checkpoint import Checkpoint

SPEC = TaskSpec(5, 1, 5)
PIXELS = torch.randint(0, 256, (90, 1, 3, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
IMAGES = UnlabelledImages(PIXELS, "fingerprint")
RECIPES = [KNN(), Linear(), MLP(units=8, epochs=3), ClusterMatching(clusters=12, restarts=2)]
RECIPES += [Prototype(), Prototype("euclidean", tuned=True)]


def context(folder, seed=0):
    return Context(
        seed=Seed(seed),
        device=torch.device("cpu"),
        budget=Budget("test", 3, 0, 0),
        artifacts=ArtifactStore(folder),
        checkpoint=Checkpoint(folder / "weights.safetensors"),
        progress=lambda *_: None,
    )


def tasks(shot=2, count=7, dim=12, dtype=torch.float64):
    rng = torch.Generator().manual_seed(shot)
    support = torch.rand(count, 5, shot, dim, generator=rng, dtype=dtype)
    return support, torch.rand(count, 9, dim, generator=rng, dtype=dtype)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_on_an_encoder_is_a_method_and_its_settings_are_in_the_record(recipe, tmp_path):
    method, given = Embedding(RawPixels(), recipe), context(tmp_path)
    assert isinstance(method, Method)
    assert isinstance(recipe, ClassifierRecipe)
    learner = method.fit(IMAGES, SPEC, given)
    assert isinstance(learner, Learner)
    assert isinstance(learner.classifier, Classifier)
    assert given.notes["classifier"] == {**vars(recipe), "chosen": "fixed in the configuration"}
    support, query = tasks(dtype=torch.float32)
    images = support.unflatten(3, (1, 3, 4)), query.unflatten(2, (1, 3, 4))
    assert torch.equal(learner.predict(*images), learner.classifier.classify(support, query))
    labelled = LabelledImages(PIXELS, torch.zeros(90, dtype=torch.int64), ["a"], "fingerprint")
    with pytest.raises(BenchError, match="embedding takes unlabelled images, not LabelledImages"):
        method.fit(labelled, SPEC, given)


def mlp_in_a_loop(classifier, support, query):
    """One network at a time, by autograd and torch's own Adam."""
    settings, (way, shot, dim) = classifier.settings, support.shape[1:]
    scores = []
    for s, q in zip(support, query):
        params = [value.clone().requires_grad_() for value in classifier.start(dim, way, s)]
        w1, b1, w2, b2 = params
        adam = torch.optim.Adam(params, lr=settings.lr, eps=1e-7)
        for epoch in range(settings.epochs):
            hidden = F.relu(s.flatten(0, 1) @ w1 + b1) * classifier.mask(epoch, way * shot, s)
            loss = F.cross_entropy(hidden @ w2 + b2, torch.arange(way).repeat_interleave(shot))
            adam.zero_grad()
            loss.backward()
            adam.step()
        scores.append((F.relu(q @ w1 + b1) @ w2 + b2).detach())
    return torch.stack(scores)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_mlp_is_that_of_a_plain_loop_whatever_the_piece(dropout, monkeypatch):
    support, query = tasks()
    classifier = MLPClassifier(MLP(units=16, dropout=dropout, epochs=30, lr=0.01), Seed(1))
    expected = mlp_in_a_loop(classifier, support, query)
    torch.testing.assert_close(classifier.classify(support, query), expected, rtol=1e-8, atol=1e-10)
    monkeypatch.setitem(classifiers._PIECE, "cpu", 2 * 12 * 16)
    torch.testing.assert_close(classifier.classify(support, query), expected, rtol=1e-8, atol=1e-10)
    one = classifier.classify(support[3:4], query[3:4, 2:3])
    torch.testing.assert_close(one[0, 0], expected[3, 2], rtol=1e-8, atol=1e-10)


def test_dropout_keeps_what_it_says_and_differs_by_epoch_and_seed():
    classifier = MLPClassifier(MLP(units=500, dropout=0.25), Seed(0))
    masks = [classifier.mask(epoch, 40, torch.empty(0)) for epoch in (0, 1)]
    torch.testing.assert_close(masks[0].unique(), torch.tensor([0, 4 / 3]))
    assert abs(float((masks[0] > 0).float().mean()) - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 20_000)
    other = MLPClassifier(classifier.settings, Seed(1)).mask(0, 40, torch.empty(0))
    for mask in (masks[1], other):
        assert abs(np.corrcoef(masks[0].flatten(), mask.flatten())[0, 1]) < 0.03
    assert torch.equal(MLPClassifier(MLP(dropout=0.0), Seed(0)).mask(0, 3, torch.empty(0)), torch.ones(3, 128))


def test_the_mlp_learns_its_support_set():
    support, _ = tasks(shot=4)
    scores = MLPClassifier(MLP(epochs=300), Seed(0)).classify(support, support.flatten(1, 2))
    assert (scores.argmax(2) == torch.arange(5).repeat_interleave(4)).float().mean() > 0.95


@pytest.mark.parametrize("shot", [1, 2, 6])
def test_cluster_matching_is_that_of_a_plain_loop(shot, tmp_path):
    recipe = ClusterMatching(clusters=6, restarts=3)  # so few that support images of several classes share one
    classifier = Embedding(RawPixels(), recipe).fit(IMAGES, SPEC, context(tmp_path)).classifier
    data = (PIXELS.flatten(1).float() / 255).numpy()
    seed = Seed(0).at("classifier", "clusters").value() % 2**32
    theirs = KMeans(6, n_init=3, max_iter=3000, random_state=seed).fit(data)
    np.testing.assert_allclose(classifier.centroids.numpy(), theirs.cluster_centers_, atol=1e-5)
    support, query = tasks(shot)
    scores = classifier.classify(support, query)
    centroids, ties = classifier.centroids.double().numpy(), 0
    for t in range(len(support)):
        found: dict[int, list[int]] = {}
        for label in range(5):
            for image in support[t, label].numpy():
                found.setdefault(int(((centroids - image) ** 2).sum(1).argmin()), []).append(label)
        names = {}
        for cluster, labels in found.items():
            counts = np.bincount(labels, minlength=5)
            ties += int((counts == counts.max()).sum() > 1)
            names[cluster] = int(counts.argmax())
        for m in range(query.shape[1]):
            nearest = min(names, key=lambda c: float(((centroids[c] - query[t, m].numpy()) ** 2).sum()))
            assert scores[t, m].tolist() == [float(n == names[nearest]) for n in range(5)]
    assert ties > 0


def test_clusters_are_an_artifact_of_embeddings_settings_and_seed(tmp_path):
    def fit(seed=0, **settings):
        given = context(tmp_path, seed)
        learner = Embedding(RawPixels(), ClusterMatching(clusters=8, restarts=1, **settings)).fit(IMAGES, SPEC, given)
        [artifact] = given.artifacts.used.values()
        assert artifact.kind.startswith("encoder")
        return artifact.key, learner.state()["centroids"]

    (first, centroids), (again, same) = fit(), fit()
    assert first == again
    assert torch.equal(centroids, same)
    assert len(list(tmp_path.glob("encoder-kmeans-*.safetensors"))) == 1
    assert len({first, fit(seed=1)[0], fit(max_iter=5)[0]}) == 3


def test_more_clusters_than_images_and_other_bad_settings_are_one_sentence(tmp_path):
    with pytest.raises(BenchError, match=r"500 clusters need .* but meta-train has 90; set classifier.clusters"):
        Embedding(RawPixels(), ClusterMatching()).fit(IMAGES, SPEC, context(tmp_path))
    for make, message in (
        (lambda: KNN(k=0), "knn: k must be an integer of at least 1, not 0"),
        (lambda: MLP(units=1.5), "mlp: units must be an integer"),
        (lambda: MLP(dropout=1.0), "mlp: dropout must be at least 0 and below 1"),
        (lambda: MLP(lr=0.0), "mlp: lr must be above 0"),
        (lambda: ClusterMatching(clusters=True), "cluster: clusters must be an integer"),
        (lambda: Linear(C=-1.0), "needs C above 0"),
    ):
        with pytest.raises(BenchError, match=message):
            make()
