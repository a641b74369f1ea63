"""The source: reads the image-classification dataset that is augmented.

    dataset.py   loads it and returns one record (LoadedSource)
    folder.py    reads a local folder: files.py lists it, folder_choice.py chooses between layouts.py (folders of
                 classes and splits), tables.py, archives.py and `datasets`; photo_rows.py makes the rows
    columns.py   checks that its columns can be augmented
    labels.py    encodes its labels as class indices
    hashes.py    reads every image once and hashes it; hash_cache.py keeps the hashes of local files
    identity.py  gives each row an id, and the whole source an identity

No image is decoded here.
"""
