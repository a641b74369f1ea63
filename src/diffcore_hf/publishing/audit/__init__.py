"""Audit: whether the rows of a published dataset fit each other and the rules of their recipe.

dataset    the whole: every config against the attempts, the counts against the rows
attempts   config attempts against itself and the recipe
rows       configs default (in each layout) and generated against the attempts
shards     reading columns of shards, batch by batch, and the images in them
findings   what was found, a line for each kind
"""
