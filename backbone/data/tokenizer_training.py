"""Train a tokenizer on texts that come one by one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from polyhead.backbone.data.plain_texts import in_batches
from polyhead.registry import DataError, Family, PolyheadError, RunError

Kind = Literal["bpe", "wordpiece", "unigram"]
Chinese = Literal["characters", "words"]
SENTINELS = 100
"""How many ``<extra_id_N>`` T5 has."""
_HAN = Regex(r"\p{Han}")
_BERT = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_ROBERTA = {
    "bos_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
_T5 = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


@dataclass(frozen=True)
class TokenizerPlan:
    """What tokenizer is wanted."""

    kind: Kind
    size: int
    """How many tokens, special ones included."""
    family: Family
    """Whose special tokens it has."""
    min_count: int | None = None
    """How often a piece must occur; None: twice. Unigram goes by likelihood and takes none."""
    lowercase: bool = False
    chinese: Chinese = "characters"
    """``characters``: no token holds more than one Chinese character."""
    sentinels: bool = False
    """Whether it has T5's tokens for spans that were taken out."""

    @property
    def special_tokens(self) -> dict[str, str]:
        """Return the special tokens by role, in the order of their ids."""
        if self.kind == "wordpiece":
            return _BERT
        if self.family == "encoder-decoder" and self.kind == "unigram":
            return _T5
        found = {role: token for role, token in _ROBERTA.items() if role != "mask_token" or self.family != "decoder"}
        return {**found, "cls_token": "<s>", "sep_token": "</s>"} if self.family == "encoder" else found

    def check(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            RunError: Says which option, and what is possible.

        """
        if self.kind == "unigram" and self.min_count is not None:
            raise RunError("--min-count: unigram keeps the likeliest pieces, however often they occur: leave it out")
        if self.kind == "wordpiece" and self.family != "encoder":
            raise RunError(f"--family {self.family}: wordpiece is BERT's: say --type bpe or unigram")
        least = len(self.special_tokens) + (SENTINELS if self.sentinels else 0) + (256 if self.kind == "bpe" else 32)
        if self.size < least:
            raise RunError(f"--size: {self.size} tokens are too few for {self.kind}: at least {least}")


def train_tokenizer(plan: TokenizerPlan, texts: Iterable[str]) -> Any:
    """Return a fast ``transformers`` tokenizer learned from texts, which are read once and not kept.

    Raises:
        DataError: There is no text, or there are more characters than the wanted size has room for.

    """
    from transformers import PreTrainedTokenizerFast  # slow to import: `--help` does without

    plan.check()
    sentinels = [f"<extra_id_{number}>" for number in range(SENTINELS)] if plan.sentinels else []
    backend = _untrained(plan)
    counted = _Counted(texts)
    try:
        backend.train_from_iterator(in_batches(counted), _trainer(plan, len(sentinels)))
    except PolyheadError:  # of whoever reads the texts
        raise
    except Exception as error:  # the library raises nothing more special
        raise DataError(f"no tokenizer of {plan.size} tokens can be learned from these texts: {error}") from error
    if not counted.texts:
        raise DataError("there is no text to learn a tokenizer from")
    _add_frame(backend, plan)
    names = ["input_ids", *(["token_type_ids"] if plan.kind == "wordpiece" else []), "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=names,
        clean_up_tokenization_spaces=False,
        **({"extra_special_tokens": sentinels} if sentinels else {}),
        **plan.special_tokens,
    )


@contextmanager
def save_tokenizer(folder: Path) -> Iterator[Callable[[Any], None]]:
    """Give what writes a tokenizer to a folder, all of it or nothing; a folder that is not free is refused before.

    Raises:
        RunError: There is something already, or nothing can be written there.

    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"--output: {folder} exists already: choose another folder, or remove it")
    draft = folder.with_name(f".writing-{folder.name}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"--output: {folder} cannot be written: {error.strerror}") from error

    def save(tokenizer: Any) -> None:
        tokenizer.save_pretrained(draft)
        draft.replace(folder)  # an empty folder may stand there

    try:
        yield save
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _untrained(plan: TokenizerPlan) -> Tokenizer:
    """Return the rules of a kind, without a vocabulary."""
    by_character = plan.chinese == "characters"
    lower = [normalizers.Lowercase()] if plan.lowercase else []
    alone = [pre_tokenizers.Split(_HAN, "isolated")] if by_character else []
    if plan.kind == "wordpiece":
        backend = Tokenizer(models.WordPiece(unk_token=_BERT["unk_token"]))
        backend.normalizer = normalizers.BertNormalizer(
            handle_chinese_chars=by_character, strip_accents=plan.lowercase, lowercase=plan.lowercase
        )
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
    elif plan.kind == "bpe":
        backend = Tokenizer(models.BPE())
        backend.normalizer = normalizers.Sequence([normalizers.NFC(), *lower])
        backend.pre_tokenizer = pre_tokenizers.Sequence([*alone, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        backend.decoder = decoders.ByteLevel()
    else:
        backend = Tokenizer(models.Unigram())
        blanks = normalizers.Replace(Regex(r"\s+"), " ")
        backend.normalizer = normalizers.Sequence([normalizers.NFC(), *lower, blanks])
        backend.pre_tokenizer = pre_tokenizers.Sequence([*alone, pre_tokenizers.Metaspace(prepend_scheme="first")])
        backend.decoder = decoders.Metaspace(prepend_scheme="first")
    return backend


def _trainer(plan: TokenizerPlan, sentinels: int) -> Any:
    special = list(dict.fromkeys(plan.special_tokens.values()))
    rules: dict[str, Any] = {
        "vocab_size": plan.size - sentinels,
        "special_tokens": special,
        "show_progress": False,
    }
    if plan.kind == "unigram":
        return trainers.UnigramTrainer(unk_token=plan.special_tokens["unk_token"], **rules)
    rules["min_frequency"] = 2 if plan.min_count is None else plan.min_count
    if plan.kind == "bpe":
        return trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **rules)
    # each character may become two pieces: one that begins a word and one that goes on with it
    return trainers.WordPieceTrainer(limit_alphabet=(plan.size - len(special)) // 2, **rules)


def _add_frame(backend: Tokenizer, plan: TokenizerPlan) -> None:
    """Say which special tokens stand around a text, and around two."""
    special = plan.special_tokens
    begin = special.get("cls_token", special.get("bos_token"))
    end = special.get("sep_token", special.get("eos_token"))
    if plan.kind == "wordpiece":
        one, two = f"{begin} $A {end}", f"{begin} $A {end} $B:1 {end}:1"
    elif plan.family == "decoder":
        one, two = f"{begin} $A", f"{begin} $A $B"
    elif begin is None:
        one, two = f"$A {end}", f"$A {end} $B {end}"
    else:
        one, two = f"{begin} $A {end}", f"{begin} $A {end} {end} $B {end}"
    tokens = [(token, backend.token_to_id(token)) for token in (begin, end) if token is not None]
    template = processors.TemplateProcessing(single=one, pair=two, special_tokens=tokens)
    # without the first step, byte-level tokens would count the blank before a word as part of it
    bytes_first = [processors.ByteLevel(trim_offsets=True)] if plan.kind == "bpe" else []
    backend.post_processor = processors.Sequence([*bytes_first, template])


class _Counted:
    """Texts that are counted while they are read."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._source, self.texts = texts, 0

    def __iter__(self) -> Iterator[str]:
        for text in self._source:
            self.texts += 1
            yield text
