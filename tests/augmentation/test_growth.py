"""Tests of growth: the rows that changed since the last run are counted, and another dataset is refused."""

import pytest
from datasets import ClassLabel
from small_photos import photos

from diffcore_hf.augmentation.growth import SourceChanges, changes, read_record, record, write_record
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder


def source(counts, names=None):
    ds = photos(counts)
    return load_source(
        SourceConfig("in-memory"), data=ds.cast_column("label", ClassLabel(names=names)) if names else ds
    )


@pytest.mark.parametrize(
    ("after", "counted"),
    [([3, 2], (0, 0, 5)), ([4, 2], (1, 0, 5)), ([3, 1], (0, 1, 4)), ([3, 2, 2], (2, 0, 5)), ([0, 4], (2, 3, 2))],
)
def test_added_and_removed_rows_are_counted(tmp_path, after, counted):
    folder = Folder(tmp_path / "out")
    assert changes(folder, source([3, 2])) is None
    write_record(folder, source([3, 2]))
    assert read_record(folder) == record(source([3, 2]))
    changed = changes(folder, source(after))
    assert changed == SourceChanges(*counted)
    assert bool(changed) == (counted[:2] != (0, 0))


@pytest.mark.parametrize(
    ("counts", "names", "related"),
    [
        ([2, 2], ["x", "y"], True),  # the images are the same, and all classes are renamed
        ([0, 0, 2, 2], ["red_fox", "green_frog", "y", "z"], False),
        ([0, 0, 2, 2], ["x", "y", "red_fox", "z"], True),  # all images are new, and one class is known
    ],
)
def test_a_source_with_no_earlier_image_and_no_earlier_class_is_refused(tmp_path, counts, names, related):
    folder = Folder(tmp_path / "out")
    write_record(folder, source([2, 2]))
    if related:
        assert changes(folder, source(counts, names))
    else:
        with pytest.raises(
            UserError, match=r"has none of its 4 images and none of its classes\. Choose another --output"
        ):
            changes(folder, source(counts, names))


def test_a_damaged_record_gives_no_numbers_of_changed_rows(tmp_path):
    folder = Folder(tmp_path / "out")
    write_record(folder, source([2, 2]))
    (folder.private / "source.parquet").write_bytes(b"damaged")
    assert changes(folder, source([3, 2])) is None
