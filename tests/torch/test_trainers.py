"""Lightning and the Hugging Face Trainer: checked before the first step, of the weights at the end, costing nothing."""

import itertools

import numpy as np
import pytest
import torch
from evtkit_torch import TorchModel, batches
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from evtkit.saliency import Batches, calibrate

RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.normal(size=(120, 6))).float()
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0.5).long()
WRONG = [
    ({"units": "rowz"}, "units must"),
    ({"by": "impactt"}, "by must"),
    ({"quantile": 1.5}, "quantile must"),
    ({"report": "/nowhere/at/all.html"}, "report must"),
    ({"network": "nothing"}, "network must name a module"),
    ({"unit": "rows"}, "options must"),
    ({"task": "values"}, "targets must have shape"),
    ({"writer": 3}, "writer must have add_scalar"),
]
# some arguments are refused when the callback is made, others when training begins; both are before the first step


def body():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 3))


def same(callback, model):
    """What the callback has calibrated is what these weights give, and not those of another moment."""
    net = TorchModel(model, units="rows")
    want = calibrate(net, Batches(X[:80], Y[:80]), progress=False)
    np.testing.assert_allclose(callback.reference.tail.mean, want.tail.mean, rtol=1e-5)
    right = net.predict(X[80:]).argmax(1) == Y[80:].numpy()
    assert callback.accuracy == right.mean()
    assert callback.ranking.n_samples == (~right).sum()


class Alternating(IterableDataset):
    def __iter__(self):
        yield from zip(X, Y, strict=True)


def test_data_of_every_kind_are_counted_or_refused():
    tensors = TensorDataset(X, Y)
    rows = [{"x": x, "labels": y} for x, y in zip(X[:10], Y[:10], strict=True)]
    for data, count in (
        ((X, Y), 120), (tensors, 120), (DataLoader(tensors, 32), 120), ({"x": X, "labels": Y}, 120),
        ([(X[:30], Y[:30]), (X[30:], Y[30:])], 120), (DataLoader(rows, 4), 10),
    ):  # fmt: skip
        found = batches(data, 50)
        assert found.n_samples == count
        assert sum(len(y) for _, y in found) == count
    assert batches(Alternating(), 50, n_samples=200).n_samples == 200
    with pytest.raises(ValueError, match="n_samples= must be given"):
        batches(Alternating())
    for data in (3, iter([(X, Y)]), "train"):
        with pytest.raises(ValueError, match="data must be"):
            batches(data)
    with pytest.raises(ValueError, match="at least one batch"):
        batches([])


