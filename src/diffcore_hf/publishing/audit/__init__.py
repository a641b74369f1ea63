"""Audit: checks that the rows of a published dataset are consistent with each other and with their recipe.

dataset    the whole audit: every config against the attempts, the counts against the rows
attempts   config `attempts` against itself, the references and the recipe
rows       configs `default` (in each layout) and `generated` against the attempts
shards     reads columns and images of the configs in batches
findings   collects the faults, one line for each kind
"""
