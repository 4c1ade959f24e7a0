"""How the next token is chosen: penalties, warping, and noise of each row's own; and how likely the choice was.

Shapes: R rows, T tokens so far (prompt included, padded on the left), V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    ForcedBOSTokenLogitsProcessor,
    LogitsProcessor,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from polyhead.registry import GenerationSettings


def processors_for(
    settings: GenerationSettings,
    model_config: Any,
    *,
    prompt_length: int,
    padding: Sequence[int],
    noise: Sequence[torch.Generator],
    device: torch.device,
) -> LogitsProcessorList:
    """Return what is done to the scores of each step, in the order of ``transformers``, the noise last.

    Args:
        settings: How text is written.
        model_config: The generation config that came with the model: of it count the tokens that it forces or forbids.
        prompt_length: Tokens before the first new one, padding included.
        padding: How many of them are padding, for each row.
        noise: A generator for each row, for sampling.
        device: Where the scores lie.

    """
    chain: list[LogitsProcessor] = []
    if settings.repetition_penalty != 1.0:
        chain.append(_Unpadded(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty), padding))
    if settings.no_repeat_ngram:
        chain.append(_Unpadded(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram), padding))
    chain += _rules_of_the_model(model_config, prompt_length, device)
    stops = model_config.eos_token_id
    if settings.min_new_tokens and stops is not None:
        chain.append(
            MinNewTokensLengthLogitsProcessor(prompt_length, settings.min_new_tokens, stops, device=str(device))
        )
    if settings.sample:
        if settings.temperature != 1.0:
            chain.append(TemperatureLogitsWarper(settings.temperature))
        if settings.top_k:
            chain.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1.0:
            chain.append(TopPLogitsWarper(settings.top_p))
        chain.append(_Noise(noise))
    return LogitsProcessorList(chain)


def _rules_of_the_model(config: Any, prompt_length: int, device: torch.device) -> list[LogitsProcessor]:
    """Return what a model demands of its own texts: a first token, tokens that never stand (anywhere or first)."""
    chain: list[LogitsProcessor] = []
    if config.bad_words_ids is not None:
        chain.append(NoBadWordsLogitsProcessor(config.bad_words_ids, config.eos_token_id))
    if config.forced_bos_token_id is not None:
        chain.append(ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
    if config.suppress_tokens is not None:
        chain.append(SuppressTokensLogitsProcessor(config.suppress_tokens, device=str(device)))
    if config.begin_suppress_tokens is not None:
        begin = prompt_length + (prompt_length == 1 and config.forced_bos_token_id is not None)
        chain.append(SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin, device=str(device)))
    return chain


def generator_for(seed: int, candidate: int, *tokens: Sequence[int]) -> torch.Generator:
    """Return the source of noise for one text: it depends on seed, candidate and prompt, and on no batch."""
    digest = hashlib.sha256(repr((seed, candidate, *map(list, tokens))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class _Unpadded(LogitsProcessor):  # type: ignore[misc]  # transformers' types are not followed
    """Lets a processor see the tokens of each row without its padding, so that a batch changes nothing."""

    def __init__(self, inner: LogitsProcessor, padding: Sequence[int]) -> None:
        self._inner, self._padding = inner, padding

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        rows_per_prompt = len(input_ids) // len(self._padding)  # several under beam search
        return torch.cat(
            [
                self._inner(input_ids[row : row + 1, self._padding[row // rows_per_prompt] :], scores[row : row + 1])
                for row in range(len(input_ids))
            ]
        )


class _Noise(LogitsProcessor):  # type: ignore[misc]  # transformers' types are not followed
    """Adds Gumbel noise: the largest sum is then a draw from the softmax of the scores (the Gumbel-max trick).

    Each row has a generator of its own, where ``transformers`` draws a batch from one.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        del input_ids
        waits = torch.empty(scores.shape, dtype=torch.float32)
        for row, generator in enumerate(self._generators):
            waits[row].exponential_(generator=generator)
        return scores - waits.clamp_min_(torch.finfo(waits.dtype).tiny).log_().to(scores.device)


class Likelihood:
    """Keeps the log-probability of every chosen token in the model's own distribution, row by row (no beams)."""

    def __init__(self) -> None:
        self._log_probabilities_RV = torch.empty(0)
        self._steps_R: list[torch.Tensor] = []

    def see(self, scores_RV: torch.Tensor) -> None:
        """Take the model's scores of the next token, as yet unchanged."""
        self._log_probabilities_RV = scores_RV.log_softmax(-1)

    def choose(self, chosen_RT: torch.Tensor) -> None:
        """Take the token that was chosen: the last of each row."""
        self._steps_R.append(self._log_probabilities_RV.gather(1, chosen_RT[:, -1:])[:, 0])

    def total(self, row: int, tokens: int) -> float:
        """Return the sum over the first tokens of a row."""
        return float(torch.stack([step[row] for step in self._steps_R[:tokens]]).double().sum())


class SeeScores(LogitsProcessor):  # type: ignore[misc]  # transformers' types are not followed
    """Shows the scores to a `Likelihood`; goes first."""

    def __init__(self, likelihood: Likelihood) -> None:
        self._likelihood = likelihood

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores as they are."""
        del input_ids
        self._likelihood.see(scores)
        return scores


class SeeChoice(StoppingCriteria):  # type: ignore[misc]  # transformers' types are not followed
    """Shows the chosen tokens to a `Likelihood`; stops nothing."""

    def __init__(self, likelihood: Likelihood) -> None:
        self._likelihood = likelihood

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Return that no row has ended."""
        del scores
        self._likelihood.choose(input_ids)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
