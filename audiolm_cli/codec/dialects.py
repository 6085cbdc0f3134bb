"""Names of EnCodec weights: the dialects published checkpoints are written in, and what cannot be loaded at all.

Three dialects hold the same tensors: Hugging Face transformers, the `encodec` package, and audiocraft (the names of
`encodec` inside a package with a `best_state`). Each may spell a weight-normalised weight `weight_g`/`weight_v` or
`parametrizations.weight.original0`/`original1`.

Pure functions over dictionaries of tensors. Knows nothing about files, and builds no network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from audiolm_cli.errors import ModelError

Names = Literal["huggingface", "encodec"]
"""Who named the modules: transformers (facebook/encodec_32khz: model.safetensors and pytorch_model.bin), or the
`encodec` package (and `best_state` of audiocraft's compression_state_dict.bin)."""

_RULES = (  # (Hugging Face, encodec); a hole in braces stands for the pattern of that name below
    ("encoder.layers.{n}.conv.{leaf}", "encoder.model.{n}.conv.conv.{leaf}"),
    ("decoder.layers.{same}.conv.{leaf}", "decoder.model.{same}.conv.conv.{leaf}"),
    ("decoder.layers.{up}.conv.{leaf}", "decoder.model.{up}.convtr.convtr.{leaf}"),
    ("{side}.layers.{n}.{branch}.conv.{leaf}", "{side}.model.{n}.{branch}.conv.conv.{leaf}"),
    ("{side}.layers.{n}.lstm.{gate}", "{side}.model.{n}.lstm.{gate}"),
    ("quantizer.layers.{n}.codebook.{buffer}", "quantizer.vq.layers.{n}._codebook.{buffer}"),
    # Group norm, in the 48 kHz model only.
    ("encoder.layers.{n}.norm.{affine}", "encoder.model.{n}.conv.norm.{affine}"),
    ("decoder.layers.{same}.norm.{affine}", "decoder.model.{same}.conv.norm.{affine}"),
    ("decoder.layers.{up}.norm.{affine}", "decoder.model.{up}.convtr.norm.{affine}"),
    ("{side}.layers.{n}.{branch}.norm.{affine}", "{side}.model.{n}.{branch}.conv.norm.{affine}"),
)
_HOLES = {
    "side": "encoder|decoder",
    "n": r"\d+",
    "same": r"\d+",
    "up": r"\d+",
    "branch": r"block\.\d+|shortcut",
    "leaf": r"weight_g|weight_v|weight|bias",
    "gate": r"(?:weight|bias)_(?:ih|hh)_l\d+",
    "buffer": "inited|cluster_size|embed|embed_avg",
    "affine": "weight|bias",
}
_PARAMETRIZED = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
_SETTINGS = {
    "pad_mode": "seanet/pad_mode",
    "sample_rate_hz": "sample_rate",
    "causal": "encodec/causal",
    "normalize": "encodec/renormalize",
}
_NAMED_AT_MOST = 3


def detect_names(state: Mapping[str, Any]) -> Names:
    """Who named the keys of `state`.

    Raises:
        ModelError: the keys are of no known dialect, or of several at once.
    """
    huggingface = [key for key in state if re.match(r"(encoder|decoder|quantizer)\.layers\.", key)]
    encodec = [key for key in state if re.match(r"(encoder|decoder)\.model\.|quantizer\.vq\.", key)]
    if huggingface and encodec:
        raise ModelError(
            f"This checkpoint mixes two naming schemes ({huggingface[0]!r} and {encodec[0]!r}); it is damaged."
        )

    if not huggingface and not encodec:
        example = next(iter(state), None)
        found = "it is empty" if example is None else f"its first key is {example!r}"
        raise ModelError(f"This is no EnCodec checkpoint: {found}, expected keys like 'encoder.…'.")

    # Weight norm may be spelled either way, but not in both.
    norms = [key for key in state if key.endswith(".weight_g")]
    parametrized = [key for key in state if key.endswith(".original0")]
    if norms and parametrized:
        raise ModelError(f"This checkpoint spells weight norm in two ways ({norms[0]!r} and {parametrized[0]!r}).")

    return "huggingface" if huggingface else "encodec"


def to_encodec(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of `encodec.model.EncodecModel`, from any dialect.

    Raises:
        ModelError: the dialect is not known, or a key fits no rule.
    """
    names = detect_names(state)
    old_leaves = {_old_leaf(key): tensor for key, tensor in state.items()}

    if names == "encodec":
        rules = _compile_rules([(encodec, encodec) for _, encodec in _RULES], _HOLES)
    else:
        rules = _compile_rules(_RULES, _huggingface_holes(old_leaves))

    return {_rename_key(key, rules): tensor for key, tensor in old_leaves.items()}


def unwrap_package(content: Any) -> tuple[dict[str, Tensor], str | None]:
    """The tensors of a loaded checkpoint file, and its settings (YAML text) where it carries any.

    Args:
        content: a flat dictionary of tensors, or an audiocraft package `{"best_state": ..., "xp.cfg": ...}`.

    Raises:
        ModelError: `content` holds no tensors: a pointer to another file, or something else altogether.
    """
    if not isinstance(content, Mapping):
        raise ModelError(f"This is no EnCodec checkpoint: it holds a {type(content).__name__}, expected a state dict.")
    if "pretrained" in content and "best_state" not in content:
        raise ModelError(f"This audiocraft package only points to {content['pretrained']!r} and holds no weights.")

    settings = content.get("xp.cfg")
    tensors = content.get("best_state", content)
    if not isinstance(tensors, Mapping):
        raise ModelError(f"'best_state' of this package holds a {type(tensors).__name__}, expected a state dict.")

    for key, value in tensors.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ModelError(
                f"This is no EnCodec checkpoint: entry {key!r} is a {type(value).__name__}, expected a tensor."
            )

    return dict(tensors), settings if isinstance(settings, str) else None


def read_settings(settings: str | None) -> dict[str, Any]:
    """What an audiocraft package says of itself and no tensor shows, under the names of `EncodecConfig`.

    Args:
        settings: the YAML text of its `xp.cfg`, or None.

    Returns:
        Any of `pad_mode`, `sample_rate_hz`, `causal`, `normalize`; values that refer to others ("${...}") are left out.

    Raises:
        ModelError: the text is no YAML.
    """
    import yaml

    try:
        values = yaml.safe_load(settings or "")
    except yaml.YAMLError as error:
        raise ModelError("The settings of this package (xp.cfg) cannot be read; it is damaged.") from error

    found: dict[str, Any] = {}
    for name, path in _SETTINGS.items():
        value = values
        for key in path.split("/"):
            value = value.get(key) if isinstance(value, dict) else None

        if isinstance(value, (int, str)) and not str(value).startswith("${"):
            found[name] = value
    return found


def check_layout(state: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]]) -> None:
    """Check names, shapes and values of `state` before anything is loaded from it.

    Args:
        state: tensors under the names of `encodec.model.EncodecModel`.
        expected: the shape of every tensor the network has, under the same names.

    Raises:
        ModelError: another model, or a tensor that is missing, unexpected, wrong-shaped, not a float or not finite.
    """
    _refuse_other_models(state, expected)
    _check_names_and_shapes(state, expected)

    for key, tensor in state.items():
        if not tensor.is_floating_point():
            raise ModelError(f"{key} of the EnCodec checkpoint is {tensor.dtype}, expected floats.")
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{key} of the EnCodec checkpoint holds NaN or infinity; it is damaged.")

    empty = [key for key, tensor in state.items() if key.endswith("._codebook.inited") and not bool(tensor.all())]
    if empty:
        raise ModelError(f"The codebooks of this checkpoint were never trained ({_list_some(empty)} is 0).")


def _check_names_and_shapes(state: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]]) -> None:
    """Refuse tensors that are missing, unexpected or of another shape."""
    missing = sorted(set(expected) - set(state))
    if missing:
        raise ModelError(f"The EnCodec checkpoint lacks {_list_some(missing)}; it is incomplete.")

    unexpected = sorted(set(state) - set(expected))
    if unexpected:
        raise ModelError(f"The EnCodec checkpoint has {_list_some(unexpected)}, which this model does not.")

    wrong = [
        f"{key} (is {_format_shape(state[key].shape)}, expected {_format_shape(shape)})"
        for key, shape in expected.items()
        if tuple(state[key].shape) != tuple(shape)
    ]
    if wrong:
        raise ModelError(f"The EnCodec checkpoint has tensors of another shape: {_list_some(wrong)}.")


def _refuse_other_models(state: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]]) -> None:
    """Name the models people confuse with the expected one, where a list of odd tensors would not tell them apart."""
    group_norms = [key for key in state if ".norm." in key and key not in expected]
    if group_norms:
        raise ModelError(
            f"This is the 48 kHz stereo EnCodec (group norm at {group_norms[0]!r}), which this codec is not."
        )

    # Convolutions where the model skips by identity: the 24 kHz model, or the upload that was withdrawn.
    books = [key for key in state if key.endswith("._codebook.embed")]
    shortcuts = [key for key in state if ".shortcut." in key and key not in expected]
    expected_books = [key for key in expected if key.endswith("._codebook.embed")]

    if shortcuts and len(books) > len(expected_books):
        raise ModelError(
            f"This is the 24 kHz EnCodec ({len(books)} codebooks and conv shortcuts), which this codec is not."
        )
    if shortcuts:
        raise ModelError(
            f"This is the withdrawn first upload of facebook/encodec_32khz: it has conv shortcuts ({shortcuts[0]!r}), "
            f"which the model does not. Use the corrected file (revision 4966e19f)."
        )

    if any(key.endswith(".weight_g") for key in expected) and not any(key.endswith(".weight_g") for key in state):
        raise ModelError(
            "The weights of this checkpoint are folded (no weight_g), as in conversions for other frameworks; "
            "they cannot be loaded."
        )


def _huggingface_holes(state: Iterable[str]) -> dict[str, str]:
    """The holes, with `up` narrowed to the transposed convolutions of the decoder and `same` to the others.

    Hugging Face names both `conv`. A transposed one is known by the residual block right after it.
    """
    numbers = {int(found[1]) for key in state if (found := re.match(r"decoder\.layers\.(\d+)\.", key))}
    blocks = {int(found[1]) for key in state if (found := re.match(r"decoder\.layers\.(\d+)\.block\.", key))}
    up = {number for number in numbers if number + 1 in blocks and number not in blocks}

    def one_of(choices: set[int]) -> str:
        return "|".join(map(str, sorted(choices))) or "(?!)"  # "(?!)" matches nothing

    return {**_HOLES, "up": one_of(up), "same": one_of(numbers - up)}


def _compile_rules(pairs: Iterable[tuple[str, str]], holes: Mapping[str, str]) -> list[tuple[re.Pattern[str], str]]:
    """Pairs of old and new names as rules: (pattern of a whole key, template of its new name)."""
    compiled = []
    for old, new in pairs:
        pattern = re.escape(old).replace(r"\{", "{").replace(r"\}", "}")  # dots are dots, holes stay holes
        for hole, choices in holes.items():
            pattern = pattern.replace(f"{{{hole}}}", f"(?P<{hole}>{choices})")
        compiled.append((re.compile(pattern), new))

    return compiled


def _rename_key(key: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str:
    """The new name of a key, by the one rule that fits it."""
    fitting = [(found, template) for pattern, template in rules if (found := pattern.fullmatch(key))]
    if len(fitting) != 1:
        raise ModelError(f"{key!r} is not the name of an EnCodec tensor; this is another kind of model.")

    found, template = fitting[0]
    return template.format(**found.groupdict())


def _old_leaf(key: str) -> str:
    """The key with weight norm spelled `weight_g`, `weight_v`."""
    for new, old in _PARAMETRIZED.items():
        if key.endswith(f".{new}"):
            return key.removesuffix(new) + old
    return key


def _list_some(items: Sequence[str]) -> str:
    """The first few items, and how many more there are."""
    more = f" and {len(items) - _NAMED_AT_MOST} more" if len(items) > _NAMED_AT_MOST else ""
    return ", ".join(items[:_NAMED_AT_MOST]) + more


def _format_shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
