"""Publication: writes the tables, the pictures and the card of decided facts into an output folder.

Owns the order of these steps. The steps themselves are in augmentation and publishing, which do not import each other.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from diffcore_hf import __version__
from diffcore_hf.augmentation.export import dataset_info, manifest, with_images, write_tables
from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.summary import Summary, summarise
from diffcore_hf.core import leftovers, signals
from diffcore_hf.core.errors import UserError, innermost_cause
from diffcore_hf.core.export_swap import new_staging, replace_export
from diffcore_hf.core.folder import Folder, manifest_bytes
from diffcore_hf.publishing.card import worth
from diffcore_hf.publishing.card.dataset_card import CardFacts, configs_in_order, render_card
from diffcore_hf.publishing.card.recorded import card_facts
from diffcore_hf.publishing.card.text import merge_free_sections
from diffcore_hf.workflows import pictures
from diffcore_hf.workflows.closest_pairs import closest_pairs
from diffcore_hf.workflows.decided_again import recorded_captions
from diffcore_hf.workflows.describe import described_tables
from diffcore_hf.workflows.signing import remove_old_signatures


def publish(material: Material, folder: Folder, layout: str = "columns") -> Summary:
    """Write tables, pictures and card into a staging folder, then replace the old export.

    The manifest is written last. The caller holds the lock of the export (core/export_swap.py).
    """
    with folder.reported_if_gone():
        folder.check_present()
        staging = new_staging(folder)
        try:
            with with_images(material, folder.private) as complete:
                return _publish(complete, folder, layout, summarise(complete), staging)
        finally:
            leftovers.remove(staging)


def _publish(material: Material, folder: Folder, layout: str, summary: Summary, staging: Path) -> Summary:
    shards, files = write_tables(material, staging, layout)
    assets = staging / "assets"
    assets.mkdir()
    (assets / "contact_sheet.png").write_bytes(pictures.contact_sheet(material))
    (assets / "similarity.png").write_bytes(pictures.histogram(material))
    for name, picture in closest_pairs(material).items():
        (assets / name).write_bytes(picture)
    source, resolution = material.source, material.run.resolution
    content = manifest(
        shards,
        files,
        assets,
        resolution.scope_fields("attempt", "decision"),
        layout=layout,
        originals=material.recipe.include_originals,
        attempt_digest=resolution.attempt_digest,
        recipe_digest=resolution.recipe_digest,
        resolved={
            "source": {"path": source.name, "identity": source.identity, "licence": source.licence},
            "model": dict(resolution.model),
            "filter": dict(resolution.filter),
        },
        counts=summary.counts,
        source_report=material.run.source_report.counts(),
        stages=dict(resolution.stages),
        version=__version__,
        captions=recorded_captions(material),
    )
    content["card"] = pictures.recorded_card(material, summary, described_tables(staging, content))
    # The card is rendered from the stored content, as `verify` does, so the order of its keys has no effect.
    stored = json.loads(manifest_bytes(content))
    comparison = worth.read_comparison(folder.path, stored["hash"])
    info = dataset_info(
        lambda path: pq.read_schema(staging / path), dict(configs_in_order(stored["configs"])), stored["files"]
    )
    facts = card_facts(stored, comparison, info)
    (staging / "README.md").write_text(_card(facts, folder), encoding="utf-8")
    with signals.protected():
        is_changed = folder.manifest() != stored
        replace_export(folder, staging, content)
        # This step follows the exchange. If the exchange fails, the old export keeps its signature.
        if is_changed:
            remove_old_signatures(folder.path)
    return summary


def _card(facts: CardFacts, folder: Folder) -> str:
    """Return the text of the card. Sections that a person added to the card in the folder are kept."""
    old = folder.path / "README.md"
    try:
        text = old.read_text(encoding="utf-8") if old.is_file() else None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{old} is not UTF-8 text ({innermost_cause(error)}). Correct or delete it, and run the same command again"
        ) from error
    return merge_free_sections(render_card(facts), text)
