"""Stages: the callables for `datasets.Dataset.map`, which are Generate, Score, Attempt (both in one) and Reference."""
