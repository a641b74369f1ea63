"""Tests of pushes with the real client libraries to the Hub double, a local test server in place of the Hub.

A version is complete or absent, and never changes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from hashlib import sha256

import pytest
from PIL import Image

from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.folder import Folder, manifest_bytes
from diffcore_hf.workflows.augment import run as run_augment
from testing import hub_steps as steps
from testing.hub_double.client import Client
from testing.hub_double.faults import STEPS, LostReply, Status
from testing.hub_double.repos import Blob


@pytest.fixture(params=["lfs", "xet"])
def client_of_either_protocol(request):
    """Provides the client over LFS and over Xet. Xet is the default protocol of huggingface_hub."""
    return request.getfixturevalue("client" if request.param == "lfs" else "xet_client")


def test_a_pushed_version_is_the_local_folder_row_by_row(hub, client_of_either_protocol, finished):
    repo = hub.repo_id()
    done = client_of_either_protocol(steps.push, finished, repo, "v1.0.0")
    assert done["created"] and done["private"] and done["deleted"] == []
    for name in ("default", "generated", "attempts", "references", "classes"):
        assert client_of_either_protocol(steps.rows, repo, "v1.0.0", name) == client_of_either_protocol(
            steps.rows, str(finished), None, name
        )
    assert (
        client_of_either_protocol(steps.streamed, repo, "v1.0.0")
        == client_of_either_protocol(steps.rows, str(finished))["train"]
    )
    assert {tag: commit.sha for tag, commit in hub.dataset(repo).tags.items()} == {"v1.0.0": done["commit"]}
    assert client_of_either_protocol(steps.call, "verify", f"{repo}@v1.0.0") == []


def test_a_folder_with_pending_rows_is_pushed_and_its_card_counts_them(hub, client, finished, keys, tmp_path):
    out, repo = tmp_path / "out", hub.repo_id()
    source = {"path": Folder(finished).read_run()["resolved"]["source"]["path"]}
    run_augment(build_recipe({"source": source, "output": str(out), "limit": 2}, keys), progress=False)
    client(steps.push, out, repo, "v1.0.0")
    assert "**Not finished: 8 planned rows have no decision yet.**" in client(steps.text, repo, "README.md", "v1.0.0")
    assert client(steps.rows, repo, "v1.0.0") == client(steps.rows, str(out))


def test_pushing_again_sends_nothing_and_changes_nothing(hub, client_of_either_protocol, finished):
    repo = hub.repo_id()
    first = client_of_either_protocol(steps.push, finished, repo, "v1.0.0")
    hub.log.clear()
    again = client_of_either_protocol(steps.push, finished, repo, "1.0.0")
    assert (again["commit"], again["added"], again["deleted"]) == (first["commit"], [], [])
    assert not hub.log.count("POST|PUT|DELETE")


def test_a_second_version_does_not_change_the_first(hub, client, finished, second):
    repo = hub.repo_id()
    client(steps.push, finished, repo, "v1.0.0")
    before = client(steps.rows, repo, "v1.0.0")
    done = client(steps.push, second, repo, "v1.1.0")
    kept = {entry["path"] for entry in Folder(second).manifest()["files"]}
    assert not kept & set(done["deleted"]) and done["deleted"]
    assert client(steps.rows, repo, "v1.1.0") == client(steps.rows, str(second))
    assert client(steps.rows, repo, "v1.0.0") == before
    listed = client(steps.call, "versions", repo)
    assert [(one["tag"], one["kept"]) for one in listed] == [("v1.0.0", 10), ("v1.1.0", 5)]
    changed = client(steps.call, "diff", repo, "v1.0.0", "v1.1.0")
    assert (len(changed["removed"]), len(changed["added"]), changed["rows_removed"]) == (5, 0, ())
    assert changed["recipe"] == (("fraction", 1.0, 0.5),)
    assert client(steps.call, "diff", repo, "v1.1.0", str(second))["recipe"] == ()


def test_pushing_other_content_under_an_existing_version_is_refused(hub, client, finished, second):
    repo = hub.repo_id()
    client(steps.push, finished, repo, "v1.0.0")
    with pytest.raises(ValueError, match=r"has a version v1.0.0 with other content.*Use --version v1.1.0"):
        client(steps.push, second, repo, "v1.0.0")
    assert list(hub.dataset(repo).tags) == ["v1.0.0"]


def test_a_dry_run_returns_the_changes_and_sends_nothing(hub, client, finished):
    repo = hub.repo_id()
    result = client(steps.push, finished, repo, "v1.0.0", dry_run=True)
    assert result["created"] and "diffcore.json" in result["added"] and result["commit"] is None
    assert not hub.log.count("POST|PUT|DELETE")


def with_own_text(card: str, words: str) -> bytes:
    """Return a card with text in its free section."""
    start = "<!-- free:start about -->\n"
    return card.replace(start, f"{start}{words}\n", 1).encode()


def put_card(client, repo: str, content: bytes) -> None:
    client(steps.hub, "upload_file", path_or_fileobj=content, path_in_repo="README.md", repo_id=repo,
           repo_type="dataset")  # fmt: skip


def test_edits_of_the_card_on_the_hub_are_kept(hub, client, finished, second):
    repo = hub.repo_id()
    client(steps.push, finished, repo, "v1.0.0")
    put_card(client, repo, with_own_text(client(steps.text, repo, "README.md", "v1.0.0"), "Written on the Hub."))
    for version, out in (("v1.1.0", second), ("v1.2.0", finished)):
        client(steps.push, out, repo, version)
        assert "Written on the Hub." in client(steps.text, repo, "README.md", version)


def test_local_edits_of_the_card_are_pushed_and_conflicts_are_refused(hub, client, finished, second, tmp_path):
    repo, out = hub.repo_id(), shutil.copytree(second, tmp_path / "out")
    client(steps.push, finished, repo, "v1.0.0")
    card = (out / "README.md").read_text()
    (out / "README.md").write_bytes(with_own_text(card, "Written in the folder."))
    client(steps.push, out, repo, "v1.1.0")
    assert "Written in the folder." in client(steps.text, repo, "README.md", "v1.1.0")
    put_card(client, repo, with_own_text(client(steps.text, repo, "README.md", "v1.1.0"), "Changed on the Hub."))
    (out / "README.md").write_bytes(with_own_text(card, "Changed in the folder."))
    with pytest.raises(ValueError, match="section 'about' was changed here and on the Hub. Make both equal"):
        client(steps.push, out, repo, "v1.2.0")


def test_a_card_from_before_the_first_push_is_kept_as_a_section(hub, client, finished):
    repo = hub.repo_id()
    client(steps.hub, "create_repo", repo, repo_type="dataset", private=True)
    put_card(client, repo, b"---\nlicense: mit\n---\n# My birds\n\nTaken in the garden.\n")
    client(steps.push, finished, repo, "v1.0.0")
    text = client(steps.text, repo, "README.md", "v1.0.0")
    assert "Taken in the garden." in text and text.count("# My birds") == 1 and "with generated counterparts" in text


def test_a_dataset_without_originals_may_be_public_and_its_originals_can_be_added_again(
    hub, client, without_originals, finished, folder_of_photos
):
    repo = hub.repo_id()
    with pytest.raises(ValueError, match=r"would show the original images, and their source is not on the Hub"):
        client(steps.push, finished, repo, "v1.0.0", public=True)
    assert not hub.repositories
    assert client(steps.push, without_originals, repo, "v1.0.0", public=True)["private"] is False
    sheets = [(folder / "assets" / "contact_sheet.png").read_bytes() for folder in (without_originals, finished)]
    assert sheets[0] != sheets[1]  # the first sheet has no real images
    back = client(steps.joined, repo, str(folder_of_photos), "v1.0.0")
    assert back["train"] == [row["image"] for row in client(steps.rows, str(finished))["train"]]


def test_pushing_an_existing_version_succeeds_after_the_repository_became_public(hub, client, finished, second):
    repo = hub.repo_id()
    client(steps.push, finished, repo, "v1.0.0")
    hub.dataset(repo).private = False
    assert client(steps.push, finished, repo, "v1.0.0")["added"] == []
    with pytest.raises(ValueError, match="would show the original images"):
        client(steps.push, second, repo, "v1.1.0")


@pytest.mark.parametrize(("marker", "options"), [("<!-- originals -->", {"originals_are_mine": True}),
                                            ("<!-- worth:start -->", {"compare": "compare.json"})])  # fmt: skip
def test_a_card_without_the_marker_for_a_sentence_is_refused(hub, client, finished, tmp_path, marker, options):
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "README.md").write_text((out / "README.md").read_text().replace(marker, ""))
    if "compare" in options:
        (tmp_path / "compare.json").write_text(json.dumps(comparison(Folder(out).manifest()["hash"])))
        options = {"compare": str(tmp_path / "compare.json")}
    with pytest.raises(ValueError, match=f"README.md has no line {marker}, which"):
        client(steps.push, out, hub.repo_id(), "v1.0.0", **options)


def comparison(manifest_hash):
    """Return compare.json of trainings on a dataset."""
    arms = [{"name": name, "top1": top1, "difference": 0.1, "half_interval": None, "seen": None, "steps": 9}
            for name, top1 in (("plain", 0.5), ("mix", 0.6))]  # fmt: skip
    return {"data": {"hash": manifest_hash}, "arms": arms, "seeds": [0], "split": "test", "images": 9,
            "model": "resnet18", "batch_size": 8}  # fmt: skip


def test_a_statement_of_the_publisher_allows_a_public_push_and_is_on_the_card(hub, client, finished):
    repo = hub.repo_id()
    assert client(steps.push, finished, repo, "v1.0.0", public=True, originals_are_mine=True)["private"] is False
    statement = "The publisher states that they have the right to publish the original images."
    assert statement in client(steps.text, repo, "README.md", "v1.0.0")
    assert statement not in (finished / "README.md").read_text()


def test_a_pull_request_is_proposed_and_tagged_after_the_merge(hub, client, finished, second):
    repo = hub.repo_id()
    with pytest.raises(ValueError, match="does not exist, so a pull request is not possible"):
        client(steps.push, finished, repo, "v1.0.0", create_pr=True)
    client(steps.push, finished, repo, "v1.0.0")
    hub.faults.add(*STEPS["commit"], LostReply())
    asked = client(steps.push, second, repo, "v1.1.0", create_pr=True)
    again = client(steps.push, second, repo, "v1.1.0", create_pr=True)
    assert asked["request"] == again["request"] and len(hub.dataset(repo).pulls) == 1
    assert list(hub.dataset(repo).tags) == ["v1.0.0"]
    with pytest.raises(ValueError, match=r"/1 proposes v1.1.0 already, but .* Close that pull request"):
        client(steps.push, second, repo, "v1.1.0", create_pr=True, originals_are_mine=True)
    client(steps.hub, "merge_pull_request", repo, 1, repo_type="dataset")
    with pytest.raises(ValueError, match="has this content already. Push without --create-pr"):
        client(steps.push, second, repo, "v1.1.0", create_pr=True)
    done = client(steps.push, second, repo, "v1.1.0")
    assert (done["added"], done["tagged"]) == ([], True)
    assert client(steps.push, second, repo, "v1.1.0")["tagged"] is False
    assert client(steps.rows, repo, "v1.1.0") == client(steps.rows, str(second))


def test_the_code_on_a_card_loads_the_version_of_the_card(hub, client, finished, second):
    repo = hub.repo_id()
    for folder, tag in ((finished, "v1.0.0"), (second, "v1.1.0")):
        client(steps.push, folder, repo, tag)
        card = client(steps.text, repo, "README.md", tag)
        assert f'here, version = "{repo}", "{tag}"\n' in card and f"--data.path {repo} --data.revision {tag} " in card
        assert "path/to/this/folder" not in card and "path/to/this/folder" in (folder / "README.md").read_text()
        local = (folder / "README.md").read_text().replace("path/to/this/folder", str(folder))
        assert (
            client(steps.snippet, card)
            == client(steps.snippet, local)
            == {split: len(rows) for split, rows in client(steps.rows, str(folder)).items()}["train"]
        )


@pytest.mark.parametrize(
    ("path", "content", "line"),
    [
        ("README.md", b"\xff\xfe", "is not UTF-8 text .*Correct it there, then push"),
        ("diffcore.json", b"\xff", r"has files that diffcore-hf did not write \("),
        ("diffcore.json", b"[]", r"has files that diffcore-hf did not write \("),
    ],
)
def test_an_unreadable_file_on_the_hub_gives_a_one_line_error(hub, client, finished, second, path, content, line):
    repo = hub.repo_id()
    client(steps.push, finished, repo, "v1.0.0")
    # The card is committed without the client, because the client refuses such a card.
    hub.dataset(repo).commit({path: Blob.regular(content)})
    with pytest.raises(ValueError, match=line) as caught:
        client(steps.push, second, repo, "v1.1.0")
    assert "\n" not in str(caught.value) and list(hub.dataset(repo).tags) == ["v1.0.0"]


def test_a_cached_dataset_at_another_commit_is_never_loaded(hub, finished, second, tmp_path):
    """If the Hub fails, `load_dataset` returns any cached version without a warning (huggingface/datasets#7928)."""
    repo = hub.repo_id()
    with Client(hub, tmp_path / "home", xet=False) as fresh:
        fresh(steps.push, finished, repo, "v1.0.0")
        fresh(steps.push, second, repo, "v1.1.0")
        fresh(steps.rows, repo, "v1.0.0")
        hub.faults.add("GET|HEAD", "/resolve/", Status(403), times=None)
        with pytest.raises(ValueError, match=rf"^{repo} v1.1.0: .*See diffcore-hf versions") as caught:
            fresh(steps.rows, repo, "v1.1.0")
        assert hub.dataset(repo).tags["v1.1.0"].sha[:12] in str(caught.value)


def test_a_comparison_is_pushed_only_with_the_dataset_of_its_trainings(hub, client, finished, second, tmp_path):
    repo, manifest = hub.repo_id(), json.loads((finished / "diffcore.json").read_text())
    (tmp_path / "compare.json").write_text(json.dumps(comparison(manifest["hash"])))
    client(steps.push, finished, repo, "v1.0.0", compare=str(tmp_path / "compare.json"))
    assert "plain 50.0 %, mix 60.0 %" in client(steps.text, repo, "README.md", "v1.0.0")
    with pytest.raises(ValueError, match="which was measured on another dataset"):
        client(steps.push, second, repo, "v1.1.0", compare=str(tmp_path / "compare.json"))
    client(steps.push, second, repo, "v1.1.0")
    assert "compare.json" not in hub.dataset(repo).tags["v1.1.0"].files


def test_a_tag_on_a_damaged_commit_is_refused(hub, client, finished):
    repo = hub.repo_id()
    client(steps.push, finished, repo, "v1.0.0")
    victim = next(path for path in hub.dataset(repo).tags["v1.0.0"].files if path.startswith("attempts/"))
    client(steps.hub, "delete_file", path_in_repo=victim, repo_id=repo, repo_type="dataset")
    client(steps.hub, "create_tag", repo, tag="v1.1.0", repo_type="dataset")
    with pytest.raises(ValueError, match=r"v1.1.0 that is damaged \(attempts/.* is missing\).*Use --version v1.2.0"):
        client(steps.push, finished, repo, "v1.1.0")


def test_a_repository_of_other_images_is_refused(hub, client, finished, keys, tmp_path):
    repo, out = hub.repo_id(), tmp_path / "out"
    client(steps.push, finished, repo, "v1.0.0")
    for number in range(6):
        path = tmp_path / "others" / ("red car", "blue car")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (40 * number, 90, 200)).save(path)
    source = {"path": str(tmp_path / "others")}
    run_augment(build_recipe({"source": source, "output": str(out), "max_attempts": 1}, keys), progress=False)
    with pytest.raises(ValueError, match="has an augmentation of other images, .* nothing was sent. Use another"):
        client(steps.push, out, repo, "v1.1.0")
    assert list(hub.dataset(repo).tags) == ["v1.0.0"]


