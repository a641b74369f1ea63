"""TransMix: exact label weights, the networks that it accepts, and a training compared with a slow implementation."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from mixer_training import assert_trains_alike, forward_pass
from mixing import CLASSES, SIDE, batch, mixer, probabilities, timm_network

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.mixers.boxes import inside
from diffcore_hf.training.mixers.class_attention import find_class_attention
from diffcore_hf.training.mixers.transmix import attention_share


def transmix(**options):
    return mixer("transmix", network=timm_network("vit"), options={"switch": 1.0} | options)


def test_uniform_attention_and_a_box_on_the_grid_give_the_area():
    pasted = inside(torch.tensor([[8, 16, 16, 8]]), SIDE, SIDE)
    assert attention_share(torch.full((1, 16), 0.3), pasted, (4, 4)).item() == pytest.approx(2 / 16)


@pytest.mark.parametrize(("patch", "share"), [(6, 1.0), (0, 0.0)])
def test_the_attention_share_of_one_patch_is_1_inside_the_box_and_0_outside(patch, share):
    """The box covers the patches 6 and 10 of the 4 x 4 grid."""
    attention = torch.eye(16)[patch : patch + 1]
    assert attention_share(attention, inside(torch.tensor([[8, 16, 16, 8]]), SIDE, SIDE), (4, 4)).item() == share


def test_the_label_weight_is_the_mean_of_area_and_attention():
    """The partner's weight is (area + 1) / 2 if all attention is inside the box, and area / 2 if none is inside."""
    context = batch(CLASSES, model=timm_network("vit"))
    mixed = transmix()(context)
    area = 1 - probabilities(mixed).diagonal()
    changed = (mixed.images != context.images).any(1)
    centres = [tuple(pixels.float().mean(0).long()) for pixels in (mask.nonzero() for mask in changed)]
    inside_patch = torch.stack([torch.eye(16)[int(row) // 8 * 4 + int(column) // 8] for row, column in centres])
    weights = [1 - mixed.targets_after([attention]).diagonal() for attention in (inside_patch, 1 - inside_patch)]
    assert torch.allclose(area, changed.float().mean((1, 2)), atol=1e-6)
    large = area > 0.25  # a small box can lie between the pixels that represent the patches
    assert large.any() and torch.allclose(weights[0][large], (area[large] + 1) / 2, atol=1e-6)


def test_transmix_without_boxes_equals_mixup():
    context = batch(CLASSES, model=timm_network("vit"))
    mixed = transmix(switch=0.0)(context)
    assert torch.allclose(mixed.images, torch.einsum("ij,jchw->ichw", probabilities(mixed), context.images), atol=1e-5)
    assert torch.allclose(forward_pass(mixed, context.model)[1], mixed.targets, atol=1e-6)


def test_logits_are_those_of_the_fused_attention_and_the_network_is_restored():
    network = timm_network("vit").eval()
    context = batch(model=network)
    mixed = transmix()(context)
    with mixed.during() as recorded:
        logits = network(mixed.images)
    assert torch.allclose(logits, network(mixed.images), atol=1e-5) and len(recorded) == 1
    assert all(block.attn.fused_attn and not block.attn.attn_drop._forward_hooks for block in network.blocks)


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("deit_tiny_distilled_patch16_224", (4, 4)),
        ("vit_tiny_patch16_224", (4, 4)),
        ("cait_xxs24_224", (4, 4)),
        ("test_vit2", None),
        ("test_resnet", None),
        ("beit_base_patch16_224", None),
    ],
)
def test_networks_with_a_class_token_are_recognised(name, grid):
    arguments = {} if name == "test_resnet" else {"img_size": 64}
    if name == "beit_base_patch16_224":
        arguments |= {"depth": 1}
    found = find_class_attention(timm.create_model(name, num_classes=3, **arguments), (3, 64, 64))
    assert (found and found.grid) == grid


def test_a_network_without_a_class_token_is_refused_and_the_remedy_works():
    with pytest.raises(UserError, match="Use --mixer.name cutmix, or --model.name vit_small_patch16_224"):
        mixer("transmix", network=timm_network("swin"))
    small = timm.create_model("vit_small_patch16_224", num_classes=CLASSES, img_size=SIDE, depth=1)
    mixer("transmix", network=small)


def test_recomputed_attention_is_refused():
    network = timm_network("vit")
    network.set_grad_checkpointing()
    with pytest.raises(UserError, match="recomputes its attention"):
        mixer("transmix", network=network)


def slow_box(random):
    """Return the drawn box of one image as slices, after the draw that selects CutMix."""
    random.random()
    side, row, column = np.sqrt(1 - random.beta(1, 1)), random.random(), random.random()
    edges = [
        [int(np.clip(np.rint((centre + sign * side / 2) * SIDE), 0, SIDE)) for sign in (-1, 1)]
        for centre in (row, column)
    ]
    return tuple(slice(*edge) for edge in edges)


def test_50_training_steps_have_the_losses_of_a_slow_implementation():
    def slow(context):
        network, count = context.model, len(context.images)
        streams = context.streams()
        order = sorted(range(count), key=[stream.random() for stream in streams].__getitem__)
        partner = {order[place]: order[(place + 1) % count] for place in range(count)}
        images, boxes = context.images.clone(), []
        for i, stream in enumerate(streams):
            stream.random()
            rows, columns = slow_box(stream)
            images[i, :, rows, columns] = context.images[partner[i], :, rows, columns]
            boxes.append((rows, columns))
        tokens = network.norm_pre(network._pos_embed(network.patch_embed(images)))
        for block in network.blocks[:-1]:
            tokens = block(tokens)
        last = network.blocks[-1]
        heads = last.attn.num_heads
        loss = 0.0
        rows = network.forward_head(network.norm(last(tokens))).log_softmax(1)
        for i, (box_rows, box_columns) in enumerate(boxes):
            query, key, _ = last.attn.qkv(last.norm1(tokens[i])).detach().chunk(3, 1)
            attention = 0.0
            for q, k in zip(query.chunk(heads, 1), key.chunk(heads, 1), strict=True):
                attention = attention + (q[0] @ k.T / q.shape[1] ** 0.5).softmax(0)[1:] / heads
            mask = torch.zeros(SIDE, SIDE)
            mask[box_rows, box_columns] = 1
            inside_box = float((attention.reshape(4, 4) * mask[::8, ::8]).sum() / attention.sum())
            weight = (float(mask.mean()) + inside_box) / 2 if mask.any() else 0.0
            loss = loss - (1 - weight) * rows[i, context.targets[i]] - weight * rows[i, context.targets[partner[i]]]
        return loss / count

    assert_trains_alike(transmix(), slow, timm_network("vit"), rate=0.02)
