"""Tests of the share of the work that a worker does: --worker comes before the environment variables."""

import pytest

from diffcore_hf.augmentation.executors.environment import share_of
from diffcore_hf.augmentation.share import Share
from diffcore_hf.core.errors import UserError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4"}
SLURM = {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "5"}
KUBERNETES = {"JOB_COMPLETION_INDEX": "1"}


@pytest.mark.parametrize(
    "worker, environ, share",
    [
        (None, {}, Share(0, 1)),
        ("1/2", TORCHRUN | SLURM | KUBERNETES, Share(1, 2)),
        (None, TORCHRUN | SLURM | KUBERNETES, Share(3, 4)),
        (None, SLURM | KUBERNETES, Share(2, 5)),
        (None, KUBERNETES, Share(0, 1)),
        ("auto/3", KUBERNETES, Share(1, 3)),
        ("auto/3", SLURM | KUBERNETES, Share(2, 3)),
        ("auto/8", TORCHRUN | SLURM | KUBERNETES, Share(3, 8)),
        (None, {"RANK": "1"} | KUBERNETES, Share(0, 1)),
        (None, SLURM | {"SLURM_ARRAY_TASK_ID": "19"}, Share(4, 5)),
        (None, {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "4"}, Share(3, 4)),
    ],
    ids=["alone", "the option is first", "torchrun", "Slurm", "Kubernetes gives no count", "auto with Kubernetes",
         "auto with Slurm", "auto with torchrun", "half of torchrun", "an array with gaps", "no first number"],
)  # fmt: skip
def test_the_share_comes_from_the_option_or_the_environment(worker, environ, share):
    assert share_of(worker, environ) == share


@pytest.mark.parametrize(
    "worker, environ, message, remedy",
    [
        ("2", {}, "'2'; use INDEX/COUNT", "0/2"),
        ("1/0", {}, "'1/0'; use INDEX/COUNT", "auto/2"),
        ("-1/2", {}, "'-1/2'; use INDEX/COUNT", "1/2"),
        ("2/2", {}, "the last of 2 workers is 1/2", "1/2"),
        ("auto/4", {}, "none of the environment variables RANK", "0/4"),
        (None, {"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one', which is not an integer", "1/2"),
        (None, {"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2, but WORLD_SIZE is 2", "1/2"),
        (None, SLURM | {"SLURM_ARRAY_TASK_ID": ""}, "SLURM_ARRAY_TASK_ID is ''", "1/2"),
    ],
)
def test_a_wrong_share_is_a_one_line_error_with_a_remedy_that_works(worker, environ, message, remedy):
    with pytest.raises(UserError, match=message) as caught:
        share_of(worker, environ)
    assert "\n" not in str(caught.value)
    assert share_of(remedy, environ | KUBERNETES if remedy.startswith("auto") else environ).count > 1


def test_a_machine_that_computes_only_its_share_needs_the_option_worker():
    assert share_of("1/2", {}, only=True) == Share(machine=1, machines=2)
    with pytest.raises(UserError, match="Use --worker 0/2 --share-only"):
        share_of(None, {}, only=True)
