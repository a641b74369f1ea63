"""Tests of the rules for recipes: each error is one line that names the key, the value and a remedy."""

import dataclasses
import re
import shlex

import pytest

from diffcore_hf.commands.parser import parse_command
from diffcore_hf.config.augment import AdapterConfig, Recipe, SchedulerConfig
from diffcore_hf.config.augment_schema import build_recipe
from diffcore_hf.config.digests import scopes
from diffcore_hf.config.fields import SCOPES, leaves
from diffcore_hf.config.policy import POLICY_PARAMETERS, PolicyConfig, policy_parameters
from diffcore_hf.core.errors import UserError


def build(**sections):
    return build_recipe({"source": "org/name", **sections})


def policy(**parameters):
    return {"filter": {"policy": parameters}}


def test_every_field_has_a_scope():
    marked = scopes(Recipe)
    assert {key: scope for key, scope in marked.items() if scope not in SCOPES} == {}
    assert {"source.path", "filter.policy.alpha", "columns.prefix", "model.adapters"} <= set(marked)
    # Optional sections and lists of sections are one key, and all their fields have the scope of that key.
    for cls, key in ((SchedulerConfig, "model.scheduler"), (AdapterConfig, "model.adapters")):
        assert set(scopes(cls).values()) == {marked[key]}


def test_a_field_without_a_scope_has_the_scope_none():
    cls = dataclasses.make_dataclass("Section", [("a", int, dataclasses.field(default=1))])
    assert scopes(cls) == {"a": None}


def test_only_the_source_is_required():
    recipe = build_recipe({"source": {"path": "org/name"}})
    assert recipe == Recipe(source=recipe.source)
    assert recipe.filter.policy == PolicyConfig()


def test_a_text_in_place_of_a_section_is_its_path_or_name():
    recipe = build_recipe(
        {
            "source": "org/data",
            "model": {
                "path": "org/model",
                "scheduler": "DDIMScheduler",
                "adapters": ["org/lora", {"path": "b", "scale": 1}],
            },
            "filter": {"path": "org/clip", "policy": "mean"},
        }
    )
    assert (recipe.source.path, recipe.model.path, recipe.filter.path) == ("org/data", "org/model", "org/clip")
    assert recipe.model.scheduler == SchedulerConfig("DDIMScheduler")
    assert recipe.model.adapters == (AdapterConfig("org/lora"), AdapterConfig("b", scale=1.0))
    assert recipe.filter.policy == PolicyConfig("mean")
    assert build(model="org/model").model.path == "org/model"
    assert build(filter="org/clip").filter.path == "org/clip"


def test_values_are_converted_to_their_declared_types():
    recipe = build(
        fraction=1,
        model={"gamma": 3},
        prompts={"contexts": ["", "in fog"]},
        source={"path": "a", "label_names": {0: "cat"}},
    )
    assert isinstance(recipe.fraction, float)
    assert isinstance(recipe.model.gamma, float)
    assert recipe.prompts.contexts == ("", "in fog")
    assert recipe.source.label_names == {"0": "cat"}


