"""Write texts from prompts with a whole model: greedily, by beam search, or drawn; several prompts at a time.

What is written depends on no batch: greedy and beam search are the same alone and among others (up to ties in
rounding), and what is drawn depends on the seed, the prompt and the number of the candidate only. Two equal prompts
therefore get equal texts; `GenerationSettings.candidates` gives different ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteriaList

from polyhead.backbone.inference.prompt_batches import check_room, groups_of, padded, start_of
from polyhead.backbone.inference.token_choice import (
    Likelihood,
    SeeChoice,
    SeeScores,
    generator_for,
    processors_for,
)
from polyhead.backbone.inference.written_text import Continuation, StopTexts, Streamer, cut, ends
from polyhead.registry import BackboneError, Family, Feature, Generated, GenerationSettings, RunError

KEPT_OF_THE_MODEL = (
    "forced_bos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
    "early_stopping",
)
"""What of the generation config that comes with a model counts; all else is said by `GenerationSettings`."""
LOGITS_AT_ONCE = 2**25


def write(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Feature],
    settings: GenerationSettings,
    *,
    family: Family,
    max_tokens: int,
    device: torch.device,
    progress: Callable[[int], None] | None = None,
    stream: Callable[[str], None] | None = None,
) -> list[tuple[Generated, ...]]:
    """Return ``settings.candidates`` texts for each prompt, best first.

    Args:
        model: A whole ``transformers`` model that can generate; its own generation config is left as it is.
        tokenizer: Its tokenizer.
        prompts: Unpadded ``input_ids``, of encoder-decoders also the beginning of the target (``decoder_input_ids``).
        settings: How text is written.
        family: How the model reads.
        max_tokens: Tokens in one batch: (prompt + new tokens) x texts that grow side by side.
        device: Where the model is.
        progress: Called with the number of prompts that each batch has answered.
        stream: Called with each piece of text once it is complete; for one prompt and one text, without beams.

    Raises:
        DataError: A prompt that leaves the model no room for ``max_new_tokens``; says which example.
        RunError: Settings that exclude one another.
        BackboneError: The model does not say what its decoder begins with, and neither does a prompt.

    """
    _check_settings(settings, len(prompts), stream)
    check_room(prompts, settings, model.config, family)
    writer = _Writer(model, tokenizer, settings, family, device, stream)
    written: dict[int, tuple[Generated, ...]] = {}
    was_training = model.training
    model.eval()
    config, model.generation_config = model.generation_config, writer.config  # what stands there would be merged in
    try:
        with torch.inference_mode():
            for group in groups_of(prompts, settings, max_tokens):
                texts = writer.write([prompts[position] for position in group])
                written.update(zip(group, texts, strict=True))
                if progress is not None:
                    progress(len(group))
    finally:
        model.generation_config = config
        model.train(was_training)
    return [written[position] for position in range(len(prompts))]


def _check_settings(settings: GenerationSettings, prompts: int, stream: Callable[[str], None] | None) -> None:
    if settings.sample and settings.beams > 1:
        raise RunError(f"options.sample and options.beams={settings.beams}: choose one of them")
    if not settings.sample and settings.candidates > settings.beams:
        raise RunError(f"options.candidates={settings.candidates}: needs options.sample=true, or as many options.beams")
    if stream is not None and (prompts, settings.beams, settings.candidates) != (1, 1, 1):
        raise RunError("text can be shown while it is written for one prompt, one candidate and no beams only")


class _Writer:
    """Everything that stays the same from batch to batch."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: GenerationSettings,
        family: Family,
        device: torch.device,
        stream: Callable[[str], None] | None,
    ) -> None:
        self._model, self._tokenizer, self._settings, self._family = model, tokenizer, settings, family
        self._device, self._stream = device, stream
        self._rules, self._reads_both = model.generation_config, family == "decoder"
        self._stop_ids = _stop_ids(model, tokenizer)
        known = (tokenizer.pad_token_id, self._rules.pad_token_id, *self._stop_ids, 0)
        self._pad = next(int(token) for token in known if token is not None)
        self.config = self._config()

    def _config(self) -> GenerationConfig:
        """Return a config that does nothing to the scores: `processors_for` does that, and sees them unchanged."""
        settings, kept = self._settings, {name: getattr(self._rules, name, None) for name in KEPT_OF_THE_MODEL}
        beams: dict[str, Any] = {}
        if settings.beams > 1:
            beams = {
                "num_beams": settings.beams,
                "num_return_sequences": settings.candidates,
                "length_penalty": settings.length_penalty,
                "early_stopping": kept["early_stopping"] or False,
            }
        return GenerationConfig(
            max_new_tokens=settings.max_new_tokens,
            do_sample=False,
            eos_token_id=list(self._stop_ids) or None,
            pad_token_id=self._pad,
            bos_token_id=self._rules.bos_token_id,
            **beams,
        )

    def _begun(self, prompt: Feature) -> list[int]:
        return list(start_of(prompt)) or [self._decoder_start()]

    def _decoder_start(self) -> int:
        known = (
            self._rules.decoder_start_token_id,
            getattr(self._model.config, "decoder_start_token_id", None),
            self._rules.bos_token_id,
        )
        found = next((int(token) for token in known if token is not None), None)
        if found is None:
            raise BackboneError(
                "the model does not say what its decoder begins with: decoder_start_token_id is missing"
            )
        return found

    def write(self, prompts: Sequence[Feature]) -> list[tuple[Generated, ...]]:
        """Return the texts for the prompts of one batch."""
        drawn = self._settings.candidates if self._settings.sample else 1
        rows = [prompt for prompt in prompts for _ in range(drawn)]
        texts = self._with_beams(rows) if self._settings.beams > 1 else self._one_each(rows)
        count = self._settings.candidates
        groups = [texts[start : start + count] for start in range(0, len(texts), count)]
        if self._settings.sample:
            groups = [sorted(group, key=lambda text: -text.log_probability) for group in groups]
        return [tuple(group) for group in groups]

    def _one_each(self, rows: Sequence[Feature]) -> list[Generated]:
        likelihood = Likelihood()
        found, continuations = self._generate(rows, likelihood)
        texts = []
        for row, (tokens, continuation) in enumerate(zip(found, continuations, strict=True)):
            count = self._count(tokens, continuation)
            texts.append(self._text(tokens, count, continuation, likelihood.total(row, count or len(tokens))))
        return texts

    def _with_beams(self, prompts: Sequence[Feature]) -> list[Generated]:
        found, continuations = self._generate(prompts, None)
        each = self._settings.candidates
        rows = [prompt for prompt in prompts for _ in range(each)]
        behind = [continuation for continuation in continuations for _ in range(each)]
        counts = [self._count(tokens, continuation) for tokens, continuation in zip(found, behind, strict=True)]
        kept = [tokens[: count or len(tokens)] for tokens, count in zip(found, counts, strict=True)]
        totals = self._log_probabilities(rows, kept)
        return [self._text(*parts) for parts in zip(kept, counts, behind, totals, strict=True)]

    def _count(self, tokens: Sequence[int], continuation: Continuation) -> int | None:
        return ends(tokens, continuation, self._settings.stop, self._stop_ids)

    def _text(self, tokens: list[int], count: int | None, continuation: Continuation, total: float) -> Generated:
        kept = tokens if count is None else tokens[:count]
        text = cut(continuation.text(kept), self._settings.stop)
        return Generated(text, total, len(kept), finished=count is not None)

    def _generate(
        self, rows: Sequence[Feature], likelihood: Likelihood | None
    ) -> tuple[list[list[int]], list[Continuation]]:
        """Return the new tokens of each row (with beams: of each candidate), and what their text is behind."""
        settings, (inputs, length, padding) = self._settings, self._batch(rows)
        before = [row.inputs["input_ids"] if self._reads_both else start_of(row) for row in rows]
        continuations = [Continuation(self._tokenizer, tokens) for tokens in before]
        draws = [number % settings.candidates for number in range(len(rows))]
        noise = [
            generator_for(settings.seed, draw, row.inputs["input_ids"], start_of(row))
            for draw, row in zip(draws, rows, strict=True)
        ]
        processors = processors_for(
            settings,
            self._rules_with_stops(),
            prompt_length=length,
            padding=padding,
            noise=noise,
            device=self._device,
        )
        criteria = StoppingCriteriaList()
        if settings.stop:
            criteria.append(StopTexts(continuations, length, settings.stop))
        if likelihood is not None:
            processors.insert(0, SeeScores(likelihood))
            criteria.append(SeeChoice(likelihood))
        streamer = Streamer(self._stream, continuations[0], settings.stop) if self._stream else None
        found = self._model.generate(
            **inputs,
            generation_config=self.config,
            logits_processor=processors,
            stopping_criteria=criteria,
            streamer=streamer,
        )
        return found[:, length:].tolist(), continuations

    def _rules_with_stops(self) -> GenerationConfig:
        kept = {name: getattr(self._rules, name, None) for name in KEPT_OF_THE_MODEL}
        return GenerationConfig(eos_token_id=self.config.eos_token_id, **kept)

    def _batch(self, rows: Sequence[Feature]) -> tuple[dict[str, torch.Tensor], int, list[int]]:
        """Return the inputs, how many tokens stand before the first new one, and how many of these are padding.

        A decoder's prompts are padded on the left, because writing goes on at their right; sources on the right.
        """
        sources = [row.inputs["input_ids"] for row in rows]
        ids, mask = padded(sources, self._pad, left=self._reads_both)
        inputs = {"input_ids": ids.to(self._device), "attention_mask": mask.to(self._device)}
        if self._reads_both:
            return inputs, ids.shape[1], [ids.shape[1] - len(source) for source in sources]
        starts = [self._begun(row) for row in rows]
        self.config.decoder_start_token_id = starts[0][0]  # transformers puts it before starts that lack it
        inputs["decoder_input_ids"] = torch.tensor(starts, device=self._device)
        return inputs, len(starts[0]), [0] * len(rows)

    def _log_probabilities(self, rows: Sequence[Feature], texts: Sequence[list[int]]) -> list[float]:
        """Return how likely the model finds some texts, by running it over them once more."""
        longest = max(
            len(text) + (len(row.inputs["input_ids"]) if self._reads_both else len(start_of(row)))
            for row, text in zip(rows, texts, strict=True)
        )
        vocabulary = self._model.config.get_text_config(decoder=True).vocab_size
        step = max(1, LOGITS_AT_ONCE // (longest * vocabulary))
        return [
            total
            for start in range(0, len(rows), step)
            for total in self._scored(rows[start : start + step], texts[start : start + step])
        ]

    def _scored(self, rows: Sequence[Feature], texts: Sequence[list[int]]) -> list[float]:
        # Padded on the right: no token sees what follows it, and positions need no shift.
        sources: list[list[int]] = [list(row.inputs["input_ids"]) for row in rows]
        starts = sources if self._reads_both else [self._begun(row) for row in rows]
        targets, mask = padded([a + b for a, b in zip(starts, texts, strict=True)], self._pad, left=False)
        inputs = {"input_ids": targets, "attention_mask": mask}
        if not self._reads_both:
            inputs = dict(zip(("input_ids", "attention_mask"), padded(sources, self._pad, left=False), strict=True))
            inputs["decoder_input_ids"] = targets
        logits_RTV = self._model(**{name: tensor.to(self._device) for name, tensor in inputs.items()}).logits
        totals = []
        for logits_TV, start, text in zip(logits_RTV, starts, texts, strict=True):
            chosen = torch.tensor(text, device=logits_TV.device)[:, None]
            part = logits_TV[len(start) - 1 : len(start) - 1 + len(text)].float().log_softmax(-1)
            totals.append(float(part.gather(1, chosen).double().sum()))
        return totals


def _stop_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens that end a text: as the model says, else as the tokenizer says."""
    known = (
        model.generation_config.eos_token_id,
        getattr(model.config, "eos_token_id", None),
        tokenizer.eos_token_id,
        tokenizer.sep_token_id,
    )
    found = next((token for token in known if token is not None), ())
    return (found,) if isinstance(found, int) else tuple(found)
