"""What other people's code may look like."""

import numpy as np
import torch


def nearest_image(support, query):
    """Labels, by the nearest support image in float64; of equally near ones the first."""
    shot = support.shape[1]
    apart = (query.flatten(1)[:, None].double() - support.flatten(0, 1).flatten(1)[None].double()).square().sum(2)
    return apart.argmin(1) // shot


def nearest_mean(support, query):
    """Scores, by squared distance from the mean support image."""
    return -(query.flatten(1)[:, None] - support.flatten(2).mean(1)[None]).square().sum(2)


def nearest_mean_of_arrays(support, query):
    """The same of NumPy arrays; refuses tensors."""
    assert isinstance(support, np.ndarray)
    assert isinstance(query, np.ndarray)
    means = support.reshape(*support.shape[:2], -1).mean(1)
    return -np.square(query.reshape(len(query), 1, -1) - means).sum(2)


def by_all_queries(support, query):
    """Answers that depend on the other queries: distances after the mean query was taken away."""
    return nearest_mean(support - query.mean(0), query - query.mean(0)) * query.std()


class Untidy(torch.nn.Module):
    """Changes what it is handed, has dropout, and gives maps instead of vectors."""

    def __init__(self):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.9)

    def forward(self, images):
        return self.dropout(images.mul_(1.0))
