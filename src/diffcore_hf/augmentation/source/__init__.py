"""The source: reads the image-classification dataset that is augmented.

    dataset.py   loads it and returns one record (LoadedSource)
    columns.py   checks that its columns can be augmented
    labels.py    encodes its labels as class indices
    hashes.py    reads every image once and hashes it
    identity.py  gives each row an id, and the whole source an identity

No image is decoded here.
"""