WRONG = [
    # keys
    ({"fraktion": 1}, "fraktion is not a key of a recipe; did you mean fraction?"),
    ({"gamma": 3}, "gamma is not a key of a recipe; did you mean model.gamma?"),
    ({"model": {"gama": 3}}, "model.gama is not a key of a recipe; did you mean model.gamma?"),
    ({"filter": {"policy": {"nmae": "all"}}}, "policy.nmae is not a key of a recipe; did you mean filter.policy.name?"),
    # types
    (policy(alpha="high"), "filter.policy.alpha is 'high', not a number in (0, 1). Use e.g. 0.1"),
    ({"copies": True}, "copies is true, not an integer of at least 1. Use e.g. 1"),
    ({"copies": 1.5}, "copies is 1.5, not an integer of at least 1"),
    ({"seed": None}, "seed is null, not an integer. Use e.g. 0"),
    ({"seed": 2**70}, f"seed is {2**70}, not an integer"),
    ({"strict": "yes"}, "strict is 'yes', not true or false. Use e.g. false"),
    ({"strict": 1}, "strict is 1, not true or false"),
    ({"model": {"revision": 1234567}}, "model.revision is 1234567, not a text or null. Quote it: '1234567'"),
    ({"model": {"dtype": "float61"}}, "is 'float61', not auto, float32, bfloat16 or float16; did you mean float16?"),
    ({"image_format": "gif"}, "image_format is 'gif', not jpeg, png or webp. Use e.g. jpeg"),
    ({"image_format": 3}, "image_format is 3, not jpeg, png or webp"),
    ({"model": None}, "model is null, not a section of keys"),
    ({"prompts": ["a"]}, "prompts is ['a'], not a section of keys"),
    ({"prompts": {"contexts": "in fog"}}, "prompts.contexts is 'in fog', not a list or null"),
    ({"prompts": {"contexts": ["in fog", 3]}}, "prompts.contexts[1] is 3, not a text. Quote it: '3'"),
    ({"prompts": {"label_descriptions": {"crane": 3}}}, "prompts.label_descriptions.crane is 3, not a text"),
    ({"source": {"path": "a", "label_names": "cleen"}}, "source.label_names is 'cleen', not clean, raw or a map"),
    ({"source": {"path": "a", "label_names": {True: "x"}}}, "source.label_names has the key True, which is not a text"),
    ({"source": {"path": "a", "label_names": {0: "x", "0": "y"}}}, "source.label_names has the key '0' twice"),
    ({"model": {"scheduler": {"options": {}}}}, "model.scheduler.name is missing"),
    ({"model": {"scheduler": {"name": "X", "options": {"a": {}}}}}, "model.scheduler.options.a is {}, not a number"),
    ({"model": {"adapters": ["x", {"scale": 1}]}}, "model.adapters[1].path is missing. Use e.g. path: VALUE"),
    ({"model": {"adapters": [{"path": "x", "scale": "1"}]}}, "model.adapters[0].scale is '1', not a number"),
    ({"source": {}}, "source.path is missing. Use e.g. --source.path ./photos"),
    # ranges
    ({"source": ""}, "source.path is '', not a Hub id or a folder"),
    ({"source": {"path": "a", "holdout": 1}}, "source.holdout is 1.0, not a number in [0, 1). Use e.g. 0.1"),
    ({"source": {"path": "a", "holdout": -0.1}}, "source.holdout is -0.1"),
    ({"fraction": 0}, "fraction is 0.0, not a number in (0, 1]. Use e.g. 0.5"),
    ({"fraction": 1.01}, "fraction is 1.01, not a number in (0, 1]"),
    ({"fraction": float("nan")}, "fraction is nan, not a number in (0, 1]"),
    ({"copies": 0}, "copies is 0, not an integer of at least 1"),
    ({"max_attempts": 0}, "max_attempts is 0, not an integer of at least 1. Use e.g. 3"),
    ({"limit": 0}, "limit is 0, not an integer of at least 1, or null"),
    ({"batch_size": -4}, "batch_size is -4, not an integer of at least 1, or null"),
    ({"part_size": 0}, "part_size is 0, not an integer of at least 1, or null"),
    ({"max_faulty": 0}, "max_faulty is 0.0, not a number in (0, 1], or null"),
    ({"store_size": 0}, "store_size is 0, not an integer of at least 1, or null. Use e.g. 512"),
    ({"model": {"steps": 0}}, "model.steps is 0, not an integer of at least 1. Use e.g. 30"),
    ({"model": {"size": 500}}, "model.size is 500, not a positive multiple of 8, or null. Use e.g. 512"),
    ({"model": {"size": 0}}, "model.size is 0, not a positive multiple of 8"),
    ({"model": {"gamma": float("inf")}}, "model.gamma is inf, not a number of at least 0"),
    ({"filter": {"references": 1}}, "filter.references is 1, not an integer of at least 2. Use e.g. 200"),
    (policy(alpha=0), "filter.policy.alpha is 0.0, not a number in (0, 1)"),
    (policy(alpha=1), "filter.policy.alpha is 1.0, not a number in (0, 1)"),
    (policy(name="random", p=1.1), "filter.policy.p is 1.1, not a number in [0, 1]"),
    (policy(name="fixed", t=-1.1), "filter.policy.t is -1.1, not a number in [-1, 1]"),
    (policy(name="mean", pairs=0), "filter.policy.pairs is 0, not an integer of at least 1, or null for all pairs"),
    # between fields
    (policy(name="fixed"), "filter.policy.t is missing: policy fixed needs a bound. Use e.g. --filter.policy.t 0.7"),
    (
        policy(name="mean", alpha=0.1),
        "filter.policy.alpha is 0.1, which policy mean does not use (it uses pairs). Leave it out, or set "
        "filter.policy.name quantile or rank",
    ),
    (policy(name="all", p=0.5), "filter.policy.p is 0.5, which policy all does not use (it uses nothing)"),
    (policy(name="quantile", by="text"), "filter.policy.by is 'text', which policy quantile does not use"),
    ({"kind": "birds"}, "did you mean bird?"),
    ({"kind": "spaceship"}, "kind is 'spaceship', not one of bird, pet, insect, car"),
    ({"model": {"gamma": 0}}, "model.gamma is 0, at which the negative prompts (those of kind general) are ignored. "
     "Set prompts.negatives [] or a gamma above 0"),
    ({"model": {"gamma": 0}, "prompts": {"negatives": ["blurry"]}}, "(1 given) are ignored"),
    ({"model": {"gamma": -0.5}, "prompts": {"negatives": []}}, "model.gamma is -0.5, not a number of at least 0"),
    ({"prompts": {"template": "a bird"}}, "prompts.template is 'a bird', which has no {label}. Use caption, paper or"),
    ({"prompts": {"template": "a {label"}}, "has braces that do not pair"),
    ({"prompts": {"template": "a {label!r}"}}, "the placeholder {label!r}, which is not a plain name"),
    ({"prompts": {"template": "a {label:>9}"}}, "the placeholder {label:>9}, which is not a plain name"),
    ({"prompts": {"template": "a {label} {}"}}, "the placeholder {}, which is not a plain name"),
    ({"prompts": {"template": "a {label:{kind}}"}}, "not a plain name"),
    (
        {"prompts": {"contexts": []}},
        'prompts.contexts is an empty list. Use [""] for no context, or null for the contexts of the kind',
    ),
    ({"prompts": {"contexts": ["in {place}"]}}, "contexts has 'in {place}' with the unknown placeholder {place}"),
    ({"prompts": {"contexts": ["in {"]}}, "prompts.contexts: 'in {' has braces that do not pair"),
    ({"prompts": {"contexts": ["in fog", "in fog"]}}, "prompts.contexts has 'in fog' twice"),
    ({"prompts": {"negatives": ["blurry", "blurry"]}}, "prompts.negatives has 'blurry' twice"),
    ({"prompts": {"negatives": [" "]}}, "prompts.negatives has an empty term"),
    ({"strict": True, "batch_size": 8}, "batch_size is 8, but strict pads every batch to 16"),
    ({"preset": "papr"}, "preset is 'papr', not paper, real-guidance, diff-mix, diffusemix, da-fusion or null"),
    ({"preset": ["paper"]}, "preset is ['paper'], not paper, real-guidance, diff-mix, diffusemix, da-fusion or null"),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "message"), WRONG)
