"""What every test runs under: no network, one thread a process, set before anything heavy is imported."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch

    from polyhead.configs.schema import RunConfig
    from polyhead.registry import Registry

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # where a GPU is, DeepSpeed has to find it by itself

SAMPLES = Path(__file__).parents[1] / "configs" / "samples"
CHINESE_REVIEWS = (
    ("这部电影很好看,我非常喜欢。", "正面"),
    ("太无聊了,看到一半就睡着了。", "负面"),
    ("演员的表演十分精彩!", "正面"),
    ("故事老套,毫无新意。", "负面"),
    ("画面很美,音乐也动人。", "正面"),
    ("浪费时间,千万不要看。", "负面"),
    ("笑中带泪,值得再看一遍。", "正面"),
    ("导演不知道自己想说什么。", "负面"),
    ("节奏紧凑,没有一分钟是多余的。", "正面"),
    ("对白生硬,特效也差。", "负面"),
)


def write_rows(path: Path, rows: Sequence[tuple[str, object]]) -> Path:
    """Write (text, label) rows as JSONL and return the path."""
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep encoded features in a folder of this test session: the user's own cache is never touched."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny_backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return folders with untrained backbones of width 32 and the tokenizer of minilm, by model type.

    ``bert`` and ``llama``, ``gpt2`` have 4 blocks; ``t5``, ``bart`` and ``marian`` have 2 in each stack.
    """
    import torch
    import transformers

    from polyhead.backbone.model.loading import quiet_transformers
    from polyhead.backbone.model.named import locate_minilm

    root = tmp_path_factory.mktemp("backbones")
    with quiet_transformers(), torch.random.fork_rng():
        tokenizer = transformers.AutoTokenizer.from_pretrained(locate_minilm())
        tokenizer.model_max_length = 128
        for name, config in _tiny_configs(len(tokenizer)).items():
            torch.manual_seed(7)
            model = transformers.AutoModel.from_config(config)
            model.save_pretrained(root / f"tiny-{name}")
            tokenizer.save_pretrained(root / f"tiny-{name}")
    return {folder.name.removeprefix("tiny-"): folder for folder in root.iterdir()}


def _tiny_configs(vocab_size: int) -> dict[str, Any]:
    import transformers

    # [PAD] 0, [CLS] 101, [SEP] 102 are those of minilm's tokenizer.
    ids = {"vocab_size": vocab_size, "pad_token_id": 0, "bos_token_id": 101, "eos_token_id": 102}
    stacks = {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 128,
        "init_std": 0.15,
    }
    blocks = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
    return {
        "bert": transformers.BertConfig(
            vocab_size=vocab_size,
            **blocks,
            max_position_embeddings=128,
            initializer_range=0.15,  # so that different texts get different answers
        ),
        "llama": transformers.LlamaConfig(
            **ids, **blocks, num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.15
        ),
        "gpt2": transformers.GPT2Config(**ids, n_embd=32, n_layer=4, n_head=4, n_positions=128, initializer_range=0.15),
        "t5": transformers.T5Config(
            **ids, d_model=32, d_ff=64, d_kv=8, num_layers=2, num_heads=4, decoder_start_token_id=0
        ),
        "bart": transformers.BartConfig(**ids, **stacks, decoder_start_token_id=102, forced_eos_token_id=None),
        "marian": transformers.MarianConfig(**ids, **stacks, decoder_start_token_id=0),
    }


@pytest.fixture(scope="session")
def tiny_bert(tiny_backbones: dict[str, Path]) -> Path:
    """Return a folder with an untrained BERT of 4 blocks of width 32, and the tokenizer of minilm."""
    return tiny_backbones["bert"]


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 71 training and 21 validation rows of film reviews: positive or negative."""
    folder = tmp_path_factory.mktemp("reviews")
    for name, count in (("train", 71), ("validation", 21)):
        lines = (SAMPLES / "rotten_tomatoes" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        (folder / f"{name}.jsonl").write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def chinese_reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of ten Chinese film reviews: 正面 or 负面."""
    return write_rows(tmp_path_factory.mktemp("chinese") / "影评.jsonl", CHINESE_REVIEWS)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Return the registry with everything that is installed."""
    from polyhead.backbone.builtin import load_registry

    return load_registry()


@dataclass(frozen=True)
class PlainRun:
    """What training without polyhead's engine gives."""

    losses: list[float]
    gradient_norms: list[float]
    model: Any


