"""Tests of the report of a source, which has the numbers of rows and a list of unusual files, images and classes."""

import io
import shutil
import struct
import warnings
import zlib

import pytest
from PIL import Image

from diffcore_hf.augmentation.source import report_text
from diffcore_hf.augmentation.source.dataset import load_source
from diffcore_hf.augmentation.source.files import UnreadFile
from diffcore_hf.augmentation.source.hashes import header_text, parse_header
from diffcore_hf.augmentation.source.report import equal_names, group_unread, make_report
from diffcore_hf.config.augment import SourceConfig
from diffcore_hf.core.image_headers import ImageHeader


def picture(colour: int, size=(12, 10), mode="RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Returns a PNG file without pixels whose header states this size."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def folder(root, files: dict[str, bytes]):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def report_of(root, **keys):
    source = load_source(SourceConfig(path=str(root), **keys))
    return make_report(source, source.names)


@pytest.fixture
def unusual(tmp_path):
    """Returns a folder with one example of each finding."""
    return folder(
        tmp_path / "photos",
        {
            "train/ant/a.png": picture(1),
            "train/ant/b.png": picture(1),
            "train/ant/c.png": picture(2, (40, 30)),
            "train/bee/d.png": picture(2, (40, 30)),
            "train/bee/e.png": picture(3, mode="L"),
            "train/cow/f.png": picture(4),
            "train/bee/broken.png": picture(5)[:20],
            "train/ant/notes.txt": b"no image",
            "test/bee/g.png": picture(3, mode="L"),
            "test/dog/h.png": picture(7),
        },
    )


def test_every_finding_is_reported(unusual):
    report = report_of(unusual)
    assert report.layout.startswith("class folders, 2 splits")
    assert report.rows["train"] == {"ant": 3, "bee": 3, "cow": 1, "dog": 0}
    assert report.rows["test"] == {"ant": 0, "bee": 1, "cow": 0, "dog": 1}
    assert report.identical_in_class == (("train/ant/a.png", "train/ant/b.png"),)
    assert report.label_conflicts == (("train/ant/c.png", "train/bee/d.png"),)
    assert report.across_splits == (("train/bee/e.png", "test/bee/g.png"),)
    assert report.not_planned == 1
    assert report.classes_in_one_split == {"ant": "train", "cow": "train", "dog": "test"}
    assert report.classes_of_one_image == ("cow",)
    assert [name.partition(":")[0] for name in report.unreadable["train"]] == ["train/bee/broken.png"]
    assert [(group.folder, group.names[0].partition(":")[0]) for group in report.unread] == [("train/ant", "notes.txt")]
    assert (report.sides.smallest, report.sides.largest) == (10, 40)
    assert report.modes == {"RGB": 6, "L": 2}


def test_the_text_gives_file_names_and_the_findings_give_none(unusual):
    report = report_of(unusual)
    text = "\n".join(report_text.lines(report))
    for name in ("notes.txt", "train/bee/broken.png", "train/ant/a.png", "train/bee/d.png", "test/bee/g.png"):
        assert name in text
    findings = report_text.findings(report)
    assert len(findings) == 6
    assert findings[0] == "1 file of the source folder was not read (file that is not an image: 1)"
    assert not any(".png" in finding or ".txt" in finding for finding in findings)


def test_an_ordinary_source_has_no_findings(tmp_path):
    root = folder(tmp_path / "photos", {f"{name}/{n}.png": picture(n * 7 + ord(name)) for name in "ab" for n in (0, 1)})
    folder(root, {"README.md": b"# Photos", "LICENSE": b"CC0", ".hidden": b"x", "a/Thumbs.db": b"x"})
    report = report_of(root)
    assert sum(len(group.names) for group in report.unread) == 4
    assert report_text.findings(report) == []
    assert report.counts() == dict.fromkeys(report.counts(), 0)


def test_images_in_an_archive_are_named_by_their_paths_in_it(tmp_path):
    same = {f"{name}/{n}.png": picture(1) for name in ("ant", "bee") for n in (0, 1)}
    root = folder(tmp_path / "unpacked", same)
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", root)
    assert report_of(archive).label_conflicts == (tuple(same),)


def test_every_reason_has_a_line_for_any_number_of_folders_with_unread_files(tmp_path):
    root = folder(tmp_path / "photos", {f"c{n}/{m}.png": picture(2 * n + m) for n in range(20) for m in (0, 1)})
    folder(root, {f"c{n}/Thumbs.db": b"x" for n in range(20)})
    folder(root, {f"c{n}/{{}}.heic": b"\0\0\0\x18ftypheic" for n in range(3)} | {"empty.jpg": b""})
    unread = [line for line in report_text.lines(report_of(root)) if line.startswith("not read")]
    several = ", ".join(f"c{n}/Thumbs.db" for n in (0, 1, 10, 11, 12))
    heic = "image format that is not read: HEIC. Convert it to JPEG or AVIF ({}.heic)"
    assert unread == [
        "not read    1 file in .: empty file (empty.jpg)",
        f"not read    20 files in 20 folders: file of the operating system ({several} and 15 more)",
        *(f"not read    1 file in c{n}: {heic}" for n in range(3)),
        "not read    --report FILE.json lists all of them",
    ]


@pytest.mark.parametrize(
    "names, prompt_names, expected",
    [
        (["001.Crow", "002.Crow", "Jay"], ["Crow", "Crow", "Jay"], {"Crow": ("001.Crow", "002.Crow")}),
        (["a", "b"], ["a", "b"], {}),
    ],
)
def test_classes_with_equal_names_in_prompts_are_found(names, prompt_names, expected):
    assert equal_names(names, prompt_names) == expected


def test_unread_files_are_grouped_by_reason_and_folder():
    unread = [UnreadFile(f"a/{n}.txt", "not an image") for n in range(7)] + [
        UnreadFile("b.zip", "archive", "unpack it")
    ]
    groups = group_unread(unread)
    assert [(group.reason, group.folder, len(group.names)) for group in groups] == [
        ("archive", ".", 1),
        ("not an image", "a", 7),
    ]
    assert list(groups[0].files()) == [("b.zip", "unpack it")]
    assert report_text.examples(groups[1].names) == "0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2 more"


def test_images_above_the_limits_have_the_same_reason_as_when_they_are_decoded(tmp_path):
    images = {
        "a/large.png": png_header(20_000, 20_000),
        "a/long.png": png_header(5_100, 100),
        "a/accepted.png": png_header(13_000, 14_000),
        "b/small.png": picture(1),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = report_of(folder(tmp_path / "photos", images))
    assert report.unreadable["train"] == (
        "a/large.png: 20000 x 20000, more than 200 megapixels",
        "a/long.png: 5100 x 100, an aspect ratio above 1:50",
    )
    assert report.sides.largest == 14_000
    assert report_of(tmp_path / "photos").unreadable == report.unreadable  # the headers are now read from the cache


@pytest.mark.parametrize("header", [ImageHeader("TIFF", 3, 4, "I;16B"), "broken JPEG: caf\u00e9\n\u2028 end", ""])
def test_a_stored_header_is_one_line_of_ascii_text(header):
    text = header_text(header)
    assert text.isascii() and len(text.splitlines()) == 1
    read = parse_header(text)
    assert read == header if isinstance(header, ImageHeader) else isinstance(read, str)


@pytest.mark.parametrize("text", ["", "PNG 1 x RGB", "PNG 1 1"])
def test_a_damaged_header_is_refused(text):
    with pytest.raises(ValueError, match="values to unpack|invalid literal"):
        parse_header(text)
