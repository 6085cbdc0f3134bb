"""The names of EnCodec weights: round trips between dialects, and every checkpoint that must be refused."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from encodec_dialects import ENCODEC, HUGGINGFACE, Dialect, from_encodec
from torch import Tensor

from audiolm_cli.codec.dialects import check_layout, detect_names, read_settings, to_encodec, unwrap_package
from audiolm_cli.codec.encodec import EncodecCodec, EncodecConfig
from audiolm_cli.errors import ModelError

TINY = EncodecConfig(num_filters=4, dimension=8, codebook_size=16)
NORMED = [
    Dialect(names, parametrized)  # type: ignore[arg-type]
    for names, parametrized in itertools.product(("huggingface", "encodec"), (False, True))
]

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    return EncodecCodec.untrained(TINY).state()


def shapes(state: State) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def published(name: str) -> State:
    """Names and shapes of a network of the encodec package itself, without storage."""
    from encodec.model import EncodecModel

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network = getattr(EncodecModel, name)(pretrained=False)
    return dict(network.state_dict())


@pytest.mark.parametrize("dialect", NORMED, ids=str)
def test_a_round_trip_through_a_dialect_keeps_every_tensor(state: State, dialect: Dialect) -> None:
    there = from_encodec(state, dialect)
    assert detect_names(there) == dialect.names
    back = to_encodec(there)
    assert list(back) == list(state)
    assert all(back[key] is state[key] for key in state)


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(NORMED, 2)), ids=str)
def test_translating_by_way_of_another_dialect_changes_nothing(state: State, one: Dialect, other: Dialect) -> None:
    direct = from_encodec(state, other)
    detour = from_encodec(to_encodec(from_encodec(state, one)), other)
    assert list(detour) == list(direct)
    assert all(torch.equal(detour[key], direct[key]) for key in direct)


@pytest.mark.parametrize(
    "config",
    [
        EncodecConfig(num_filters=4, dimension=8, codebook_size=16, ratios=(5, 2)),
        EncodecConfig(num_filters=4, dimension=8, codebook_size=16, ratios=(4, 2), num_residual_layers=3),
        EncodecConfig(num_filters=4, dimension=8, codebook_size=16, ratios=(4,), num_lstm_layers=1, num_codebooks=12),
    ],
    ids=["two stages", "three residual layers", "one stage, twelve codebooks"],
)
def test_other_depths_keep_their_transposed_convolutions(config: EncodecConfig) -> None:
    state = EncodecCodec.untrained(config).state()
    assert any(".convtr." in key for key in state)
    assert list(to_encodec(from_encodec(state, HUGGINGFACE))) == list(state)


@pytest.mark.parametrize("name", ["encodec_model_24khz", "encodec_model_48khz"])
def test_the_rules_cover_shortcuts_and_group_norm(name: str) -> None:
    state = published(name)
    assert list(to_encodec(from_encodec(state, HUGGINGFACE))) == list(state)


def test_huggingface_names_are_those_of_the_published_file() -> None:
    """A sample of each kind of key of facebook/encodec_32khz, against the names of the encodec package."""
    pairs = {
        "encoder.layers.0.conv.weight_g": "encoder.model.0.conv.conv.weight_g",
        "encoder.layers.12.conv.bias": "encoder.model.12.conv.conv.bias",
        "encoder.layers.10.block.3.conv.weight_v": "encoder.model.10.block.3.conv.conv.weight_v",
        "encoder.layers.13.lstm.weight_hh_l1": "encoder.model.13.lstm.weight_hh_l1",
        "decoder.layers.0.conv.weight_v": "decoder.model.0.conv.conv.weight_v",
        "decoder.layers.3.conv.weight_g": "decoder.model.3.convtr.convtr.weight_g",
        "decoder.layers.12.conv.bias": "decoder.model.12.convtr.convtr.bias",
        "decoder.layers.13.block.1.conv.bias": "decoder.model.13.block.1.conv.conv.bias",
        "decoder.layers.15.conv.weight_v": "decoder.model.15.conv.conv.weight_v",
        "quantizer.layers.3.codebook.embed": "quantizer.vq.layers.3._codebook.embed",
        "quantizer.layers.3.codebook.embed_avg": "quantizer.vq.layers.3._codebook.embed_avg",
    }
    translated = from_encodec(dict.fromkeys(pairs.values(), torch.zeros(1)), HUGGINGFACE)
    assert list(translated) == list(pairs)


@pytest.mark.parametrize("dialect", [HUGGINGFACE, ENCODEC], ids=["huggingface", "encodec"])
@pytest.mark.parametrize(
    "extra",
    [
        "decoder.layers.3.conv.weight_g.copy",
        "xdecoder.model.0.conv.conv.bias",
        "quantizer.vq.layers.0.project_in.weight",
    ],
)
def test_a_key_outside_the_rules_is_named(state: State, dialect: Dialect, extra: str) -> None:
    if dialect == ENCODEC:
        extra = extra.replace("layers.3.conv", "model.3.conv.conv")
    else:
        extra = extra.replace("vq.layers.0", "layers.0").replace("xdecoder.model", "xdecoder.layers")
    with pytest.raises(ModelError, match=extra.replace(".", r"\.")):
        to_encodec({**from_encodec(state, dialect), extra: torch.zeros(1)})


def test_mixed_names_and_mixed_leaves_are_refused(state: State) -> None:
    with pytest.raises(ModelError, match="mixes two naming schemes"):
        detect_names({**state, **from_encodec(state, HUGGINGFACE)})
    with pytest.raises(ModelError, match="spells weight norm in two ways"):
        detect_names({**state, **from_encodec(state, Dialect("encodec", parametrized=True))})


@pytest.mark.parametrize(("other", "message"), [({}, "it is empty"), ({"lm.emb.0": torch.zeros(1)}, "lm.emb.0")])
def test_another_kind_of_model_is_refused(other: State, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        detect_names(other)


def test_check_layout_accepts_its_own_state(state: State) -> None:
    check_layout(state, shapes(state))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("encoder.model.0.conv.conv.bias"), r"lacks encoder\.model\.0\.conv\.conv\.bias"),
        (lambda s: s.update({"encoder.model.99.lstm.bias_ih_l0": torch.zeros(1)}), r"has encoder\.model\.99\.lstm"),
        (
            lambda s: s.update({"decoder.model.0.conv.conv.bias": torch.zeros(3)}),
            r"decoder\.model\.0\.conv\.conv\.bias \(is 3, expected 64\)",
        ),
        (lambda s: s["encoder.model.0.conv.conv.bias"].fill_(float("nan")), "bias of the .* holds NaN"),
        (lambda s: s.update({"encoder.model.0.conv.conv.bias": torch.zeros(4, dtype=torch.int8)}), "is torch.int8"),
        (lambda s: s["quantizer.vq.layers.2._codebook.inited"].zero_(), r"never trained \(quantizer\.vq\.layers\.2"),
    ],
    ids=["missing", "unexpected", "wrong shape", "not finite", "not a float", "not initialised"],
)
def test_check_layout_names_the_tensor_at_fault(state: State, change: object, message: str) -> None:
    damaged = {key: tensor.clone() for key, tensor in state.items()}
    change(damaged)  # type: ignore[operator]
    with pytest.raises(ModelError, match=message):
        check_layout(damaged, shapes(state))


def test_a_long_list_of_faults_is_cut(state: State) -> None:
    with pytest.raises(ModelError, match=r"and \d+ more"):
        check_layout({key: state[key] for key in state if ".block." not in key}, shapes(state))


def test_the_withdrawn_upload_with_shortcuts_is_refused_by_name(state: State) -> None:
    wrong = EncodecCodec.untrained(EncodecConfig(num_filters=4, dimension=8, codebook_size=16, true_skip=False)).state()
    with pytest.raises(ModelError, match="withdrawn first upload"):
        check_layout(to_encodec(from_encodec(wrong, HUGGINGFACE)), shapes(state))


@pytest.mark.parametrize("dialect", [HUGGINGFACE, ENCODEC], ids=["huggingface", "encodec"])
@pytest.mark.parametrize(
    ("name", "message"),
    [("encodec_model_24khz", "the 24 kHz EnCodec"), ("encodec_model_48khz", "the 48 kHz stereo EnCodec")],
)
def test_other_published_models_are_refused_by_name(state: State, name: str, message: str, dialect: Dialect) -> None:
    other = from_encodec(published(name), dialect)
    with pytest.raises(ModelError, match=message):
        check_layout(to_encodec(other), shapes(state))


def test_folded_weights_are_refused_by_name(state: State) -> None:
    folded = {key.replace("weight_v", "weight"): state[key] for key in state if not key.endswith("weight_g")}
    with pytest.raises(ModelError, match="are folded"):
        check_layout(to_encodec(from_encodec(folded, HUGGINGFACE)), shapes(state))


def test_a_package_gives_its_state_and_settings(state: State) -> None:
    package = {"best_state": state, "xp.cfg": "seanet:\n  pad_mode: constant\n", "version": "1.0", "exported": True}
    tensors, settings = unwrap_package(package)
    assert tensors == state
    assert read_settings(settings) == {"pad_mode": "constant"}
    assert unwrap_package(state) == (state, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"pretrained": "facebook/encodec_32khz", "exported": True, "version": "1.4"},
            "points to 'facebook/encodec_32khz'",
        ),
        ([1, 2], "holds a list"),
        ({"best_state": [1]}, "'best_state' of this package holds a list"),
        ({"best_state": {"model": {}}}, "entry 'model' is a dict"),
        ({"epoch": 3}, "entry 'epoch' is a int"),
    ],
    ids=["pointer", "list", "list inside", "training checkpoint", "numbers"],
)
def test_a_file_without_weights_is_refused(content: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        unwrap_package(content)


def test_settings_that_refer_to_others_are_left_out() -> None:
    text = "sample_rate: 32000\nencodec: {causal: false, renormalize: '${x}'}\nseanet: {pad_mode: '${pad}'}\n"
    assert read_settings(text) == {"sample_rate_hz": 32000, "causal": False}
    assert read_settings(None) == read_settings("just text") == read_settings("seanet: null") == {}


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.system ['true']"], ids=["broken", "code"])
def test_unreadable_settings_are_refused_and_never_run(text: str) -> None:
    with pytest.raises(ModelError, match=r"xp\.cfg"):
        read_settings(text)
