"""One part of a model: blocks [a, b), with the embeddings if it is first and the head if it is last.

A whole model is the stage that is both; `polyhead.backbone.model.cutting` makes the others. The library's own model
class does the work. A head is the stage that has no blocks.

Shapes: B batch, T tokens, U tokens of a decoder's own sequence, D hidden width, L outputs.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from polyhead.backbone.model.architectures import ARCHITECTURES, family_of
from polyhead.backbone.model.finding import PAIR_TYPE
from polyhead.backbone.model.parts import Cut, Part, main_names
from polyhead.registry import HeadSpec, PolyheadError

HEAD_PREFIX = "polyhead_head."
Tensors = tuple[torch.Tensor, ...]


class Stage(nn.Module):
    """A model or a part of it: flat tuple of tensors in, flat tuple of tensors out.

    The first stage takes the model's inputs in the order of ``input_names``; the last one gives the head's outputs.
    Between stages travels ``(hidden_BTD, mask_BT)``; with ``position_ids`` behind them where a decoder's rows hold
    several texts; with the decoder's ids behind them on the way to a decoder; and within a decoder that reads an
    encoder ``(hidden_BUD, mask_BT, encoder_BTD)``.
    """

    def __init__(self, model: Any, head: nn.Module | None, spec: HeadSpec, input_names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.spec = spec
        self.input_names = tuple(input_names)
        self.family = family_of(model.config)
        self.cut: Cut | None = None
        self.library_config = copy.deepcopy(model.config)
        """The whole model's config, whatever part of it this stage is."""
        self.library_config.architectures = [type(model).__name__]
        self.library_config.dtype = "float32"
        self._parts: tuple[Part, ...] = ()
        self._shared: set[str] = set()
        self._main_names = main_names(model)
        self._has_decoder = self.family == "encoder-decoder" and head is None and _decoder_of(model) is not None
        self._takes_token_types = _takes_token_types(model)
        if not spec.causal and self.family == "decoder" and "position_ids" in self.input_names:
            raise PolyheadError("several texts in a row need a causal mask: causal=False goes with one text in a row")

    @property
    def is_first(self) -> bool:
        """Whether this stage takes token ids."""
        return self.cut is None or self.cut.is_first

    @property
    def is_last(self) -> bool:
        """Whether this stage gives the head's outputs."""
        return self.cut is None or self.cut.is_last

    def forward(self, tensors: Tensors) -> Tensors:
        """Run this part of the model."""
        return self._read_and_write(tensors) if self._has_decoder else self._read(tensors)

    # ── one stack ───────────────────────────────────────────────────────────────────────────────────────

    def _read(self, tensors: Tensors) -> Tensors:
        """Run a model that has one stack of blocks, or of which one alone is read."""
        several = "position_ids" in self.input_names and self.family == "decoder"
        names = ("inputs_embeds", "attention_mask", *(("position_ids",) if several else ()))
        given = dict(zip(self.input_names if self.is_first else names, tensors, strict=True))
        mask_BT, arguments = given["attention_mask"], self._arguments(given)
        trunk = self.model.base_model
        if self.family == "encoder-decoder":
            trunk = self.model.get_encoder()
        if not self.is_last:
            return trunk(**arguments).last_hidden_state, *(given[name] for name in names[1:])
        if self.head is not None:
            outputs: Tensors = self.head(trunk(**arguments).last_hidden_state, mask_BT)
            return outputs
        if self.family == "decoder" and self._classifies_texts:
            return (self.model.score(_last_state(trunk(**arguments).last_hidden_state, mask_BT)),)
        return self._outputs_of(self.model(**arguments))

    def _arguments(self, given: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Return what the library's model is called with."""
        arguments: dict[str, Any] = dict(given)
        if not self._takes_token_types:
            arguments.pop("token_type_ids", None)
        if self.family == "decoder":
            arguments["use_cache"] = False
            if "position_ids" in given:  # transformers keeps the texts of a row apart where it is given no mask
                arguments["attention_mask"] = None
                if "input_ids" in given:  # GPT-2 warns of padding without a mask where it sees the ids
                    arguments["inputs_embeds"] = self.model.get_input_embeddings()(arguments.pop("input_ids"))
        return arguments

    # ── encoder and decoder ─────────────────────────────────────────────────────────────────────────────

    def _read_and_write(self, tensors: Tensors) -> Tensors:
        """Run a model that has an encoder and a decoder, which may begin on this stage, or before it."""
        if self._begins_in_decoder:
            hidden_BUD, mask_BT, encoder_BTD = tensors
            return self._write({"inputs_embeds": hidden_BUD}, mask_BT, encoder_BTD)
        names = self.input_names if self.is_first else ("inputs_embeds", "attention_mask", "decoder_input_ids")
        given = dict(zip(names, tensors, strict=True))
        mask_BT = given["attention_mask"]
        decoder_ids_BU = given.pop("decoder_input_ids", None)
        if decoder_ids_BU is None:
            decoder_ids_BU = self._ids_moved_right(given["input_ids"], mask_BT)
        encoder_BTD = self._encode(given)
        if self._ends_before_decoder:
            return encoder_BTD, mask_BT, decoder_ids_BU
        return self._write({"input_ids": decoder_ids_BU}, mask_BT, encoder_BTD)

    @property
    def _begins_in_decoder(self) -> bool:
        """Whether the decoder's first block lies on an earlier stage."""
        return self.cut is not None and self.cut.first_block > self._parts[0].end_block

    @property
    def _ends_before_decoder(self) -> bool:
        return self.cut is not None and self.cut.end_block <= self._parts[0].end_block

    def _encode(self, given: dict[str, torch.Tensor]) -> torch.Tensor:
        """Run the encoder's blocks that this stage has."""
        encoder = self.model.get_encoder()
        if encoder is None:
            return given["inputs_embeds"]  # the encoder ended on the stage before
        states_BTD: torch.Tensor = encoder(**self._arguments(given)).last_hidden_state
        project = getattr(self.model, "enc_to_dec_proj", None)  # a pair of two widths
        return states_BTD if project is None else project(states_BTD)

    def _write(self, own: dict[str, torch.Tensor], mask_BT: torch.Tensor, encoder_BTD: torch.Tensor) -> Tensors:
        """Run the decoder's blocks that this stage has, on ids or on states."""
        decoder = _decoder_of(self.model)
        arguments = {**own, "encoder_hidden_states": encoder_BTD, "encoder_attention_mask": mask_BT, "use_cache": False}
        if not self.is_last:
            return decoder.base_model(**arguments).last_hidden_state, mask_BT, encoder_BTD
        if self._classifies_texts:
            states_BTD = decoder(**arguments).last_hidden_state
            return (self.model.classification_head(_last_state(states_BTD, mask_BT)),)
        if self.model.config.model_type == PAIR_TYPE:
            return self._outputs_of(decoder(**arguments))
        result = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoder_BTD),
            attention_mask=mask_BT,
            use_cache=False,
            **{f"decoder_{name}": tensor for name, tensor in own.items()},
        )
        return self._outputs_of(result)

    def _ids_moved_right(self, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
        """Return what a decoder reads that is to look at the text itself: the text behind the start token."""
        moved_BT = ids_BT.roll(1, dims=1)
        architecture = ARCHITECTURES.get(self.model.config.model_type)
        if architecture is not None and architecture.starts_with_last_token:
            moved_BT[:, 0] = ids_BT[torch.arange(len(ids_BT)), _last_places(mask_BT)]
        else:
            moved_BT[:, 0] = self.model.config.decoder_start_token_id
        return moved_BT

    # ── both ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _classifies_texts(self) -> bool:
        return self.spec.auto_class == "AutoModelForSequenceClassification"

    @contextmanager
    def writing_at(self, places_N: torch.Tensor) -> Iterator[None]:
        """Compute a language model's outputs only at these positions of the flattened rows: ``[1, N, V]``.

        The matrix of the vocabulary is the widest of all, and most of what it would give for prompts and for words
        that are not hidden is of no use. A head that does not end in the library's output embeddings gives all.
        """
        writer = self.model.get_output_embeddings() if self.is_last and self.head is None else None
        if writer is None:
            yield
            return
        handle = writer.register_forward_pre_hook(lambda _, given: (at_places(given[0], places_N), *given[1:]))
        try:
            yield
        finally:
            handle.remove()

    def _outputs_of(self, result: Any) -> Tensors:
        return tuple(getattr(result, output.name) for output in self.spec.outputs)

    def become(self, cut: Cut, parts: tuple[Part, ...], shared: set[str]) -> None:
        """Note which part of the whole model this stage is from now on; `cut_stage` has trimmed the model."""
        self.cut, self._parts, self._shared = cut, parts, shared

    def shared_names(self) -> set[str]:
        """Return the parameters that other stages hold too, by their names in the checkpoint."""
        return set(self._shared)

    def library_name(self, name: str) -> str:
        """Return the name that a parameter of this stage has in the whole model's Hugging Face checkpoint.

        ``model.bert.encoder.layer.0.output.dense.weight`` of a stage that begins at block 3 is
        ``bert.encoder.layer.3.output.dense.weight``; a tied head has the name of the embeddings.
        """
        if name.startswith("head."):
            return HEAD_PREFIX + name.removeprefix("head.")
        name = name.removeprefix("model.")
        for part in self._parts:
            if self.cut is not None and name.startswith(part.blocks_prefix):
                number, inside = name.removeprefix(part.blocks_prefix).split(".", 1)
                is_bias = part.stack.position_bias is not None and inside.startswith(f"{part.stack.position_bias}.")
                first = 0 if is_bias else part.slice_of(self.cut)[0]
                name = f"{part.blocks_prefix}{int(number) + first}.{inside}"
        return self._main_names.get(name, name)


def _decoder_of(model: Any) -> Any:
    """Return the decoder of an encoder-decoder, with its head where a pair's has one; None where it was dropped."""
    holder = model if model.config.model_type == PAIR_TYPE else model.base_model
    return getattr(holder, "decoder", None)


def _takes_token_types(model: Any) -> bool:
    """Return whether the part that reads the text knows kinds of tokens (GPT-2 would add words for them)."""
    if family_of(model.config) == "decoder":
        return False
    reader = model.encoder if model.config.model_type == PAIR_TYPE else model
    return "token_type_ids" in inspect.signature(reader.forward).parameters


def at_places(values: torch.Tensor, places_N: torch.Tensor) -> torch.Tensor:
    """Return what stands at these positions of the flattened rows, as one row: ``[B, T, ...]`` to ``[1, N, ...]``."""
    return values.flatten(0, 1).index_select(0, places_N)[None]


def _last_places(mask_BT: torch.Tensor) -> torch.Tensor:
    """Return where the last real token of each row stands."""
    return (torch.arange(mask_BT.shape[1], device=mask_BT.device) * mask_BT).argmax(1)


def _last_state(states_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return the state of each row's last real token, the only one that a causal model shows the whole text."""
    return states_BTD[torch.arange(len(mask_BT), device=mask_BT.device), _last_places(mask_BT)]
