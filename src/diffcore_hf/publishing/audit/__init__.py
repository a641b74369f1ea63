"""Audit: checks that the rows of a published dataset are consistent with each other and with their recipe.

A dataset has five configurations, which are its tables: `default`, `generated`, `attempts`, `references`, `classes`.

dataset    runs the whole audit, and compares the counts with the rows
attempts   checks the configuration `attempts` against the references and the recipe
rows       compares the configurations `default` (in each layout) and `generated` with the attempts
column_types  checks the types of columns
shards     reads columns and images of the configurations in batches
findings   collects the faults, one line for each kind
"""
