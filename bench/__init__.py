"""bench: the benchmark for unsupervised meta-learning.

Unlabelled images go in, a few-shot learner comes out, and every learner answers the same sealed tasks.
"""

__version__ = "0.2.0"