def read_labelled(path: Path) -> list[tuple[str, str]]:
    """Return (text, label) of every row of a JSONL file."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["text"], row["label"]) for row in rows]


def train_plainly(
    config: RunConfig,
    rows: Sequence[tuple[str, Any]],
    labels: Sequence[str],
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> PlainRun:
    """Train as anyone would by hand: one process, whole batches, the library's model, mean loss, AdamW, clipping.

    Args:
        config: Settings; dropout is off whatever it says.
        rows: Texts, each with its target: a label, or numbers for all labels.
        labels: The label set in the model's order.
        loss_of: Gives the mean loss of logits and targets; cross-entropy where it is left out.

    """
    import torch
    import transformers

    from polyhead.backbone.data.batching import plan_epoch
    from polyhead.backbone.model.loading import quiet_transformers

    training, folder = config.training, config.backbone.name
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    torch.manual_seed(training.seed)
    with quiet_transformers():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=len(labels), dtype=torch.float32, **off
        )
    longest = config.data.max_length or tokenizer.model_max_length
    windows: list[dict[str, list[int]]] = []
    targets: list[Any] = []
    for text, target in rows:
        found = tokenizer(
            text,
            truncation=True,
            max_length=longest,
            stride=longest // 4 if config.data.stride is None else config.data.stride,
            return_overflowing_tokens=True,
        )
        count = len(found["input_ids"])
        windows += [{name: found[name][at] for name in tokenizer.model_input_names} for at in range(count)]
        targets += [labels.index(target) if isinstance(target, str) else target] * count
    lengths = torch.tensor([len(window["input_ids"]) for window in windows]).numpy()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=training.learning_rate,
        betas=training.betas,
        eps=training.epsilon,
    )
    total = training.max_steps or 0
    rising = int(training.warmup * total + 0.999) if training.warmup < 1 else int(training.warmup)
    kind = "constant_with_warmup" if training.schedule == "constant" else training.schedule
    schedule = transformers.get_scheduler(kind, optimizer, rising, total)
    loss_of = loss_of or torch.nn.functional.cross_entropy
    losses, norms, epoch = [], [], 0
    while len(losses) < total:
        for group in plan_epoch(lengths, training.batch_size, seed=training.seed, epoch=epoch):
            batch = tokenizer.pad([windows[at] for at in group], return_tensors="pt")
            loss = loss_of(model(**batch).logits, torch.tensor([targets[at] for at in group]))
            loss.backward()
            limit = training.gradient_clipping or float("inf")
            norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), limit)))
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
            if len(losses) == total:
                break
        epoch += 1
    return PlainRun(losses, norms, model.eval())


def read_events(run: Path, event: str) -> list[dict[str, Any]]:
    """Return the events of one kind in a run's log, in order."""
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [found for found in map(json.loads, lines) if found["event"] == event]


@pytest.fixture(scope="session")
def plainly() -> Callable[..., PlainRun]:
    """Return `train_plainly`."""
    return train_plainly


@pytest.fixture(scope="session")
def events() -> Callable[[Path, str], list[dict[str, Any]]]:
    """Return `read_events`."""
    return read_events


@pytest.fixture(scope="session")
def labelled() -> Callable[[Path], list[tuple[str, str]]]:
    """Return `read_labelled`."""
    return read_labelled


@pytest.fixture(scope="session")
def written() -> Callable[[Path, Sequence[tuple[str, object]]], Path]:
    """Return `write_rows`."""
    return write_rows