class TestLightning:
    @pytest.fixture(scope="class")
    def lightning(self):
        return pytest.importorskip("lightning.pytorch", reason="needs lightning")

    @pytest.fixture
    def made(self, lightning):
        class Module(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.net, self.steps = body(), 0

            def training_step(self, batch, _):
                self.steps += 1
                loss = functional.cross_entropy(self.net(batch[0]), batch[1])
                self.log("loss", loss)
                return loss

            def validation_step(self, batch, _):
                self.log("val_loss", functional.cross_entropy(self.net(batch[0]), batch[1]))

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), 0.5)

        torch.manual_seed(1)
        return Module()

    def fit(self, lightning, module, callbacks, tmp_path, **others):
        torch.manual_seed(2)
        trainer = lightning.Trainer(
            max_epochs=3, callbacks=callbacks, default_root_dir=tmp_path, enable_progress_bar=False,
            num_sanity_val_steps=1, enable_model_summary=False, accelerator="cpu",
            **{"logger": False, "enable_checkpointing": False} | others,
        )  # fmt: skip
        loaders = (
            DataLoader(TensorDataset(X[:80], Y[:80]), 20, shuffle=True),
            DataLoader(TensorDataset(X[80:], Y[80:]), 40),
        )
        trainer.fit(module, *loaders)
        return trainer

    def callback(self, **others):
        from evtkit_torch.lightning import SaliencyCallback

        data = (X[:80], Y[:80]), DataLoader(TensorDataset(X[80:], Y[80:]), 16, shuffle=True)
        return SaliencyCallback(*data, **{"network": "net", "units": "rows", "progress": False} | others)

    @pytest.mark.filterwarnings("ignore")  # Lightning's own, of small loaders and few workers
    @pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[::2])
    def test_the_numbers_are_of_the_weights_that_are_left(self, lightning, made, order, tmp_path):
        class Averaged(lightning.Callback):  # as stochastic weight averaging does, which puts its weights in at the end
            def on_train_end(self, trainer, module):
                with torch.no_grad():
                    module.net[0].weight.mul_(0.5)

        saliency = self.callback()
        stop = lightning.callbacks.EarlyStopping("val_loss", patience=1)
        some = [saliency, Averaged(), stop]
        keep = lightning.callbacks.ModelCheckpoint(tmp_path, monitor="val_loss")
        self.fit(lightning, made, [*(some[i] for i in order), keep], tmp_path, enable_checkpointing=True)
        same(saliency, made.net)
        assert made.training

    @pytest.mark.filterwarnings("ignore")
    def test_the_training_is_the_same_as_without(self, lightning, made, tmp_path):
        before = {name: value.clone() for name, value in made.state_dict().items()}
        self.fit(lightning, made, [self.callback()], tmp_path)
        with_it = [parameter.clone() for parameter in made.parameters()]
        made.load_state_dict(before)
        self.fit(lightning, made, [], tmp_path)
        assert all(torch.equal(a, b) for a, b in zip(with_it, made.parameters(), strict=True))

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(("options", "message"), [*WRONG, ({"network": None}, "network must name the part")])
    def test_everything_is_checked_before_the_first_step(self, lightning, made, options, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            self.fit(lightning, made, [self.callback(**options)], tmp_path)
        assert made.steps == 0

    @pytest.mark.filterwarnings("ignore")
    def test_labels_out_of_range_are_found_before_the_first_step(self, lightning, made, tmp_path):
        from evtkit_torch.lightning import SaliencyCallback

        bad = SaliencyCallback((X[:80], Y[:80] + 2), network="net", units="rows", progress=False)
        with pytest.raises(ValueError, match="labels must lie in"):
            self.fit(lightning, made, [bad], tmp_path)
        assert made.steps == 0

    @pytest.mark.filterwarnings("ignore")
    def test_a_failure_at_the_end_leaves_the_training(self, lightning, made, tmp_path):
        class Broken(lightning.Callback):
            def on_train_end(self, trainer, module):
                module.net[3].weight.data.fill_(float("nan"))

        with pytest.warns(RuntimeWarning, match="the training is kept, but its saliency could not be had"):
            trainer = self.fit(lightning, made, [self.callback(), Broken()], tmp_path)
        assert trainer.state.finished

    @pytest.mark.filterwarnings("ignore")
    def test_the_older_package_will_do(self, made, tmp_path):
        old = pytest.importorskip("pytorch_lightning", reason="needs pytorch-lightning")

        class Module(old.LightningModule):
            configure_optimizers = type(made).configure_optimizers
            training_step = lambda self, batch, _: functional.cross_entropy(self.net(batch[0]), batch[1])  # noqa: E731

        module = Module()
        module.net = body()
        saliency = self.callback()
        self.fit(old, module, [saliency], tmp_path)
        same(saliency, module.net)


class Rows(Dataset):
    """Samples as the Trainer takes them, with a column that no network takes."""

    def __init__(self, part):
        self.part = range(len(X))[part]

    def __len__(self):
        return len(self.part)

    def __getitem__(self, i):
        return {"x": X[self.part[i]], "label": int(Y[self.part[i]]), "text": "so it goes"}


class TestTrainer:
    @pytest.fixture(scope="class")
    def hf(self):
        pytest.importorskip("accelerate", reason="needs accelerate")
        return pytest.importorskip("transformers", reason="needs transformers")

    @pytest.fixture
    def model(self, hf):
        class Config(hf.PretrainedConfig):
            pass

        class Net(hf.PreTrainedModel):
            config_class = Config

            def __init__(self, config):
                super().__init__(config)
                self.net = body()
                self.post_init()

            def _init_weights(self, module):
                pass

            def forward(self, x, labels=None):
                logits = self.net(x)
                loss = None if labels is None else functional.cross_entropy(logits, labels)
                return hf.modeling_outputs.SequenceClassifierOutput(loss=loss, logits=logits)

        return Net(Config(num_labels=3))

    def train(self, hf, model, callbacks, tmp_path, **others):
        args = hf.TrainingArguments(
            str(tmp_path), num_train_epochs=3, learning_rate=0.5, per_device_train_batch_size=20, report_to=[],
            use_cpu=True, disable_tqdm=True, seed=3, optim="sgd", dataloader_pin_memory=False,
            **{"save_strategy": "no"} | others,
        )  # fmt: skip
        trainer = hf.Trainer(
            model, args, train_dataset=Rows(slice(80)), eval_dataset=Rows(slice(80, None)), callbacks=callbacks
        )
        trainer.train()
        return trainer

    def callback(self, **others):
        from evtkit_torch.trainer import SaliencyCallback

        return SaliencyCallback(Rows(slice(80)), Rows(slice(80, None)), **{"units": "rows", "progress": False} | others)

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("first", [True, False])
    def test_the_numbers_are_of_the_weights_that_are_left(self, hf, model, first, tmp_path):
        class Averaged(hf.TrainerCallback):
            def on_train_end(self, args, state, control, model, **kwargs):
                with torch.no_grad():
                    model.net[0].weight.mul_(0.5)

        saliency = self.callback()
        callbacks = [saliency, Averaged()] if first else [Averaged(), saliency]
        stop = hf.EarlyStoppingCallback(1)
        trainer = self.train(
            hf, model, [*callbacks, stop], tmp_path, eval_strategy="epoch", save_strategy="epoch", save_total_limit=1,
            load_best_model_at_end=True, metric_for_best_model="loss",
        )  # fmt: skip
        same(saliency, model.net)
        assert len([own for own in trainer.callback_handler.callbacks if type(own).__name__ == "_Last"]) == 0

    @pytest.mark.filterwarnings("ignore")
    def test_the_training_is_the_same_as_without(self, hf, model, tmp_path):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        self.train(hf, model, [self.callback()], tmp_path)
        with_it = [parameter.clone() for parameter in model.parameters()]
        model.load_state_dict(before)
        self.train(hf, model, [], tmp_path)
        assert all(torch.equal(a, b) for a, b in zip(with_it, model.parameters(), strict=True))

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(("options", "message"), WRONG)
    def test_everything_is_checked_before_the_first_step(self, hf, model, options, message, tmp_path):
        before = model.net[0].weight.clone()
        with pytest.raises(ValueError, match=message):
            self.train(hf, model, [self.callback(**options)], tmp_path)
        assert torch.equal(before, model.net[0].weight)

    @pytest.mark.filterwarnings("ignore")
    def test_the_task_is_that_of_the_configuration(self, hf, model, tmp_path):
        from evtkit_torch.trainer import SaliencyCallback

        model.config.problem_type = "multi_label_classification"
        y = functional.one_hot(Y, 3).float()
        saliency = SaliencyCallback(({"x": X[:80]}, y[:80]), ({"x": X[80:]}, y[80:]), units="rows", progress=False)
        self.train(hf, model, [saliency], tmp_path)
        assert saliency.net.task == "labels"
        model.eval()
        assert saliency.accuracy == ((model(X[80:]).logits > 0) == (y[80:] > 0.5)).all(1).double().mean().item()


@pytest.mark.filterwarnings("ignore")
def test_a_report_and_tensorboard_hold_what_was_found(tmp_path):
    board = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    lightning = pytest.importorskip("lightning.pytorch", reason="needs lightning")
    from evtkit_torch.lightning import SaliencyCallback

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = body()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            return functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    saliency = SaliencyCallback(
        (X[:80], Y[:80]), (X[80:], Y[80:]), units="rows", report=tmp_path / "page.html", progress=False,
        writer=SummaryWriter(tmp_path / "runs"),
    )  # fmt: skip
    lightning.Trainer(
        max_epochs=1, callbacks=[saliency], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        accelerator="cpu",
    ).fit(Module(), DataLoader(TensorDataset(X[:80], Y[:80]), 20))  # fmt: skip
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    saliency._writer.close()
    found = board.EventAccumulator(str(tmp_path / "runs"))
    found.Reload()
    assert {"saliency/accuracy", "saliency/fitted", "saliency/samples"} <= set(found.Tags()["scalars"])
    assert found.Scalars("saliency/accuracy")[0].value == pytest.approx(saliency.accuracy)
    assert found.Images("saliency/units")[0].width > 300
    assert "saliency/ranking/text_summary" in found.Tags()["tensors"]
