"""Instance discrimination that goes on: mutual neighbours in its own embedding become members of a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.backbones import Conv4
from bench.contracts import Context, TaskSpec, Views
from bench.datasets.images import UnlabelledImages
from bench.learners.contrast import contrast
from bench.learners.embedding import EmbeddingClassifier
from bench.learners.imagewise import Course, Embedding, ImageTraining, Schedule, image_batches
from bench.learners.mutual import mutual_neighbours
from bench.learners.projection import project, projection
from bench.learners.prototypes import Prototypes, unit
from bench.training.optimizers import adamw
from bench.views.choice import quarter_turns


@dataclass(frozen=True)
class Neighbours:
    backbone: Conv4
    views: Views
    batch: int = 512
    temperature: float = 0.2
    projection: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.01
    turns: bool = True
    alone: float = 0.5
    rounds: int = 4
    nearest: int = 10
    looks: int = 4
    attract: bool = False
    keep: float = 0.5

    def fit(self, images: UnlabelledImages, spec: TaskSpec, context: Context) -> EmbeddingClassifier:
        batches = image_batches(images, self.batch, context.seed.at("batches"), "neighbours")
        net = Embedding.initial(self.backbone, images.shape, context.seed.at("init"), context.device)
        head = projection(net.dim, self.projection, context.seed.at("projection"), context.device)
        learner = EmbeddingClassifier(net.encoder(), Prototypes("cosine"))
        params = {**net.params, **head}
        turned = self.turns and images.shape[0] == 1 and images.shape[1] == images.shape[2]
        total = context.budget.meta_iterations
        table = torch.arange(len(images), device=images.device)[:, None].repeat(1, self.nearest)
        first, facts = int(self.alone * total), []
        starts = [first + round(k * (total - first) / self.rounds) for k in range(self.rounds)]

        def inputs(i: int, rng: torch.Generator) -> tuple[Tensor, ...]:
            if i in starts:
                table.copy_(self._neighbours(net, images, context, rng))
                facts.append(
                    round(
                        float((table != torch.arange(len(table), device=table.device)[:, None]).sum(1).float().mean()),
                        2,
                    )
                )
            of = batches.at(i)
            pick = torch.randint(self.nearest, (len(of), 1), generator=rng, device=rng.device)
            stay = torch.rand(len(of), generator=rng, device=rng.device) < self.keep
            partner = torch.where(stay, of, self._choose(table, of, rng))
            ids = torch.cat([of, partner])
            return images.take(ids), ids, table[ids]

        def loss(
            rng: torch.Generator, leaves: Mapping[str, Tensor], batch: Tensor, ids: Tensor, known: Tensor
        ) -> Tensor:
            half = len(ids) // 2
            if turned:
                turns = torch.randint(4, (half,), generator=rng, device=rng.device).repeat(2)
                batch = quarter_turns(batch, turns)
            features = net.features(leaves, self.views(batch, rng))
            positive = torch.arange(half, device=ids.device).repeat(2)
            positive = positive[:, None] == positive
            related = (known[:, :, None] == ids).any(1) | (ids[:, None] == ids)
            if turned:
                related = related & (turns[:, None] == turns)
            if self.attract:
                positive, related = positive | related, None
            parts = [features] + ([project(leaves, features)] if self.projection else [])
            return torch.stack([contrast(part, positive, self.temperature, related) for part in parts]).mean()

        training = ImageTraining(
            params,
            {**net.buffers, "neighbours": table},
            adamw(params.values(), self.lr, weight_decay=self.weight_decay),
            Schedule(self.lr, warm_up=0.1),
        )
        training.run(loss, inputs, Course.of_run(context, lambda: learner), context, 2 * self.batch)
        context.note(neighbours=facts)
        return learner

    def _choose(self, table, of, rng):
        rows = table[of]
        other = rows != of[:, None]
        weight = torch.where(other.any(1, keepdim=True), other, torch.ones_like(other)).float()
        # a random one of those that are another image
        keys = torch.rand(rows.shape, generator=rng, device=rng.device) * weight
        return rows.gather(1, keys.argmax(1, keepdim=True))[:, 0]

    def _neighbours(self, net, images, context, rng):
        encoder = net.encoder()
        parts = []
        for rows in torch.split(torch.arange(len(images), device=images.device), 2048):
            x = images.take(rows)
            z = unit(encoder.encode(x))
            for _ in range(self.looks):
                z = z + unit(encoder.encode(self.views(x, rng)))
            parts.append(unit(z))
        return mutual_neighbours(torch.cat(parts), self.nearest)
