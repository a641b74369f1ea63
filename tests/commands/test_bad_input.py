"""Tests of invalid input, which gives a one-line error with the value and a remedy, exit status 2 and no files."""

import json
import shutil

import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from small_photos import photos, picture, write_photos

from diffcore_hf.commands.main import main
from diffcore_hf.workflows.augment import augment


@pytest.fixture
def work_folder(tmp_path, keys, tiny, monkeypatch):
    """Change to a folder with photos/ and recipe.yaml for them, with the tiny models."""
    write_photos(tmp_path / "photos", [2, 2])
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"source": "photos", **keys}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listing(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
            for path in root.rglob("*")}  # fmt: skip


def refused(work_folder, capsys, *argv):
    """Run a command that is refused. Return its stderr, and check that it prints and writes nothing else."""
    before = listing(work_folder)
    capsys.readouterr()
    status = main(argv)
    printed = capsys.readouterr()
    assert status == 2, printed
    assert printed.out == ""
    assert printed.err.startswith("diffcore-hf: ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    assert listing(work_folder) == before
    return printed.err


def change_recipe(**changes):
    """Return a function that changes keys of the recipe file; `__` separates the parts of a key."""

    def prepare(work_folder):
        recipe = yaml.safe_load((work_folder / "recipe.yaml").read_text())
        for key, value in changes.items():
            *sections, last = key.split("__")
            mapping = recipe
            for section in sections:
                mapping = mapping.setdefault(section, {})
            mapping[last] = value
        (work_folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))

    return prepare


def write_columns(**columns):
    """Return a function that writes a folder of Parquet with these columns: name -> (values, feature)."""

    def prepare(work_folder):
        features = Features({name: feature for name, (_, feature) in columns.items()})
        ds = Dataset.from_dict({name: values for name, (values, _) in columns.items()}, features=features)
        (work_folder / "table").mkdir()
        ds.to_parquet(work_folder / "table" / "train.parquet")

    return prepare


def cells(count=2):
    return [{"bytes": picture(0, number), "path": None} for number in range(count)]


def class_folders(*names):
    """Return a function that replaces the photos by photos in class folders with these names."""

    def prepare(folder):
        shutil.rmtree(folder / "photos")
        for name in names:
            (folder / "photos" / name).mkdir(parents=True)
            for number in range(2):
                (folder / "photos" / name / f"{number}.jpg").write_bytes(picture(0, number))

    return prepare


