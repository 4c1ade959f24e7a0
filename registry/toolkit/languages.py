"""What is known of languages: their English names, the script of a text, their names in multilingual tokenizers."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from polyhead.registry.errors import DataError

NAMES = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "bn": "Bengali",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "km": "Khmer",
    "ko": "Korean",
    "lo": "Lao",
    "lt": "Lithuanian",
    "lv": "Latvian",
    "my": "Burmese",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "sw": "Swahili",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
"""English names by ISO 639-1 code."""

_MBART = {"zh": "zh_CN", "ja": "ja_XX", "de": "de_DE", "fr": "fr_XX", "es": "es_XX", "ru": "ru_RU", "pt": "pt_XX"}
_NLLB = {
    "ar": "arb_Arab",
    "de": "deu_Latn",
    "en": "eng_Latn",
    "es": "spa_Latn",
    "fr": "fra_Latn",
    "hi": "hin_Deva",
    "it": "ita_Latn",
    "ja": "jpn_Jpan",
    "km": "khm_Khmr",
    "ko": "kor_Hang",
    "lo": "lao_Laoo",
    "my": "mya_Mymr",
    "nl": "nld_Latn",
    "pl": "pol_Latn",
    "pt": "por_Latn",
    "ru": "rus_Cyrl",
    "th": "tha_Thai",
    "tr": "tur_Latn",
    "uk": "ukr_Cyrl",
    "vi": "vie_Latn",
    "zh": "zho_Hans",
}
_SCRIPTS = (
    ("ja", re.compile("[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]")),
    ("ko", re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")),
    ("zh", re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")),
)
_LETTER = re.compile(r"[^\W\d_]")


def base_of(code: str) -> str:
    """Return the language of a code without region and script: ``zh-TW`` and ``zh_CN`` are ``zh``."""
    return re.split(r"[-_]", code, maxsplit=1)[0].lower()


def name_of(code: str) -> str:
    """Return the English name of a language; a code that is not known stands for itself."""
    return NAMES.get(base_of(code), code)


def east_asian_language(text: str) -> str | None:
    """Return ``zh``, ``ja`` or ``ko`` where a quarter of the letters are of its script, else None.

    A quarter: names and terms in Latin letters have more letters for the same number of words. Japanese is told from
    Chinese by kana, a tenth of its letters at least.
    """
    letters = len(_LETTER.findall(text))
    counts = {code: len(pattern.findall(text)) for code, pattern in _SCRIPTS}
    if letters == 0 or sum(counts.values()) * 4 < letters:
        return None
    if counts["ja"] * 10 >= letters:
        return "ja"
    return "ko" if counts["ko"] > counts["zh"] else "zh"


def tokenizer_code(tokenizer: Any, language: str, codes: Mapping[str, str]) -> str:
    """Return the name of a language in a multilingual tokenizer (mBART: ``zh_CN``, NLLB: ``zho_Hans``).

    Args:
        tokenizer: One with a ``src_lang``.
        language: A code.
        codes: ``options.language_codes``.

    Raises:
        DataError: The tokenizer knows none of the names that this language may have.

    """
    base = base_of(language)
    guesses = (language, f"{base}_XX", f"{base}_{base.upper()}", _MBART.get(base, ""), _NLLB.get(base, ""))
    for guess in (codes[language],) if language in codes else guesses:
        if guess and _is_token(tokenizer, guess):
            return guess
    said = f"'{codes[language]}'" if language in codes else f"'{language}'"
    raise DataError(
        f"the tokenizer of this backbone has no language {said}; name its token: options.language_codes.{language}=..."
    )


def _is_token(tokenizer: Any, token: str) -> bool:
    number = tokenizer.convert_tokens_to_ids(token)
    return number is not None and number != tokenizer.unk_token_id


def likeliest_language(text: str, candidates: Collection[str]) -> str:
    """Return the candidate whose script the text is written in; the first where the script does not tell."""
    found = east_asian_language(text)
    fitting = [code for code in candidates if (base_of(code) if base_of(code) in ("zh", "ja", "ko") else None) == found]
    return next(iter(fitting or candidates))
