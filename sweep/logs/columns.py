"""Which column of a log means what: one table of spellings for all formats.

| field            | unit and meaning                          | other spellings that are understood                 |
|------------------|-------------------------------------------|-----------------------------------------------------|
| loss             | of the training; CTC: nats a label        | train_loss, batch_loss, total_loss, xent, cost, ... |
| val_loss         | of held-out data                          | eval_loss, valid loss, test/loss, CV loss, ...      |
| grad_norm        | before clipping, of unscaled gradients    | gradient_norm, gnorm, total_norm, ...               |
| loss_scale       | in force at the step                      | scale, grad_scale, scaler, ...                      |
| applied          | whether the weights were updated          | stepped; reversed: skipped, overflow, ...           |
| skip_reason      | calibration, nonfinite, threshold, ...    | reason                                              |
| step             | number of the update                      | global_step, iteration, batch, ...                  |
| epoch            | tells the order where no step does        | current_epoch                                       |
| lr               | learning rate                             | learning_rate                                       |
| blank_rate       | share of blank frames                     | blank_ratio, blank_fraction, ...                    |
| input_dependence | nats                                      | mutual_information                                  |
| params_finite    | whether all weights are finite            | weights_finite                                      |
| num_infeasible   | targets of the step that CTC cannot align | infeasible                                          |

A name counts in any case and with any separators ("Train/Loss", "grad-norm", "lossScale"), and with a prefix such as
"train/" or "metrics/". The exact name comes first, then the others in the order of the table. A loss of any other name
("box_loss", "Generator Loss") is taken for a part of one.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

SPELLINGS: dict[str, tuple[str, ...]] = {
    "loss": (
        "loss",
        "train_loss",
        "training_loss",
        "loss_train",
        "train_loss_step",
        "loss_step",
        "step_loss",
        "batch_loss",
        "minibatch_loss",
        "loss_value",
        "total_loss",
        "loss_total",
        "ctc_loss",
        "loss_ctc",
        "lm_loss",
        "cross_entropy_loss",
        "cross_entropy",
        "crossentropy",
        "xent",
        "ce_loss",
        "nll_loss",
        "nll",
        "cost",
        "train_loss_epoch",
        "mean_loss",
        "avg_loss",
        "average_loss",
        "running_loss",
        "loss_epoch",
        "epoch_loss",
        "objective",
        "negated_objective",
        "elbo_loss",
        "logloss",
        "log_loss",
        "binary_logloss",
        "multi_logloss",
        "mlogloss",
        "trl",
    ),
    "val_loss": ("val_loss", "valid_loss", "validation_loss", "eval_loss", "dev_loss", "cv_loss", "test_loss", "tel"),
    "grad_norm": (
        "grad_norm",
        "gradient_norm",
        "gradnorm",
        "grad_norms",
        "gnorm",
        "g_norm",
        "grad_l2_norm",
        "gradient_l2_norm",
        "l2_grad_norm",
        "grad_norm_before_clip",
        "grad_norm_unclipped",
        "grad_norm_all",
        "grad_2_0_norm_total",
        "grad_norm_total",
        "total_grad_norm",
        "total_gradient_norm",
        "global_grad_norm",
        "global_gradient_norm",
        "gradient_global_norm",
        "gradients_global_norm",
        "grads_global_norm",
        "l2_norm_grad_global",
        "grad_global_norm",
        "gradients_norm",
        "grads_norm",
        "global_norm",
        "total_norm",
        "norm_grad",
        "sum_gradnorm",
        "norm",
        "gradient",
        "gradients",
        "grad",
    ),
    "loss_scale": (
        "loss_scale",
        "scale",
        "grad_scale",
        "scaler_scale",
        "amp_scale",
        "fp16_scale",
        "loss_scaler",
        "scaler",
        "lossscale",
        "loss_scaling",
        "loss_scale_value",
    ),
    "applied": ("applied", "stepped", "step_applied", "update_applied", "optimizer_stepped"),
    "skipped": ("skipped", "skip", "step_skipped", "skipped_step", "is_skipped", "overflow", "found_inf"),
    "skip_reason": ("skip_reason", "reason"),
    "step": (
        "step",
        "global_step",
        "steps",
        "num_steps",
        "iteration",
        "iterations",
        "iter",
        "iters",
        "it",
        "itr",
        "num_updates",
        "updates",
        "update",
        "current_steps",
        "current_step",
        "global_iter",
        "global_iteration",
        "iter_num",
        "step_num",
        "n_iter",
        "total_timesteps",
        "timesteps",
        "num_timesteps",
        "time_total_timesteps",
        "env_steps",
        "batch",
        "batches",
        "batch_idx",
        "batch_index",
        "mini_batch",
        "minibatch",
    ),
    "epoch": ("epoch", "epochs", "current_epoch", "epoch_num"),
    "lr": ("lr", "learning_rate", "lrate", "base_lr"),
    "blank_rate": ("blank_rate", "blank_ratio", "blank_fraction", "blank_frac", "blank_share"),
    "input_dependence": ("input_dependence", "mutual_information", "mutual_info"),
    "params_finite": ("params_finite", "parameters_finite", "weights_finite"),
    "num_infeasible": ("num_infeasible", "infeasible", "n_infeasible", "infeasible_targets"),
}
"""Field -> its spellings, best first. `skipped` is `applied` reversed."""

_RANK = {name: (field, rank) for field, names in SPELLINGS.items() for rank, name in enumerate(names, start=1)}
_PREFIX_RANK = 100
"""A name with a prefix comes after all without one."""
_PREFIXES = frozenset(
    "train training tr trainer current cur metrics metric optim optimizer debug amp log scalars main perf".split()
)

HELD_OUT = frozenset(
    "val valid validation validate validating eval evaluation evaluate evaluating test testing dev devel cv heldout "
    "holdout".split()
)
"""Words for data that are not trained on."""
_TRAIN = frozenset("train training tr trn".split())
SETS = HELD_OUT | _TRAIN
"""Words for the data of a loss."""
_HEADS = frozenset("loss losses err xent nll cost logloss crossentropy ctcloss celoss mseloss".split())
"""Words that name a loss."""
_ERRORS = frozenset("mse rmse mae error rmsle mape l1 l2 smoothl1 huber multiclass".split())
"""Words that name a loss where "train" says so, as gradient boosting prints them."""
_METRICS = frozenset(
    "mse rmse mae rmsle mape l1 l2 smoothl1 huber multiclass multiclassonevsall quantile poisson deviance".split()
)
"""What is minimized where a table has nothing that is called a loss: CatBoost names the column by its objective."""
_JOINED = {("smooth", "l1"): "smoothl1", ("multi", "class"): "multiclass", ("value", "func"): "value",
           ("value", "function"): "value"}  # fmt: skip
"""Two words of a name that are one."""
_REWARD = re.compile(
    r"(?:^|_)(?:reward|ep_rew|ep_ret|episode_return|episodic_return|average_return|mean_return|average_q|average_v|"
    r"mean_q)(?:_|$)"
)
"""What is earned in reinforcement learning, or expected to be."""
_PREFERENCES = frozenset("chosen rejected margin margins accuracy accuracies model".split())
"""Words of a reward that goes with a loss all the same."""
_NO_LOSS = frozenset(
    "scale scaler scaling weight weights coef coeff coefficient factor lambda time std stdev var variance min max best "
    "lowest ratio type fn func function name count num ppl perplexity lr rate acc accuracy norm grad grads gradient "
    "delta change improvement improved patience threshold slope zscore sec ms tokens reduction config key keys filter "
    "interval every nan inf last prev previous old target elapsed wall duration runtime".split()
)
"""Words of a name that holds "loss" and is none."""
_PLAIN = (
    frozenset(
        "batch minibatch mini step iter iteration it current cur curr this raw log logs logging metrics metric scalars "
        "scalar main model trainer final the a total tot sum summed overall all full combined optim optimizer unscaled "
        "item now reduced per is was are of debug perf info unreduced world objective net lm dataset set".split()
    )
    | _TRAIN
)
"""Words that change nothing: the loss of the training, as a whole."""
_TOTAL = frozenset("total tot sum summed overall all full combined".split())
_MEANS = frozenset(
    "avg avr average averaged mean running smooth smoothed ema epoch moving mavg median history cumulative global "
    "interval period".split()
)
"""Words for a mean over several steps."""
_KINDS = frozenset(
    "ctc ce nll xent bce mse mlm sft dpo rnnt transducer cross entropy log mle language modeling softmax binary "
    "categorical label smoothed logloss".split()
)
"""Words for a kind of loss, which may be all that is minimized, or a part of it."""
_ROLES = {
    **dict.fromkeys("g gen generator netg errg".split(), "generator"),
    **dict.fromkeys("d dis disc discrim discriminator netd errd adversary".split(), "discriminator"),
    **dict.fromkeys("actor policy pg pi".split(), "actor"),
    **dict.fromkeys("critic value vf qf q".split(), "critic"),
}
"""Word -> the player whose loss it is, of two that work against each other or on different aims."""
_ASIDE = frozenset(
    "aux auxiliary balance balancing load router moe mtp z reg regularization regularisation commitment".split()
)
"""Words for what is minimized beside the loss, to keep a model in order."""
_GAN_TERMS = frozenset("a b gan real fake l1 adv total vgg feat".split())
"""D_A, G_GAN: how CycleGAN and pix2pix call their losses."""
_BOUNDS = frozenset("clip clipped clipping max min maximum minimum target init initial threshold limit bound".split())
_NO_STEPS = frozenset(
    "per of warmup max maximum total accumulation remaining save saving eval every each log logging print time "
    "seconds ms micro elapsed size skipped nan number samples episode".split()
)
_MEAN_RANK, _KIND_RANK, _OTHER_RANK, _ERROR_RANK = 400, 300, 500, 600


_COUNTER = re.compile(r" (?:of total(?: \(\d\))?|\(second number\))$")
"""As the reader of texts calls the numbers of `10/500`."""


@dataclass(frozen=True)
class Meaning:
    """What a column of some name holds."""

    field: str
    rank: int
    """Among the spellings of that field; lower is better."""
    part: str = ""
    """Of a loss: of which part, in normal form ("box"); empty for the whole."""
    role: str = ""
    """Of a loss: whose, where two work against each other: generator, discriminator, actor, critic."""
    is_kind: bool = False
    """Of a loss: whether the part is but the kind of loss ("ctc"), which may well be the whole."""

    @property
    def is_aside(self) -> bool:
        """Of a loss: whether the part only keeps the model in order."""
        return not _ASIDE.isdisjoint(self.part.split("_"))

    @property
    def is_whole(self) -> bool:
        """Of a loss: whether its name says so, or at least nothing else."""
        return not self.part


def normal_form(name: str) -> str:
    """Lower case, words joined by one underscore: "Train/gradNorm" -> "train_grad_norm", "CTCLoss" -> "ctc_loss"."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=\w)'s\b", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


