"""A small augmented dataset with the columns of an export, in memory and in a folder."""

from __future__ import annotations

from pathlib import Path

from small_photos import CLASSES, picture


def augmented(counts=(6, 5, 4), *, without=(2,), size=(24, 20), generated_size=(32, 32), start=0):
    """Returns rows (image, label, generated, status, row_id).

    The rows of each class are numbered from `start`. Rows whose number is in `without` have no counterpart.
    """
    from datasets import ClassLabel, Dataset, Features, Image, Value

    rows = [(label, number) for label, count in enumerate(counts) for number in range(start, start + count)]
    cells = [{"bytes": picture(label, number, size), "path": None} for label, number in rows]
    made = [
        None if number in without else {"bytes": picture(label, 100 + number, generated_size), "path": None}
        for label, number in rows
    ]
    features = Features(
        {
            "image": Image(),
            "label": ClassLabel(names=list(CLASSES[: len(counts)])),
            "generated": Image(),
            "status": Value("string"),
            "row_id": Value("string"),
        }
    )
    columns = {
        "image": cells,
        "label": [label for label, _ in rows],
        "generated": made,
        "status": ["exhausted" if cell is None else "kept" for cell in made],
        "row_id": [f"train/{label}-{number}" for label, number in rows],
    }
    return Dataset.from_dict(columns, features=features)


def write_augmented(folder: Path, **splits) -> Path:
    """Writes a folder that load_dataset reads, with one Parquet file for each split."""
    (folder / "data").mkdir(parents=True)
    for name, rows in splits.items():
        rows.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder
