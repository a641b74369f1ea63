"""Tests of machines without a shared disk: the union of their folders equals the folder of one run."""

import re
import shutil

import pytest
import yaml
from run_folders import published

from diffcore_hf.commands.main import main
from diffcore_hf.config.mappings import to_mapping
from diffcore_hf.core.errors import UserError
from diffcore_hf.workflows import augment
from diffcore_hf.workflows.merge import merge


@pytest.fixture(scope="module")
def machines(make, tmp_path_factory):
    """Returns the folders of two machines. The command `augment` computed the facts of one share in each folder."""
    folders = [tmp_path_factory.mktemp(f"machine{index}") / "out" for index in range(2)]
    recipe = folders[0].with_name("recipe.yaml")
    recipe.write_text(yaml.safe_dump(to_mapping(make("out"))))
    assert main(["plan", str(recipe), "--prepare", str(folders[0])]) == 0
    shutil.copytree(folders[0], folders[1])
    for index, folder in enumerate(folders):
        share = ["--worker", f"{index}/2", "--share-only", "--part_size", "3"]
        assert main(["augment", str(recipe), "--output", str(folder), *share]) == 0
        assert published(folder) == {}
    return folders


def test_merge_and_slurm_print_their_result_and_merge_needs_another_folder(machines, tmp_path, capsys):
    assert main(["merge", str(tmp_path / "out"), *map(str, machines)]) == 0
    assert re.search(r"^[1-9]\d* parts were copied, and \d+ were there already$", capsys.readouterr().out, re.MULTILINE)
    assert main(["slurm", str(tmp_path / "out"), "--tasks", "3"]) == 0
    assert "#SBATCH --array=0-2" in capsys.readouterr().out
    assert main(["merge", str(tmp_path / "out")]) == 2
    assert "OTHER is missing" in capsys.readouterr().err


def test_the_united_folders_are_those_of_one_run(machines, alone, tmp_path):
    merged = merge(tmp_path / "out", machines)
    assert published(tmp_path / "out") == alone
    assert (merged.result.summary.counts["pending"], merged.union.damaged) == (0, ())
    again = merge(tmp_path / "out", machines)
    assert again.union.copied == 0
    assert published(tmp_path / "out") == alone


def test_copying_the_parts_gives_the_same_ledger(make, machines, alone, tmp_path):
    shutil.copytree(machines[0], tmp_path / "out")
    shutil.copytree(machines[1] / ".diffcore/parts", tmp_path / "out/.diffcore/parts", dirs_exist_ok=True)
    assert augment.run(make(tmp_path / "out"), progress=False).new_attempts == 0
    assert published(tmp_path / "out") == alone


def test_a_damaged_part_is_not_copied_and_its_attempts_are_due_again(make, machines, alone, tmp_path):
    shutil.copytree(machines[1], tmp_path / "copy")
    path = next((tmp_path / "copy/.diffcore/parts/r0").rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    merged = merge(tmp_path / "out", [machines[0], tmp_path / "copy"])
    assert merged.union.damaged == (path,)
    assert merged.result.summary.counts["pending"] > 0
    augment.run(make(tmp_path / "out"), progress=False)
    assert published(tmp_path / "out") == alone


def test_folders_that_do_not_belong_together_are_refused_with_the_keys_that_differ(make, machines, tmp_path):
    augment.start(augment.prepare(make(tmp_path / "other", seed=5)))
    with pytest.raises(UserError, match=r"other settings than .*seed.* 5.*plan --prepare"):
        merge(machines[0], [tmp_path / "other"])
    with pytest.raises(UserError, match="is not the folder of a run"):
        merge(tmp_path / "new", [tmp_path])
    with pytest.raises(UserError, match="is named twice"):
        merge(machines[0], machines)
    assert not (tmp_path / "new").exists()