@lru_cache(maxsize=4096)
def meaning_of(name: str) -> Meaning | None:
    """What a column of this name holds; None where it is nothing that a verdict needs."""
    if name in SPELLINGS:
        return Meaning(name, 0)
    if _COUNTER.search(name):
        return Meaning("step", _OTHER_RANK)
    normal = normal_form(name)
    words = bare = normal.split("_")
    while len(bare) > 1 and bare[0] in _PREFIXES:
        bare = bare[1:]
    known = _RANK.get(normal)
    if known is None and "_".join(bare) in _RANK:
        field, rank = _RANK["_".join(bare)]
        known = field, rank + _PREFIX_RANK
    loss = _loss(words)
    if known is not None:
        # The order of the table, and what the words say of a loss.
        return Meaning(*known) if loss is None else replace(loss, rank=known[1])
    return loss or _rate(bare) or _beside(_joined(bare), normal)


def is_reward(name: str) -> bool:
    """Whether a name is that of what is earned in reinforcement learning; a preference loss has `rewards/chosen`."""
    normal = normal_form(name)
    return _REWARD.search(normal) is not None and _PREFERENCES.isdisjoint(normal.split("_"))


def _beside(words: list[str], normal: str) -> Meaning | None:
    """What is no loss, but tells of one: a reward; a metric that may stand for a loss."""
    if is_reward(normal):
        return Meaning("reward", _OTHER_RANK)
    return Meaning("metric", _OTHER_RANK) if len(words) == 1 and words[0] in _METRICS else None


