"""An embedding and a classifier: few-shot learning without meta-learning (Hsu et al. 2019, §4.1)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, is_dataclass

from bench.basics.errors import BenchError
from bench.contracts import ClassifierRecipe, Context, EncoderRecipe, TaskSpec
from bench.datasets.images import UnlabelledImages
from bench.learners.embedding import EmbeddingClassifier


@dataclass(frozen=True)
class Embedding:
    """Train an encoder on the unlabelled images, freeze it, and fit a classifier on the support set of every task.

    The settings of the classifier are those of its configuration. None is chosen on meta-validation tasks:
    that would take the labels of the meta-validation classes, which no other unsupervised method here sees
    more of than a curve. The record says so, and with which settings, under ``classifier``.
    """

    encoder: EncoderRecipe
    classifier: ClassifierRecipe

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> EmbeddingClassifier:
        """``spec`` is not looked at: nothing is meta-trained."""
        if not isinstance(images, UnlabelledImages):
            raise BenchError(f"embedding takes unlabelled images, not {type(images).__name__}")
        encoder = self.encoder.obtain(images, context)
        classifier = self.classifier.obtain(encoder, images, context)
        settings = asdict(self.classifier) if is_dataclass(self.classifier) else {}  # type: ignore[call-overload]
        context.note(classifier={**settings, "chosen": "fixed in the configuration"})
        return EmbeddingClassifier(encoder, classifier)
