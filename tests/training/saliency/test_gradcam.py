"""Tests of Grad-CAM: values that are known, networks of four families, and the state of the network."""

import copy

import pytest
import timm
import torch
from mixing import CLASSES, SIDE, SmallNetwork, small_network, timm_network
from torch import nn
from torch.nn import functional

from diffcore_hf.core.errors import UserError
from diffcore_hf.training.saliency.gradcam import gradcam, layer_gradients, weighted_map
from diffcore_hf.training.saliency.map_layers import MapLayer, find_layer

SHAPE = (3, SIDE, SIDE)


def images(count=3):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def classes(count=3):
    return torch.arange(count) % CLASSES


def test_the_equations_on_two_channels():
    features = torch.tensor([[[[1.0, 2.0], [0.0, 1.0]], [[1.0, 0.0], [3.0, 1.0]]]])
    gradients = torch.tensor([[[[4.0, 0.0], [0.0, 0.0]], [[-0.5, -0.5], [-0.5, -0.5]]]])
    # The weights are 1 and -0.5, so the map is A_1 - A_2 / 2, and its negative value becomes 0.
    assert weighted_map(features, gradients).tolist() == [[[0.5, 2.0], [0.0, 0.5]]]


def test_with_a_linear_head_behind_global_pooling_the_map_is_the_class_activation_map():
    network = small_network().eval()
    features = network.forward_features(images())
    weight = network.get_classifier().weight[classes()]
    positions = features.shape[2] * features.shape[3]
    expected = torch.einsum("bchw,bc->bhw", features, weight).relu() / positions
    expected = functional.interpolate(expected[:, None], SHAPE[1:], mode="bilinear", align_corners=False)[:, 0]
    maps = gradcam(network, images(), classes())
    assert maps.shape == (3, SIDE, SIDE)
    assert maps.dtype == torch.float32
    assert expected.max() > 0
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("resnet", "layer2"),  # the maps of later stages are coarser than 4 x 4 at this size
        ("convnext", "stages.1"),
        ("preact", "stages.3"),
        ("vit", "blocks.2.norm1"),
        ("swin", "layers.1"),
    ],
)
def test_the_layer_and_the_map_of_each_family(kind, name):
    network = timm_network(kind)
    layer = find_layer(network, SHAPE)
    assert layer.name == name
    assert layer.is_fine
    maps = gradcam(network, images(), classes(), layer=layer)
    assert maps.shape == (3, SIDE, SIDE)
    assert maps.min() >= 0 and torch.isfinite(maps).all() and maps.max() > 0


@pytest.mark.parametrize("kind", ["resnet", "convnext", "vit", "swin"])
def test_maps_do_not_depend_on_the_batch_and_follow_the_image(kind):
    network = timm_network(kind)
    layer = find_layer(network, SHAPE)
    together = gradcam(network, images(), classes(), layer=layer)
    alone = gradcam(network, images()[1:2], classes()[1:2], layer=layer)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["resnet", "convnext", "vit", "swin"])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_network_stays_as_it_is(kind, frozen):
    network = timm_network(kind)
    network.requires_grad_(not frozen)
    network.train()
    list(network.modules())[-1].eval()
    flags = [module.training for module in network.modules()]
    state = copy.deepcopy(network.state_dict())
    random_state = torch.get_rng_state()
    with torch.inference_mode():
        maps = gradcam(network, images().clone(), classes())
    assert maps.max() > 0
    assert [module.training for module in network.modules()] == flags
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad != frozen for parameter in network.parameters())
    assert all(not module._forward_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("tokens", [0, 1, 5], ids=["no token", "class token", "registers"])
def test_prefix_tokens_of_a_vit_are_not_part_of_the_map(tokens):
    network = timm.models.VisionTransformer(
        img_size=SIDE,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=3,
        num_classes=CLASSES,
        class_token=tokens > 0,
        reg_tokens=max(tokens - 1, 0),
        global_pool="token" if tokens else "avg",
    )
    layer = find_layer(network, SHAPE)
    assert layer == MapLayer("blocks.1.norm1", 4, 4, tokens, tokens=True)
    output = torch.arange(tokens + 16).float().reshape(1, -1, 1)
    assert layer.as_map(output)[0, 0].flatten().tolist() == list(range(tokens, tokens + 16))


def test_an_image_of_another_shape_has_its_rows_and_columns():
    network = timm.models.VisionTransformer(
        img_size=(32, 64), patch_size=8, embed_dim=24, depth=1, num_heads=3, num_classes=CLASSES
    )
    layer = find_layer(network, (3, 32, 64))
    assert (layer.rows, layer.columns) == (4, 8)


def test_the_last_layer_is_used_if_every_map_is_coarse():
    network = timm.create_model("test_resnet", num_classes=CLASSES)
    layer = find_layer(network, (3, 8, 8))
    assert (layer.name, layer.is_fine) == ("layer4", False)


def test_features_do_not_change_if_the_next_layer_works_in_place():
    convolution = nn.Conv2d(3, 4, 3)
    network = SmallNetwork(convolution, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    features, _, _ = layer_gradients(network, images(), classes(), MapLayer("0", 30, 30))
    assert (features < 0).any()
    torch.testing.assert_close(features, convolution(images()))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("layer9", "layer is 'layer9', which is not a module of this network. Its last stages are layer"),
        ("fc", "layer is 'fc', whose output is not a map that changes the logits. Leave --layer out"),
    ],
)
def test_a_layer_without_a_map_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        find_layer(timm_network("resnet"), SHAPE, name)


def test_a_network_without_a_map_is_refused():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES))
    with pytest.raises(UserError, match="no stage of this network returns a map"):
        find_layer(network, SHAPE)


def test_torchcam_computes_the_same_maps():
    methods = pytest.importorskip("torchcam.methods")
    network = timm_network("resnet").eval()
    layer = find_layer(network, SHAPE)
    features, gradients, _ = layer_gradients(network, images(), classes(), layer)
    with methods.GradCAM(network, target_layer=layer.name) as extractor:
        for index in range(3):
            scores = network(images()[index : index + 1])
            [theirs] = extractor(int(classes()[index]), scores, normalized=False)
            torch.testing.assert_close(weighted_map(features, gradients)[index], theirs[0], rtol=1e-4, atol=1e-6)