def _joined(words: list[str]) -> list[str]:
    """The words of a name, where two of them that are one are one."""
    for place, pair in enumerate(zip(words[:-1], words[1:], strict=True)):
        if (one := _JOINED.get(pair)) is not None:
            return [*words[:place], one, *words[place + 2 :]]
    return words


def _rate(words: list[str]) -> Meaning | None:
    """A learning rate of one of several groups: lr/pg0, lr-AdamW, optim0_lr0."""
    if {"scale", "mult", "decay", "warmup", "min", "max", "factor", "end", "final", "init", "initial"} & set(words):
        return None
    known = words[0] == "lr" or words[:2] == ["learning", "rate"]
    if not known:
        known = any(re.fullmatch(r"lr\d+", word) for word in words) and len(words) <= 2
    return Meaning("lr", _OTHER_RANK) if known and len(words) <= 4 else None


def _loss(words: list[str]) -> Meaning | None:
    """The loss that a name of these words holds."""
    words = _joined(words)
    if len(words) == 2 and words[0] in ("d", "g") and words[1] in _GAN_TERMS:
        return Meaning("loss", _OTHER_RANK, "_".join(words), _ROLES[words[0]])
    held_out = [word for word in words if word in HELD_OUT] + (["held"] if "held" in words and "out" in words else [])
    is_loss = any(word in _HEADS or word.endswith("logloss") for word in words) or words[-2:] == ["cross", "entropy"]
    is_error = not is_loss and words[-1] in _ERRORS and bool(held_out or _TRAIN & set(words))
    if not (is_loss or is_error) or not _NO_LOSS.isdisjoint(words):
        return None
    rest = [
        word
        for word in words
        if word not in _HEADS and word not in _PLAIN and word not in HELD_OUT and word not in ("held", "out")
    ]
    kinds = [word for word in rest if word in _KINDS]
    roles = [_ROLES[word] for word in rest if word in _ROLES]
    parts = [word for word in rest if word not in _MEANS and word not in _KINDS]
    if is_error:
        parts = [word for word in parts if word not in _ERRORS]
    rank = 90 if _TOTAL.isdisjoint(words) else 50
    if kinds:
        rank = _KIND_RANK
    if not _MEANS.isdisjoint(rest) and not parts:
        rank = _MEAN_RANK
    if is_error:
        rank += _ERROR_RANK
    if parts:
        rank = _OTHER_RANK
    part = "_".join([*kinds, *parts])
    if held_out:
        # valid_1 is the second of several sets, and no part of the loss.
        parts = [word for word in parts if not word.isdigit()]
        rank = rank if parts or rank != _OTHER_RANK else 90
        part = "_".join([*kinds, *parts])
        # Of two held-out sets, the one that is not the last word on a model is looked at while it trains.
        return Meaning("val_loss", rank + 1000 * ("test" in held_out or "testing" in held_out), part)
    return Meaning("loss", rank, part, roles[0] if roles else "", is_kind=bool(kinds) and not parts)


def is_bound(words: Iterable[str]) -> bool:
    """Whether words such as "clip" or "max" say that a number is a setting and no measurement."""
    return not _BOUNDS.isdisjoint(words)


def is_no_step(words: Iterable[str]) -> bool:
    """Whether words such as "per" or "warmup" say that a number of steps is none that counts them."""
    return not _NO_STEPS.isdisjoint(words)
