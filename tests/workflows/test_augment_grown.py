"""Tests of a changed source: augmenting again into the same output folder gives the same files as a new run."""

import random
import shutil

import pytest
from datasets import Dataset, Image
from drawn_images import Drawn, Few, OfImage, Prepared, Restless
from run_folders import PARTIAL, attempts_of, go, interrupt_at, published, rows
from small_photos import photos, picture

from diffcore_hf.augmentation.ledger import Ledger
from diffcore_hf.core import seeding
from diffcore_hf.core.errors import UserError
from diffcore_hf.method import filtration
from diffcore_hf.workflows import pictures
from diffcore_hf.workflows.augment import prepare
from diffcore_hf.workflows.export import export
from diffcore_hf.workflows.plan import text

CLASSES = ("green_frog", "red_fox", "sea_lion")


def base():
    """Returns the photos of the first run as a mapping from file name to bytes: 5, 4 and 4 photos of three classes."""
    counts = dict(zip(CLASSES, (5, 4, 4), strict=True))
    return {
        f"{name}/{number:02d}.jpg": picture(label, number)
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    }


def added(files):
    files["red_fox/97.jpg"] = picture(1, 97)
    files["green_frog/00a.jpg"] = picture(0, 98)


def removed(files):
    del files["green_frog/01.jpg"], files["sea_lion/03.jpg"]


def edited(files):
    files["red_fox/01.jpg"] = picture(1, 50)


def renamed(files):
    files["sea_lion/zz.jpg"] = files.pop("sea_lion/00.jpg")


def moved(files):
    files["sea_lion/moved.jpg"] = files.pop("green_frog/02.jpg")


def new_class(files):
    files |= {f"arctic_tern/{number}.jpg": picture(4, number) for number in range(3)}


def class_renamed(files):
    for name in [name for name in files if name.startswith("red_fox")]:
        files[name.replace("red_fox", "fox")] = files.pop(name)


def class_removed(files):
    for name in [name for name in files if name.startswith("green_frog")]:
        del files[name]


def repeated(files):
    files["red_fox/a copy of 00.jpg"] = files["red_fox/00.jpg"]


CHANGES = {
    change.__name__: change
    for change in (added, removed, edited, renamed, moved, new_class, class_renamed, class_removed, repeated)
}
EVERYTHING = (added, removed, edited, renamed, moved, new_class, repeated)


def changed_by(*changes):
    """Returns the photos of the first run, with some changes applied to these photos."""
    files = base()
    for change in changes:
        change(files)
    return files


