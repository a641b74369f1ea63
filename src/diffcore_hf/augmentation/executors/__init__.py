"""Executors: which process computes the parts that are due."""
