"""The callables for `datasets.Dataset.map`: generate, score, attempt (both fused), reference."""
