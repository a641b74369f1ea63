"""Audit: checks that the rows of a published dataset are consistent with each other and with their recipe.

dataset    runs the whole audit, and compares the counts with the rows
attempts   checks config `attempts` against the references and the recipe
rows       compares configs `default` (in each layout) and `generated` with the attempts
shards     reads columns and images of the configs in batches
findings   collects the faults, one line for each kind
"""