def write(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(autouse=True, scope="module")
def no_pictures():
    """Turns off the pictures, because drawing them takes half of the time of these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "contact_sheet", lambda material: b"sheet")
        patch.setattr(pictures, "histogram", lambda material: b"histogram")
        yield


@pytest.fixture(scope="module")
def augment(recipe, tmp_path_factory):
    """Returns a function. It takes an output folder, photos, a strategy and recipe keys, and returns a run's result."""

    def augment(output, files, strategy=Drawn, **more):
        folder = write(output.parent / f"{output.name}-photos", files)
        keys = {"source": str(folder), "strict": True, "strategy": f"drawn_images:{strategy.__name__}", "part_size": 64}
        keys |= {"filter.policy": PARTIAL, "filter.references": 3, "max_attempts": 3, "output": str(output)} | more
        return go(recipe(**keys))

    return augment


@pytest.fixture(scope="module")
def first(augment, tmp_path_factory):
    """Returns a function. It takes a strategy and a state, and returns the folder of a finished or interrupted run."""
    made = {}

    def first(strategy, state):
        if (strategy, state) not in made:
            output = tmp_path_factory.mktemp(state) / "out"
            with pytest.MonkeyPatch.context() as patch:
                if state == "interrupted":
                    interrupt_at(patch, f"drawn_images.{strategy.__name__}.sample", 5)
                made[strategy, state] = augment(output, base(), strategy, part_size=4)
            assert made[strategy, state].interrupted == (state == "interrupted")
        return made[strategy, state].folder.path

    return first


@pytest.mark.parametrize("state", ["finished", "interrupted"])
@pytest.mark.parametrize("strategy", [Drawn, OfImage, Prepared])
def test_continuing_with_a_changed_source_gives_the_same_result_as_a_new_run(augment, first, tmp_path, strategy, state):
    shutil.copytree(first(strategy, state), tmp_path / "out")
    files = changed_by(*EVERYTHING)
    continued = augment(tmp_path / "out", files, strategy)
    new = augment(tmp_path / "new", files, strategy)
    assert published(tmp_path / "out") == published(tmp_path / "new")
    assert continued.new_attempts + continued.reused_attempts == new.new_attempts == new.summary.counts["attempts"]
    # The preparation of Prepared depends on all references, and OfImage reads the index of the class. The new class
    # is the first in the order of names, so both change.
    assert (continued.reused_attempts > 0) == (strategy is Drawn)
    assert (continued.changes.added, continued.changes.removed) == (3 + 3 + 1 + 1, 4)
    assert (new.reused_attempts, new.changes) == (0, None)


@pytest.mark.parametrize("name", CHANGES)
def test_after_each_change_only_units_with_changed_inputs_are_generated(augment, first, tmp_path, name):
    shutil.copytree(first(OfImage, "finished"), tmp_path / "out")
    before, files = attempts_of(tmp_path / "out"), changed_by(CHANGES[name])
    continued = augment(tmp_path / "out", files, OfImage)
    new = augment(tmp_path / "new", files, OfImage)
    assert published(tmp_path / "out") == published(tmp_path / "new")
    assert continued.new_attempts + continued.reused_attempts == new.new_attempts
    shared = before.keys() & attempts_of(tmp_path / "new").keys()
    if name in ("new_class", "class_renamed", "class_removed"):  # OfImage reads the index of the class
        assert continued.reused_attempts < len(shared)
    else:
        assert continued.reused_attempts == len(shared) > 0
    if name == "renamed":
        assert continued.new_attempts == 0
        assert not continued.changes


def test_a_source_that_returns_to_its_first_state_reuses_all_its_facts(augment, first, tmp_path):
    shutil.copytree(first(Drawn, "finished"), tmp_path / "out")
    before = published(tmp_path / "out")
    for change in (class_removed, new_class):
        augment(tmp_path / "out", changed_by(change))
    stored = Ledger(tmp_path / "out/.diffcore/parts").count()
    back = augment(tmp_path / "out", base())
    assert published(tmp_path / "out") == before
    assert (back.new_attempts, back.reused_attempts) == (0, back.summary.counts["attempts"])
    assert Ledger(tmp_path / "out/.diffcore/parts").count() == stored > back.reused_attempts


def test_an_interrupted_run_over_a_changed_source_can_be_continued(augment, first, tmp_path, monkeypatch):
    shutil.copytree(first(Drawn, "finished"), tmp_path / "out")
    files = changed_by(*EVERYTHING)
    with monkeypatch.context() as patch:
        interrupt_at(patch, "drawn_images.Drawn.sample", 2)
        assert augment(tmp_path / "out", files).interrupted
    again = augment(tmp_path / "out", files)
    augment(tmp_path / "new", files)
    assert not again.changes
    assert published(tmp_path / "out") == published(tmp_path / "new")


@pytest.mark.parametrize("seed", range(2))
def test_continuing_after_random_changes_gives_the_same_result_as_a_new_run(augment, tmp_path, monkeypatch, seed):
    """The runs have duplicates, classes that are given up, a fraction, copies, a holdout and few references.

    The result of each of these settings depends on all rows of the source.
    """
    monkeypatch.setattr(filtration, "GIVEN_UP_AFTER", 2)
    drawn, files = random.Random(seed), base()
    holdout = {"source.holdout": 0.2} if seed else {}
    for step in range(3):
        for change in drawn.sample([added, removed, edited, moved, new_class, repeated], 2):
            try:
                change(files)
            except KeyError:  # an earlier step removed the photo
                continue
        keys = {"fraction": drawn.choice([0.5, 0.8, 1.0]), "copies": drawn.choice([1, 2]), **holdout}
        keys |= {"filter.references": drawn.choice([2, 3, 4]), "max_attempts": drawn.choice([2, 3])}
        continued = augment(tmp_path / "out", files, Few, **keys)
        new = augment(tmp_path / f"new-{step}", files, Few, **keys)
        assert published(tmp_path / "out") == published(new.folder.path)
        assert continued.new_attempts + continued.reused_attempts == new.new_attempts


def test_continuing_with_a_larger_dataset_in_memory_gives_the_same_result_as_a_new_run(recipe, tmp_path):
    keys = {"source": "in-memory", "strict": True, "strategy": "drawn_images:OfImage", "filter.policy": PARTIAL}
    small, large = photos([4, 3]), photos([6, 5])
    first = go(recipe(output=str(tmp_path / "out"), **keys), small)
    continued = go(recipe(output=str(tmp_path / "out"), **keys), large)
    new = go(recipe(output=str(tmp_path / "new"), **keys), large)
    assert published(tmp_path / "out") == published(tmp_path / "new")
    assert 0 < continued.reused_attempts <= first.new_attempts
    assert continued.new_attempts + continued.reused_attempts == new.new_attempts
    assert (continued.changes.added, continued.changes.removed) == (4, 0)
    export(tmp_path / "out", tmp_path / "exported", {})
    assert published(tmp_path / "exported") == published(tmp_path / "new")


def test_each_unreadable_image_is_recorded_with_its_own_error_after_a_change(recipe, tmp_path):
    """The row ids of unreadable images are numbers. If an image is removed, another image gets its row id."""
    keys = {"source": "in-memory", "strict": True, "strategy": "drawn_images:Drawn", "filter.policy": "all"}
    ds = photos([3, 3])
    cells = ds.cast_column("image", Image(decode=False))["image"][:]
    unreadable = [{"bytes": None, "path": "/nowhere/a.jpg"}, {"bytes": None, "path": "/dev/null"}, None]

    def rows_with(extra):
        columns = {"image": [*extra, *cells], "label": [*[0] * len(extra), *ds["label"]]}
        return Dataset.from_dict(columns, features=ds.features)

    go(recipe(output=str(tmp_path / "out"), **keys), rows_with(unreadable))
    for extra in (unreadable[1:], unreadable[::-1], []):
        go(recipe(output=str(tmp_path / "out"), **keys), rows_with(extra))
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
        go(recipe(output=str(tmp_path / "new"), **keys), rows_with(extra))
        assert published(tmp_path / "out") == published(tmp_path / "new")


def test_strategy_inputs_that_differ_between_calls_raise_an_error(augment, tmp_path):
    with pytest.raises(
        ValueError, match=r"`preparation\(\)` and `reads` of drawn_images:Restless must return the same"
    ):
        augment(tmp_path / "out", base(), Restless)


def test_after_a_changed_description_only_attempts_of_that_class_are_generated_again(augment, first, tmp_path):
    """The description changes the prompts of one class."""
    shutil.copytree(first(Drawn, "finished"), tmp_path / "out")
    keys = {"prompts.label_descriptions": {"red_fox": "a red fox with a white tail"}}
    continued = augment(tmp_path / "out", base(), **keys)
    new = augment(tmp_path / "new", base(), **keys)
    assert published(tmp_path / "out") == published(tmp_path / "new")
    labels = rows(tmp_path / "new", "attempts")["label"][:]
    assert continued.new_attempts == labels.count(CLASSES.index("red_fox"))
    assert 0 < continued.new_attempts < new.new_attempts


def test_plan_and_export_report_a_changed_source(augment, first, recipe, tmp_path):
    shutil.copytree(first(Drawn, "finished"), tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "other")
    result = augment(tmp_path / "out", base())
    assert "changed" not in text(prepare(result.recipe))
    write(tmp_path / "out-photos", changed_by(added))
    assert "changed     since the last run: 2 rows added, 0 removed, 13 unchanged" in text(prepare(result.recipe))
    with pytest.raises(UserError, match="has changed: .* Run augment with this --output to continue"):
        export(tmp_path / "out", tmp_path / "exported", {})
    augment(tmp_path / "out", changed_by(added))
    export(tmp_path / "out", tmp_path / "exported", {})
    assert published(tmp_path / "exported") == published(tmp_path / "out")


def test_unchanged_rows_keep_their_contexts_and_seeds(augment, first, tmp_path):
    shutil.copytree(first(Drawn, "finished"), tmp_path / "out")
    before = rows(tmp_path / "out")
    prompts = dict(zip(before["row_id"][:], before["prompt"][:], strict=True))
    augment(tmp_path / "out", changed_by(*EVERYTHING))
    after = rows(tmp_path / "out")
    for row_id, prompt, seed in zip(after["row_id"][:], after["prompt"][:], after["seed"][:], strict=True):
        assert prompts.get(row_id, prompt) == prompt
        assert seed is None or seed in [seeding.attempt_seed(0, row_id, 0, number) for number in range(3)]
