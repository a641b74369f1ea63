"""Description of a dataset: how its kept images differ from its real images, from the embeddings that it contains.

embedded.py  reads the embeddings of real and kept images from the published tables
images.py    reads the images of some rows
figures.py   the figures as a terminal text, as plain values, and as the rows of the card
"""
