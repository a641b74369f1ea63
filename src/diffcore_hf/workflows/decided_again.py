"""Fits the filter of a published dataset again, from the embeddings that the dataset contains.

Owns two inputs of the fit. The references follow from the row ids, labels and hashes of the real images. The embeddings
of the captions of contexts are stored in diffcore.json.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffcore_hf.augmentation.material import Material
from diffcore_hf.augmentation.plan import drawing_order, held_out
from diffcore_hf.augmentation.source.identical import first_of_class
from diffcore_hf.config.policy import PolicyConfig, policy_parameters
from diffcore_hf.core.errors import UserError
from diffcore_hf.core.manifest import Manifest
from diffcore_hf.method import policies
from diffcore_hf.method.arrays import Embeddings, Ints
from diffcore_hf.method.policies import FittedPolicy
from diffcore_hf.method.references import ReferenceEmbeddings
from diffcore_hf.publishing.audit.classes import ClassTable
from diffcore_hf.publishing.audit.references import ReferenceTable

_TYPE = "<f2"
"""Stored numbers: float16, the lowest byte first."""


def recorded_captions(material: Material) -> dict[str, Any]:
    """Return the inputs of a policy that diffcore.json must record, because no table contains them.

    The result is {} if there are no such inputs.
    """
    policy, references = material.recipe.filter.policy, material.embeddings
    captions: dict[str, Any] = {}
    if policy_parameters(policy).get("by") == "context_free" and references.contexts is not None:
        content = references.contexts.astype(_TYPE).tobytes()
        captions["contexts"] = {"count": len(references.contexts), "float16": base64.b64encode(content).decode()}
    if policy.name == "text_softmax" and references.logit_scale is not None:
        captions["logit_scale"] = references.logit_scale
    return captions


def fitted_again(manifest: Manifest, table: ReferenceTable, classes: ClassTable, split: str) -> FittedPolicy | None:
    """Return the policy of a dataset, fitted to its references; None if an earlier version did not record all inputs.

    Args:
        manifest: content of diffcore.json.
        table: the real images.
        classes: the classes with the embeddings of their captions.
        split: the split of the source that has counterparts.

    Raises:
        ValueError: the recipe and the embeddings do not fit together.
    """
    if "captions" not in manifest:
        return None
    recipe, ids = manifest["recipe"], list(table.by_split.get(split, ()))
    rows = _drawn(recipe, table, ids)
    rows = rows[[ids[row] in table.embeddings for row in rows.tolist()]] if len(rows) else rows
    if not len(rows):
        return None
    chosen = [ids[row] for row in rows.tolist()]
    try:
        policy = PolicyConfig(**recipe["filter"]["policy"])
    except TypeError as error:
        raise UserError("the policy of the recipe is not valid") from error
    embeddings = np.stack([table.embeddings[row_id] for row_id in chosen])
    references = ReferenceEmbeddings(
        row_ids=chosen,
        labels=np.array([table.labels[row_id] for row_id in chosen], np.int64),
        embeddings=embeddings,
        classes=len(classes.rows),
        text=classes.text,
        contexts=_contexts(manifest["captions"], embeddings.shape[1]),
        logit_scale=manifest["captions"].get("logit_scale"),
    )
    return policies.fit(policy, references, recipe.get("seed", 0))


def _drawn(recipe: Mapping[str, Any], table: ReferenceTable, ids: list[str]) -> Ints:
    """Return the rows that a run with this recipe draws as references."""
    labels = np.array([table.labels[row_id] for row_id in ids], np.int64)
    seed = recipe.get("seed", 0)
    heldout = held_out(labels, ids, recipe["source"].get("holdout", 0.0), seed)
    eligible = (labels >= 0) & ~heldout
    candidates = np.flatnonzero(eligible & first_of_class([table.hashes[row_id] for row_id in ids], labels))
    if not len(candidates):
        return candidates
    order, position = drawing_order(labels[candidates], [ids[row] for row in candidates.tolist()], seed)
    return candidates[order[position[order] < recipe["filter"].get("references", len(ids))]]


def _contexts(captions: Mapping[str, Any], width: int) -> Embeddings | None:
    """Return the stored embeddings of the captions of contexts; None if there are none."""
    if "contexts" not in captions:
        return None
    try:
        content = base64.b64decode(captions["contexts"]["float16"], validate=True)
    except (binascii.Error, KeyError, TypeError) as error:
        raise UserError("the embeddings of contexts in diffcore.json are damaged") from error
    if len(content) != 2 * width * captions["contexts"].get("count", 0):
        raise UserError("the embeddings of contexts in diffcore.json have another length")
    return np.frombuffer(content, _TYPE).reshape(-1, width).astype(np.float16)
