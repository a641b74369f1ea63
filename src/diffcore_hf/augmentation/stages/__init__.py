"""Stages: the callables for `datasets.Dataset.map`, which are Generate, Score, Attempt and Reference."""
