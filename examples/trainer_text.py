"""A Hugging Face text classifier trained by the Trainer, which says at the end which heads are behind its mistakes.

The sentences are made up, so that nothing need be downloaded: opinions, some of them negated.

    python examples/trainer_text.py --output output

Needs: pip install 'evtkit[torch,saliency]' transformers accelerate
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from evtkit_torch.trainer import SaliencyCallback
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

SUBJECTS = ["the film", "this play", "her book", "the score", "his speech", "that series"]
GOOD, BAD = ["good", "great", "lovely", "clever", "moving"], ["bad", "dull", "awful", "silly", "flat"]
WORDS = ["[PAD]", "[CLS]", *dict.fromkeys(" ".join([*SUBJECTS, *GOOD, *BAD, "was not is never very truly"]).split())]


class Opinions(torch.utils.data.Dataset):
    """Sentences as numbers of their words, of various lengths, with 1 for praise."""

    def __init__(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.rows = []
        for _ in range(n):
            praise, turned = rng.random() < 0.5, rng.random() < 0.3
            words = [*str(rng.choice(SUBJECTS)).split(), str(rng.choice(["was", "is"]))]
            words += [str(rng.choice(["not", "never"]))] if turned else []
            words += [str(rng.choice(["very", "truly"]))] if rng.random() < 0.5 else []
            words.append(str(rng.choice(GOOD if praise else BAD)))
            wrong = rng.random() < 0.03  # a label that somebody has mistaken
            self.rows.append({"text": " ".join(words), "label": int(praise ^ turned ^ wrong)})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, object]:
        row = self.rows[i]
        return row | {"input_ids": [WORDS.index(word) for word in ["[CLS]", *row["text"].split()]]}


def collated(rows: list[dict[str, object]]) -> dict[str, torch.Tensor]:
    """Filled up to one length, which the attention mask leaves out."""
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    return {
        "input_ids": padded,
        "attention_mask": (padded > 0).long(),
        "labels": torch.tensor([row["label"] for row in rows]),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=1500)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--output", type=Path, default=Path("output"))
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # threads only wait for each other in a network this small
    set_seed(0)

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = BertForSequenceClassification(
        BertConfig(vocab_size=len(WORDS), num_labels=2, max_position_embeddings=16, **sizes)
    )
    training, test = Opinions(options.sentences, 0), Opinions(options.sentences // 3, 1)
    saliency = SaliencyCallback(
        Opinions(options.sentences // 3, 2), test, units=("heads", "rows"), k=10, progress=False,
        report=options.output / "opinions.html",
    )  # fmt: skip
    how = TrainingArguments(
        str(options.output / "trainer"), num_train_epochs=options.epochs, learning_rate=3e-3,
        per_device_train_batch_size=32, eval_strategy="epoch", save_strategy="epoch", save_total_limit=1,
        load_best_model_at_end=True, report_to=[],
        disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip
    Trainer(
        model, how, train_dataset=training, eval_dataset=test, data_collator=collated, callbacks=[saliency]
    ).train()  # fmt: skip

    print(saliency.net)
    print(f"right: {saliency.accuracy:.3f}")
    if saliency.ranking is not None:
        print(saliency.ranking.table(5))
        print(saliency.ranking.enrichment(10, by="kind"))


if __name__ == "__main__":
    main()
