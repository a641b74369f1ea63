"""Executors: each one chooses the processes that compute the parts that are due."""