def pickled_model(folder):
    (folder / "model" / "unet").mkdir(parents=True)
    (folder / "model" / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    (folder / "model" / "unet" / "config.json").write_text("{}")
    (folder / "model" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")


def output_of_another_program(folder):
    (folder / "taken").mkdir()
    (folder / "taken" / "thesis.tex").write_text("a thesis")


def validation_split(folder):
    (folder / "table").mkdir()
    photos([2, 2]).to_parquet(folder / "table" / "train.parquet")
    photos([1, 1]).to_parquet(folder / "table" / "validation.parquet")


IMAGES, LABELS = (cells(), Image()), ([0, 1], ClassLabel(names=["red fox", "blue jay"]))
TABLE = ("--source.path", "table")

CASES = {
    # The source
    "no image column": (write_columns(photo=IMAGES, label=LABELS), TABLE,
                        ["source.image is 'image'", "its columns: photo, label", "--source.image"]),
    "no label column": (write_columns(image=IMAGES, species=LABELS), TABLE,
                        ["source.label is 'label'", "its columns: image, species", "--source.label"]),
    "several labels": (write_columns(image=IMAGES, label=([[0], [1]], List(Value("int64")))), TABLE,
                       ["source.label is 'label', which has several labels in a row"]),
    "several images": (write_columns(image=([[c] for c in cells()], List(Image())), label=LABELS), TABLE,
                       ["source.image is 'image', which has several images in a row"]),
    "images that are texts": (write_columns(image=(["a", "b"], Value("string")), label=LABELS), TABLE,
                              ["source.image is 'image', which contains", "Columns with images: none"]),
    "an added column": (write_columns(image=IMAGES, label=LABELS, prompt=(["a", "b"], Value("string"))), TABLE,
                         ["a column 'prompt', but a run adds a column of this name", "--columns.prefix dc_"]),
    "no such split": (None, ("--source.split", "dev"),
                      ["source.split is 'dev'", "its splits: train", "--source.split"]),
    "no such folder": (None, ("--source.path", "./fotos"), ["'./fotos'", "neither an existing folder"]),
    "a Hub id offline": (None, ("--source.path", "org/birds"), ["'org/birds'", "HF_HUB_OFFLINE"]),
    "a holdout beside validation": (validation_split, (*TABLE, "--source.holdout", "0.1"),
                                    ["source.holdout is 0.1", "--source.holdout 0"]),
    "a wnid": (class_folders("n01440764", "red fox"), (), ["'n01440764' is an opaque id", "--source.label_names"]),
    "a number": (class_folders("12", "13"), (), ["'12' is an opaque id", "--source.label_names"]),
    "a name of no class": (None, ("--source.label_names", "{red_foxx: fox}"), ["'red_foxx'", "'red_fox'"]),
    "a description of no class": (None, ("--prompts.label_descriptions", "{crane: bird}"), ["'crane'", "not a class"]),
    # The recipe
    "an unknown key": (change_recipe(fractoin=0.5), (), ["fractoin is not a key", "did you mean fraction"]),
    "an unknown key below": (change_recipe(model__gama=2), (), ["model.gama is not a key", "model.gamma"]),
    "a wrong type": (change_recipe(fraction="half"), (), ["fraction is 'half'", "a number"]),
    "a list for a number": (change_recipe(model__steps=[2, 3]), (), ["model.steps is [2, 3]", "an integer"]),
    "not valid YAML": (lambda folder: (folder / "recipe.yaml").write_text("source: {path: photos"), (),
                ["recipe.yaml", "line "]),
    "a key given twice": (lambda folder: (folder / "recipe.yaml").write_text("seed: 1\nseed: 2\n"), (),
                          ["'seed'", "twice"]),
    "no source": (lambda folder: (folder / "recipe.yaml").write_text("seed: 1\n"), (), ["source.path is missing"]),
    "an unknown preset": (None, ("--preset", "papper"), ["papper", "paper"]),
    "an unknown kind": (None, ("--kind", "brid"), ["kind is 'brid'", "did you mean bird"]),
    "gamma without guidance": (None, ("--model.gamma", "0"), ["model.gamma is 0", "prompts.negatives []"]),
    "a negative gamma": (None, ("--model.gamma", "-1"), ["model.gamma is -1"]),
    "a placeholder in a context": (None, ("--prompts.contexts", "in {season}"), ["{season}", "{label} and {kind}"]),
    "a placeholder in the template": (None, ("--prompts.template", "a {label} of {place}"),
                                      ["{place}", "its text columns: none"]),
    "a template without label": (None, ("--prompts.template", "a photo"), ["which has no {label}"]),
    "braces that do not pair": (None, ("--prompts.template", "a {label"), ["braces"]),
    "a negative that is a label": (None, ("--prompts.negatives", "Red Fox"), ["'Red Fox'", "label 'red fox'"]),
    "a negative in a label": (None, ("--prompts.negatives", "frog"), ["'frog'", "label 'green frog'"]),
    "a negative that is a context": (None, ("--prompts.negatives", "SNOW"), ["'SNOW'", "context 'in snow'"]),
    **{f"fraction {value}": (None, ("--fraction", value), ["fraction is ", "(0, 1]"])
       for value in ("0", "1.5", "-0.1", "nan")},
    "an invalid switch": (None, ("--strict", "perhaps"), ["perhaps"]),
    **{f"--{key} {value}": (None, (f"--{key}", value), [key])
       for key, value in (("copies", "0"), ("max_attempts", "0"), ("limit", "0"), ("limit", "2.5"),
                          ("model.size", "20"), ("model.steps", "0"), ("filter.references", "1"),
                          ("source.holdout", "1"), ("store_size", "0"), ("image_format", "gif"))},
    "a parameter that is not read": (None, ("--filter.policy.name", "all", "--filter.policy.alpha", "0.2"),
                                     ["filter.policy.alpha is 0.2", "policy all does not use"]),
    "fixed without a bound": (None, ("--filter.policy.name", "fixed"), ["filter.policy.t is missing"]),
    "an unknown policy": (None, ("--filter.policy.name", "best"), ["filter.policy.name is 'best'"]),
    "no such review": (None, ("--review", "review.csv"), ["review is review.csv", "not a file"]),
    # The models
    "pickled weights": (pickled_model, ("--model.path", "model"), ["pickled", "safetensors"]),
    "a pickled file": (lambda folder: (folder / "model.ckpt").write_bytes(b"x"), ("--model.path", "model.ckpt"),
                       ["model.ckpt", "safetensors"]),
    "a folder without a model": (None, ("--model.path", "photos"), ["photos", "no safetensors"]),
    "no such model": (None, ("--model.path", "./nowhere"), ["./nowhere"]),
    "a model not in the cache": (None, ("--model.path", "org/model"), ["org/model", "plan --fetch"]),
    "a tower not in the cache": (None, ("--filter.path", "org/clip"), ["org/clip", "plan --fetch"]),
    "no such adapter": (None, ("--model.adapters", "[./lora]"), ["./lora"]),
    "an unknown scheduler": (None, ("--model.scheduler", "DreamScheduler"), ["'DreamScheduler'"]),
    "a scheduler's unknown option": (None, ("--model.scheduler", "{name: DDIMScheduler, options: {betta: 1}}"),
                                     ["betta"]),
    "half precision on a CPU": (None, ("--model.device", "cpu", "--model.dtype", "float16"), ["float16", "float32"]),
    "no such device": (None, ("--model.device", "toaster"), ["'toaster'"]),
    # The output
    "an unknown folder": (output_of_another_program, ("--output", "taken"), ["taken holds files", "--output"]),
    "a folder inside the source": (None, ("--output", "photos/out"), ["photos/out", "--output"]),
    "an output that is the source": (None, ("--output", "photos"), ["photos is inside the source photos", "--output"]),
    "a file": (None, ("--output", "recipe.yaml"), ["recipe.yaml is a file", "--output"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_invalid_input_gives_a_one_line_error(work_folder, capsys, name):
    prepare, flags, expected = CASES[name]
    if prepare:
        prepare(work_folder)
    flags = flags if "--output" in flags else ("--output", "out", *flags)
    line = refused(work_folder, capsys, "augment", "recipe.yaml", *flags)
    assert [words for words in expected if words not in line] == []


@pytest.mark.parametrize(
    "name",
    ["no label column", "a wnid", "a wrong type", "pickled weights", "an unknown folder"],
)
def test_plan_refuses_what_augment_refuses(work_folder, capsys, name):
    prepare, flags, expected = CASES[name]
    if prepare:
        prepare(work_folder)
    line = refused(work_folder, capsys, "plan", "recipe.yaml", *flags)
    assert [words for words in expected if words not in line] == []


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["agument", "photos"], ["'agument' is not a command", "did you mean augment"]),
        (["augment"], ["WHAT is missing"]),
        (["augment", "--limit", "3"], ["WHAT is missing"]),
        (["augment", "photos", "more"], ["more"]),
        (["augment", "nowhere"], ["'nowhere' is not a file, a folder, a Hub id"]),
        (["augment", "photos/red_fox/00.jpg"], ["is a file, not a recipe"]),
        (["augment", "photos", "--frcation", "1"], ["--frcation is not a flag of augment", "--fraction"]),
        (["augment", "photos", "--fraction"], ["fraction"]),
        (["augment", "photos", "--layout", "rows"], ["--layout"]),
        (["preview", "photos"], ["photos is not the folder of a run"]),
        (["preview", "photos", "--samples", "0"], ["samples is 0"]),
        (["export", "photos"], ["output"]),
        (["export", "photos", "--output", "new"], ["photos is not the folder of a run"]),
        (["export", "nowhere", "--output", "new"], ["nowhere is not the folder of a run"]),
        (["export", "photos", "--output", "new", "--model.steps", "3"], ["--model.steps", "Give it to augment"]),
        (["export", "photos", "--output", "new", "--layout", "diagonal"], ["layout"]),
        (["clean", "photos"], ["photos is not the folder of a run"]),
        (["clean", "nowhere"], ["nowhere is not the folder of a run"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and " " not in value[0] else "",
)
def test_a_wrong_command_gives_a_one_line_error(work_folder, capsys, argv, expected):
    line = refused(work_folder, capsys, *argv)
    assert [words for words in expected if words not in line] == []


def test_a_source_with_the_path_of_the_default_output_is_refused(work_folder, capsys):
    write_photos(work_folder / "out/birds", [2, 2])
    line = refused(work_folder, capsys, "plan", "out/birds")
    assert "the default output out/birds is in the source folder out/birds. Give another folder with --output" in line


def test_the_error_for_an_output_with_other_attempts_names_the_changed_key(work_folder, capsys):
    assert main(["augment", "recipe.yaml", "--output", "out", "--limit", "1"]) == 0
    line = refused(work_folder, capsys, "augment", "recipe.yaml", "--output", "out", "--model.gamma", "3")
    assert "model.gamma: 2.0 -> 3.0" in line
    assert "--output" in line


def test_an_export_into_the_folder_of_its_own_run_is_refused(work_folder, capsys):
    assert main(["augment", "recipe.yaml", "--output", "out", "--limit", "1"]) == 0
    line = refused(work_folder, capsys, "export", "out", "--output", "./out/")
    assert "is the folder of a run" in line


def test_a_policy_that_needs_a_text_tower_is_refused_without_it(work_folder, capsys, tmp_path_factory):
    import tiny_models
    import tiny_towers

    tower = tiny_models.seeded(tiny_towers.save_clip_vision, tmp_path_factory.mktemp("tower") / "clip")
    policy = ("--filter.path", str(tower), "--filter.policy", "{name: rank, by: text}")
    line = refused(work_folder, capsys, "augment", "recipe.yaml", "--output", "out", *policy)
    assert "text" in line


def test_calls_in_python_raise_the_messages_of_the_command_line(work_folder, keys):
    before = listing(work_folder)
    with pytest.raises(ValueError, match=r"fraction is 2.0, not a number in \(0, 1\]"):
        augment("photos", fraction=2.0, output="out", **keys)
    with pytest.raises(ValueError, match="fractoin is not a key of a recipe; did you mean fraction"):
        augment("photos", fractoin=0.5, output="out", **keys)
    assert listing(work_folder) == before