@pytest.mark.parametrize("card", [None, b"# Mine\n", b"\xff"])
def test_a_card_that_names_no_shards_is_refused(hub, client, finished, tmp_path, card):
    out = shutil.copytree(finished, tmp_path / "out")
    (out / "README.md").unlink()
    if card is not None:
        (out / "README.md").write_bytes(card)
    with pytest.raises(ValueError, match="README.md is missing or does not name the folder's shards"):
        client(steps.push, out, hub.repo_id(), "v1.0.0")


def test_a_file_missing_in_the_repository_is_pushed_with_the_next_version(hub, client, finished, second):
    repo = hub.repo_id()
    client(steps.push, finished, repo, "v1.0.0")
    victim = next(path for path in hub.dataset(repo).tags["v1.0.0"].files if path.startswith("references/"))
    client(steps.hub, "delete_file", path_in_repo=victim, repo_id=repo, repo_type="dataset")
    client(steps.push, second, repo, "v1.1.0")
    assert client(steps.rows, repo, "v1.1.0") == client(steps.rows, str(second))


BAD = {
    "no access": ("stranger", r"HTTP 40[13]"),
    "another dataset": ("another tool", r"has files that diffcore-hf did not write \(data.csv\); nothing was sent"),
    "changed after the export": (
        "changed",
        r"is incomplete or was changed \(data/.* is not the file that was exported\)",
    ),
    "a folder of another tool": ("plain", "was not written by diffcore-hf"),
    "a name that the Hub refuses": ("name", "a name that the Hub refuses"),
    "no owner": ("owner", "not `owner/name`. Use e.g. org/photos"),
    "two slashes": ("slashes", r"not `owner/name`. Use e.g. org/photos$"),
    "no version": ("version", "which is not a semantic version"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_refused_push_gives_a_one_line_error_and_changes_nothing(hub, client, finished, tmp_path, case):
    kind, line = BAD[case]
    repo, out, version = hub.repo_id(), finished, "v1.0.0"
    if kind == "stranger":
        repo = hub.repo_id("somebody-else")
    if kind == "another tool":
        client(steps.hub, "create_repo", repo, repo_type="dataset", private=True)
        client(steps.hub, "upload_file", path_or_fileobj=b"a,b", path_in_repo="data.csv", repo_id=repo,
               repo_type="dataset")  # fmt: skip
    if kind == "changed":
        out = shutil.copytree(finished, tmp_path / "out")
        victim = out / json.loads((out / "diffcore.json").read_text())["files"][2]["path"]
        victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    if kind == "plain":
        out = tmp_path
    repo = {"name": "org/a--b", "owner": "photos", "slashes": "a/b/photos"}.get(kind, repo)
    version = "one" if kind == "version" else version
    with pytest.raises(ValueError, match=line) as caught:
        client(steps.push, out, repo, version)
    assert "\n" not in str(caught.value) and hub.token not in str(caught.value)
    assert not any(repository.tags for repository in hub.repositories.values())


def files_of_another_tool(case: str, finished) -> dict[str, bytes]:
    """Return the files of a repository that another tool could have made, by path."""
    manifest = Folder(finished).manifest()
    if case == "no recipe":
        del manifest["recipe"]
        return {"diffcore.json": manifest_bytes(manifest)}
    junk = b"not Parquet"
    shard = {"path": "references/x.parquet", "size": len(junk), "sha256": sha256(junk).hexdigest(), "rows": 1}
    manifest |= {"files": [shard], "configs": {"references": {"train": [shard["path"]]}}}
    return {"diffcore.json": manifest_bytes(manifest), shard["path"]: junk}


@pytest.mark.parametrize(
    ("case", "line"),
    [("no recipe", "diffcore.json has no valid 'recipe'"), ("junk", "references/x.parquet cannot be read as Parquet")],
)
def test_invalid_content_of_another_tool_gives_a_one_line_error(hub, client, finished, case, line):
    repo = hub.repo_id()
    hub.create(repo, private=True)
    files = {path: Blob.regular(content) for path, content in files_of_another_tool(case, finished).items()}
    hub.dataset(repo).commit(files)
    client(steps.hub, "create_tag", repo, tag="v1.0.0", repo_type="dataset")
    for step in (("verify", f"{repo}@v1.0.0"), ("diff", repo, "v1.0.0", str(finished))):
        with pytest.raises(UserError, match=line) as caught:
            client(steps.call, *step)
        assert "\n" not in str(caught.value)


def test_a_signed_version_is_verified_and_a_changed_card_is_found(hub, client, finished, tmp_path):
    repo, key, signers = hub.repo_id(), tmp_path / "key", tmp_path / "signers"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True)
    signers.write_text(f"me@example.org {key.with_suffix('.pub').read_text()}")
    client(steps.push, finished, repo, "v1.0.0", sign=str(key))
    assert client(steps.call, "verify", f"{repo}@v1.0.0", str(signers)) == []
    card = client(steps.text, repo, "README.md", "v1.0.0").replace("## Licences", "## Licences: CC0")
    commit = client(
        steps.hub, "upload_file", path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=repo,
        repo_type="dataset",
    )  # fmt: skip
    [fault] = client(steps.call, "verify", f"{repo}@{commit}", str(signers))
    assert "'## Licences: CC0' instead of '## Licences'" in fault
    client(steps.push, finished, repo, "v1.1.0")
    assert "diffcore.json.sig" not in hub.dataset(repo).tags["v1.1.0"].files
    assert client(steps.call, "verify", repo, str(signers)) == ["diffcore.json has no signature diffcore.json.sig"]


def test_a_name_without_a_version_is_one_line(hub, client):
    missing, empty = hub.repo_id(), hub.repo_id()
    hub.create(empty, private=True)
    example = r"Give a folder, or e\.g\. {}@v1\.0\.0 for a version on the Hub$"
    for name, line in (
        (missing, r"is not a folder\. On the Hub: HTTP 404.* Check the name, and that your token has access to it$"),
        (empty, rf"is not a folder, and has no version on the Hub\. {example.format(empty)}"),
        ("out/no such", rf"is not a folder\. {example.format('out/no such')}"),
    ):
        with pytest.raises(UserError) as caught:
            client(steps.call, "verify", name)
        # The lines after the first one are the traceback of the process.
        assert re.match(f"{name} {line}", str(caught.value).partition("\n")[0])