def test_a_wrong_value_raises_a_one_line_error_with_a_remedy(layer, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        build(**layer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "layer",
    [
        {"strict": True, "batch_size": 16},
        {"model": {"gamma": 0}, "prompts": {"negatives": []}},
        {"prompts": {"template": "{scene type}: {label}, {context} {{x}}", "contexts": ["near {label}"]}},
        {"model": {"scheduler": {"name": "X", "options": {"a": 1, "b": None, "c": [0.5, "x"], "d": True}}}},
        {"source": {"path": "a", "label_names": "raw", "holdout": 0.0}},
        {"limit": None, "store_size": None, "seed": -1},
    ],
)
def test_valid_values_are_accepted(layer):
    build(**layer)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (PolicyConfig("all"), {}),
        (PolicyConfig("random"), {"p": 0.5}),
        (PolicyConfig("mean", pairs=7), {"pairs": 7}),
        (PolicyConfig("mean"), {"pairs": None}),
        (PolicyConfig("fixed", t=0.0), {"t": 0.0}),
        (PolicyConfig("quantile"), {"alpha": 0.1}),
        (PolicyConfig("rank"), {"by": "context_free", "alpha": 0.1, "floor": "auto"}),
        (PolicyConfig("rank", by="text", floor="off"), {"by": "text", "alpha": 0.1, "floor": "off"}),
    ],
)
def test_only_parameters_that_the_policy_uses_are_accepted(given, used):
    assert policy_parameters(given) == used


def test_the_table_has_every_policy_and_parameter():
    names = {field.name for field in dataclasses.fields(PolicyConfig)} - {"name"}
    assert set().union(*POLICY_PARAMETERS.values()) == names
    assert set(leaves(PolicyConfig)["name"][1].__args__) == set(POLICY_PARAMETERS)


@pytest.mark.parametrize("kind", ["medical", "X-ray", "histology"])
def test_medical_kinds_are_refused_with_a_remedy_that_works(kind):
    with pytest.raises(UserError, match="no context fits medical images") as error:
        build_recipe({"source": "photos", "kind": kind})
    assert "--kind general --prompts.contexts '[\"\"]'" in str(error.value)
    line = shlex.split(str(error.value).partition("Use ")[2].partition(", and")[0])
    command = parse_command(["augment", "photos", *line])
    assert build_recipe({"source": "photos"}, command.layer).prompts.contexts == ("",)


def test_preset_diff_mix_has_the_values_of_its_source_and_the_card_names_it():
    from diffcore_hf.config.strategy_presets import STRATEGY_PRESETS, method_of

    recipe = build_recipe({"source": {"path": "a"}, "preset": "diff-mix"})
    strategy = recipe.strategy
    assert (strategy.name, strategy.targets, strategy.gamma_label) == ("inter_class", "any", 0.8)
    assert strategy.options == {"strength": 0.7}
    assert (recipe.copies, recipe.model.steps, recipe.model.gamma) == (5, 25, 6.5)
    assert recipe.model.scheduler.name == "DPMSolverMultistepScheduler"
    recorded = {
        "strategy": {"name": "inter_class", "targets": "any", "gamma_label": 0.8, "options": {"strength": 0.7}},
        "prompts": {"contexts": [""], "negatives": []},
        "model": {"gamma": 6.5},
    }
    assert method_of(recorded) is STRATEGY_PRESETS["diff-mix"]
    recorded["strategy"]["gamma_label"] = 0.5
    assert method_of(recorded) is None
