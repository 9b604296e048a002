"""The recommended training step as plain PyTorch, to be copied into another program."""

from collections.abc import Mapping
from typing import Any

Lines = list[str]

_REMEMBERED = ("adaptive", "adagc")
"""Kinds of clipping that go by the norms of earlier steps."""
_ADAM = {"adamw": "AdamW", "adam": "Adam"}
_HALF = {"bf16": "bfloat16", "fp16": "float16", "fp16_unscaled": "float16"}


def snippet(training: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """Python source of a function `train` that needs torch alone and carries these settings.

    It holds what decides stability: optimizer, schedule, precision with its loss scale, clipping, the bad-batch rule,
    batch size and accumulation; the model's own settings stand in a comment. Model, data and loss are its arguments.

    Args:
        training: the study's `training` section with all defaults, as `TrainingConfig.model_dump(mode="json")` has it.
        model: the study's `model` section likewise.

    Raises:
        KeyError: a kind or a field is unknown here.
    """
    lr, plateau = _schedule(training["schedule"], training["optimizer"]["lr"])
    helpers = [
        lr,
        _optimizer_helper(training["optimizer"]["kind"]),
        _clip_helper(training["clip"]),
        _policy_helper(training["bad_batch"]),
    ]
    needed = _imports("\n".join(line for part in helpers for line in part), training["bad_batch"]["kind"])
    parts = [_model_comment(model) + needed, *helpers, _train(training, plateau)]
    return "\n\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _model_comment(model: Mapping[str, Any]) -> Lines:
    lines = [f"# Model: {', '.join(f'{name} {value}' for name, value in model.items() if name != 'options')}."]
    scale, conv = model.get("init_scale", 1.0), model.get("conv_scale", 1.0)
    if scale != 1.0 or conv != 1.0:
        lines.append("# Multiply its initial weight matrices and kernels, not biases and norm gains, before training:")
        lines.append(f"#   by {scale!r}, convolution kernels by {scale * conv!r}.")
    return lines


def _imports(helpers: str, policy: str) -> Lines:
    names = ["math"] if "math." in helpers or policy != "never_skip" else []
    names += ["statistics"] if "statistics." in helpers else []
    first = ["from collections import deque"] if "deque(" in helpers else []
    return [*(f"import {name}" for name in names), *first, *([""] if names or first else []), "import torch"]


def _schedule(schedule: Mapping[str, Any], lr: float) -> tuple[Lines, bool]:
    """`lr_at(step, max_steps)`, and whether it needs the validation loss."""
    warmup = schedule["warmup_steps"]
    head = ["def lr_at(step, max_steps):", '    """Learning rate of update number step + 1."""']
    rise = [f"    if step < {warmup}:", f"        return {lr!r} * (step + 1) / {warmup}"] if warmup else []
    match schedule["kind"]:
        case "constant":
            return [*head, *rise, f"    return {lr!r}"], False
        case "cosine":
            last = max(warmup - 1, 0)
            return [*head, *rise, *_cosine(lr, last, schedule["final_ratio"])], False
        case "one_cycle":
            peak, low = warmup - 1, schedule["initial_ratio"]
            up = [
                f"    if step <= {peak}:",
                f"        return {lr!r} * (1 - {1 - low!r} * 0.5 * (1 + math.cos(math.pi * step / {peak})))",
            ]
            return [*head, *up, *_cosine(lr, peak, schedule["final_ratio"])], False
        case "wsd":
            falls, end = schedule["decay_rate"], schedule["final_ratio"]
            way = "min(1.0, (step - last) / (max_steps - 1 - last))"
            left = f"1 - math.sqrt({way})" if schedule["shape"] == "one_minus_sqrt" else f"1 - {way}"
            return [
                *head,
                *rise,
                f"    last = max(max_steps - 1 - max(round({falls!r} * max_steps), 1), {max(warmup - 1, 0)})",
                "    if step <= last:",
                f"        return {lr!r}",
                f"    return {lr!r} * ({end!r} + {1 - end!r} * ({left}))",
            ], False
        case "plateau":
            factor, patience = schedule["factor"], schedule["patience_evals"]
            return [
                *head,
                *rise,
                f"    return {lr!r}",
                "",
                "",
                "class Plateau:",
                '    """Cuts the rate when the validation loss stops improving."""',
                "",
                "    def __init__(self):",
                '        self.factor, self.best, self.without_best = 1.0, float("inf"), 0',
                "",
                "    def observe(self, val_loss):",
                "        if val_loss < self.best:  # False for NaN",
                "            self.best, self.without_best = val_loss, 0",
                "            return",
                "        self.without_best += 1",
                f"        if self.without_best == {patience}:",
                f"            self.factor, self.without_best = self.factor * {factor!r}, 0",
            ], True
    raise KeyError(f"no snippet is known for the schedule {schedule['kind']!r}")


def _cosine(lr: float, start: int, end: float) -> Lines:
    """From the whole rate at step `start` to the share `end` of it at the last step."""
    # A training of one step has its whole rate.
    since, whole = (f"(step - {start})", f"(max_steps - {start + 1})") if start else ("step", "max(max_steps - 1, 1)")
    fall = f"0.5 * (1 + math.cos(math.pi * min(1.0, {since} / {whole})))"
    return [f"    return {lr!r} * {fall}" if end == 0 else f"    return {lr!r} * ({end!r} + {1 - end!r} * {fall})"]


def _clip_helper(clip: Mapping[str, Any]) -> Lines:
    match clip["kind"]:
        case "off" | "norm" | "value":
            return []
        case "agc":
            return [
                "def clip_units_(parameters):",
                '    """Limits the gradient of each output unit relative to its weights (AGC, arXiv 2102.06171)."""',
                "    for p in parameters:",
                "        if p.grad is None:",
                "            continue",
                "        dims = tuple(range(1, p.ndim)) or None",
                "        size = torch.linalg.vector_norm(p.detach(), dim=dims, keepdim=True)",
                "        norm = torch.linalg.vector_norm(p.grad, dim=dims, keepdim=True)",
                f"        p.grad.mul_((size.clamp(min={clip['eps']!r}) * {clip['max_ratio']!r} / norm).clamp(max=1.0))",
            ]
        case "adaptive":
            z, decay, first = clip["z"], clip["decay"], clip["warmup_steps"]
            return [
                "class AdaptiveClip:",
                '    """Cuts norms that stand out of their running mean and variance (ZClip, arXiv 2504.02507)."""',
                "",
                "    def __init__(self):",
                "        self.first, self.mean, self.variance = [], 0.0, 0.0",
                "",
                "    def clip_(self, parameters, norm):",
                "        if not math.isfinite(norm):",
                "            return",
                f"        if len(self.first) < {first}:",
                "            self.first.append(norm)",
                "            self.mean = sum(self.first) / len(self.first)",
                "            self.variance = sum((v - self.mean) ** 2 for v in self.first) / len(self.first)",
                "            return",
                "        excess, limit = norm - self.mean, norm",
                f"        if excess > {z!r} * self.variance**0.5:",
                f"            limit = min(norm, self.mean + {z!r} ** 2 * self.variance / excess)",
                "        if limit < norm:",
                "            for p in parameters:",
                "                if p.grad is not None:",
                "                    p.grad.mul_(min(1.0, limit / (norm + 1e-6)))",
                f"        self.mean = {decay!r} * self.mean + (1 - {decay!r}) * limit",
                f"        self.variance = {decay!r} * self.variance + (1 - {decay!r}) * (limit - self.mean) ** 2",
            ]
        case "adagc":
            ratio, decay, most, first = clip["max_ratio"], clip["decay"], clip["max_norm"], clip["warmup_steps"]
            return [
                "class AdaptiveClip:",
                '    """Cuts each tensor\'s norm by the running mean of its own (AdaGC, arXiv 2502.11034)."""',
                "",
                "    def __init__(self):",
                "        self.num_steps, self.means = 0, {}",
                "",
                "    def clip_(self, parameters, norm):",
                "        if not math.isfinite(norm):",
                "            return",
                "        for index, p in enumerate(parameters):",
                "            if p.grad is None or (size := p.grad.norm().item()) == 0:",
                "                continue",
                '            mean = self.means.get(index, float("inf"))',
                f"            factor = {ratio!r} * mean / size",
                f"            if self.num_steps < {first}:",
                f"                factor = {most!r} / (norm + 1e-6)",
                "            p.grad.mul_(min(1.0, factor))",
                "            size *= min(1.0, factor)",
                f"            if self.num_steps < {first} or math.isinf(mean):",
                "                self.means[index] = min(mean, size)",
                "            else:",
                f"                self.means[index] = {decay!r} * mean + (1 - {decay!r}) * size",
                "        self.num_steps += 1",
            ]
    raise KeyError(f"no snippet is known for clipping by {clip['kind']!r}")


def _optimizer_helper(kind: str) -> Lines:
    """A class that torch does not have, if the optimizer is of such a kind."""
    match kind:
        case "stable_adamw":
            return [
                "class StableAdamW(torch.optim.AdamW):",
                '    """A rate for each tensor, lr / max(1, RMS_t) (arXiv 2304.13013); a group for each tensor."""',
                "",
                "    @torch.no_grad()",
                "    def step(self, closure=None):",
                '        rates = [group["lr"] for group in self.param_groups]',
                "        for group in self.param_groups:",
                '            (p,), beta = group["params"], group["betas"][1]',
                "            if p.grad is None:",
                "                continue",
                "            state = self.state[p]",
                '            count = float(state["step"]) + 1 if state else 1',
                '            before = state["exp_avg_sq"] if state else torch.zeros_like(p)',
                "            square = (beta * before + (1 - beta) * p.grad**2) / (1 - beta**count)",
                '            ratio = p.grad / square.sqrt().clamp(min=group["eps"])',
                '            group["lr"] /= max(1.0, ratio.square().mean().sqrt().item())',
                "        super().step(closure)",
                "        for group, rate in zip(self.param_groups, rates):",
                '            group["lr"] = rate',
            ]
        case "muon":
            return [
                "class MuonAdamW(torch.optim.AdamW):",
                '    """Muon for weights of two and more dimensions, as matrices; AdamW for the others."""',
                "",
                "    def __init__(self, parameters, *, momentum, nesterov, lr, weight_decay, **adam):",
                "        super().__init__(parameters, lr=lr, weight_decay=weight_decay, **adam)",
                "        self.matrices = [p for p in parameters if p.ndim >= 2]",
                "        self.flat = [torch.nn.Parameter(p.data.view(len(p), -1)) for p in self.matrices]",
                "        self.muon = torch.optim.Muon(",
                "            self.flat, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov,",
                '            adjust_lr_fn="match_rms_adamw",',
                "        )",
                "",
                "    def step(self, closure=None):",
                "        gradients = [p.grad for p in self.matrices]",
                "        for p, flat in zip(self.matrices, self.flat):",
                "            flat.grad = None if p.grad is None else p.grad.flatten(1)",
                "            p.grad = None",
                '        self.muon.param_groups[0]["lr"] = self.param_groups[0]["lr"]',
                "        self.muon.step()",
                "        super().step(closure)",
                "        for p, gradient in zip(self.matrices, gradients):",
                "            p.grad = gradient",
            ]
    return []


def _policy_helper(policy: Mapping[str, Any]) -> Lines:
    match policy["kind"]:
        case "never_skip" | "skip_nonfinite" | "skip_above":
            return []
        case "robust_z":
            return [
                "class RobustZ:",
                '    """Refuses a batch whose log gradient norm stands out of the recent ones."""',
                "",
                "    def __init__(self):",
                f"        self.recent = deque(maxlen={policy['window']})",
                "",
                "    def refuses(self, loss, norm):",
                "        if not (math.isfinite(loss) and math.isfinite(norm)):",
                "            return True",
                "        if norm == 0:",
                "            return False",
                "        value, outlier = math.log(norm), False",
                f"        if len(self.recent) >= {policy['warmup_steps']}:",
                "            median = statistics.median(self.recent)",
                "            deviation = 1.4826 * statistics.median(abs(v - median) for v in self.recent)",
                f"            outlier = (value - median) / max(deviation, 0.05) > {policy['z']!r}",
                "        self.recent.append(value)",
                "        return outlier",
            ]
    raise KeyError(f"no snippet is known for the bad-batch policy {policy['kind']!r}")


def _train(training: Mapping[str, Any], plateau: bool) -> Lines:
    every = training.get("eval_every_steps")
    evaluation = ", evaluate, eval_every_steps" + (f"={every}" if every else "") if plateau else ""
    count = training["accumulate"]
    counted = _counts_applied(training)
    at = "num_applied" if counted else "step"
    # A default must not stand before an argument without one.
    options = f'{"" if every or not plateau else ", *"}, device="cuda", report=None'
    lines = [
        f"def train(model, batches, compute_loss, max_steps{evaluation}{options}):",
        f'    """Trains on an iterator of batches of {training["batch_size"]} utterances.',
        "",
        "    `compute_loss(model, batch)` is the CTC loss as torch's `ctc_loss` has it by default (reduction='mean').",
        *_normalization_note(training.get("normalization", "once")),
        *_besides(training),
        "    `report(step, loss, lr)`, if given, hears of every step, counted from 1.",
        *(["    `evaluate(model)` is the validation loss; it may leave the model in eval mode."] if plateau else []),
        '    """',
        "    device = torch.device(device)",
        "    parameters = [p for p in model.parameters() if p.requires_grad]",
        *_indented(_optimizer(training["optimizer"])),
        *_indented(_precision_setup(training["precision"])),
        *(["    adaptive_clip = AdaptiveClip()"] if training["clip"]["kind"] in _REMEMBERED else []),
        *(["    policy = RobustZ()"] if training["bad_batch"]["kind"] == "robust_z" else []),
        *(["    plateau = Plateau()"] if plateau else []),
        "    model.train()",
        *(["    num_applied = 0"] if counted else []),
        "    for step in range(max_steps):",
        f"        lr = lr_at({at}, max_steps){' * plateau.factor' if plateau else ''}",
        "        for group in optimizer.param_groups:",
        '            group["lr"] = lr',
        "        optimizer.zero_grad(set_to_none=True)",
        *_indented(_backward(training["precision"]["kind"], count), 2),
        *_indented(_update(training), 2),
        "        if report is not None:",
        "            report(step + 1, loss, lr)",
    ]
    if plateau:
        lines += [
            "        if (step + 1) % eval_every_steps == 0 or step + 1 == max_steps:",
            "            plateau.observe(evaluate(model))",
            "            model.train()",
        ]
    return lines


def _normalization_note(normalization: str) -> Lines:
    """What the loss sees where that is not the logits."""
    if normalization == "once":
        return []
    first = normalization.removesuffix("_twice").split("_then_")[0]
    return [f"    Its logits go through {first} before that loss normalises them once more ({normalization})."]


def _besides(training: Mapping[str, Any]) -> Lines:
    """What is to be done besides, in words."""
    smooth, memory = training.get("label_smoothing") or 0.0, training.get("ema")
    lines = []
    if smooth:
        lines += [
            f"    To it comes label smoothing: {1 - smooth!r} of that loss + {smooth!r} of",
            "    KL(uniform || softmax(logits)), the mean over valid frames.",
        ]
    if memory is not None:
        lines += [
            "    Evaluate by an exponential mean of the weights, of which each step keeps",
            f"    min({memory!r}, (1 + step) / (10 + step)).",
        ]
    return lines


def _optimizer(optimizer: Mapping[str, Any]) -> Lines:
    kind, lr, decay = optimizer["kind"], optimizer["lr"], optimizer["weight_decay"]
    if kind == "sgd":
        momentum = f"momentum={optimizer['momentum']!r}, nesterov={optimizer['nesterov']!r}"
        return [f"optimizer = torch.optim.SGD(parameters, lr={lr!r}, {momentum}, weight_decay={decay!r})"]
    if kind not in (*_ADAM, "stable_adamw", "muon"):
        raise KeyError(f"no snippet is known for the optimizer {kind!r}")
    betas = f"betas=({optimizer['beta1']!r}, {optimizer['beta2']!r}), eps={optimizer['eps']!r}"
    if kind in _ADAM:
        return [f"optimizer = torch.optim.{_ADAM[kind]}(parameters, lr={lr!r}, {betas}, weight_decay={decay!r})"]
    if kind == "stable_adamw":
        return [
            "optimizer = StableAdamW(",
            f'    [{{"params": [p]}} for p in parameters], lr={lr!r}, {betas}, weight_decay={decay!r}',
            ")",
        ]
    return [
        "optimizer = MuonAdamW(",
        f"    parameters, momentum={optimizer['momentum']!r}, nesterov={optimizer['nesterov']!r},",
        f"    lr={lr!r}, {betas}, weight_decay={decay!r},",
        ")",
    ]


def _precision_setup(precision: Mapping[str, Any]) -> Lines:
    kind = precision["kind"]
    if kind not in ("fp32", "tf32", *_HALF):
        raise KeyError(f"no snippet is known for the precision {kind!r}")
    allowed = kind == "tf32"
    lines = [
        f"torch.backends.cuda.matmul.allow_tf32 = {allowed}",
        f"torch.backends.cudnn.allow_tf32 = {allowed}",
    ]
    if kind == "fp16":
        lines += [
            "scaler = torch.amp.GradScaler(",
            "    device.type,",
            f"    init_scale={precision['initial_scale']!r},",
            f"    growth_factor={precision['growth_factor']!r},",
            f"    backoff_factor={precision['backoff_factor']!r},",
            f"    growth_interval={precision['growth_interval']!r},",
            ")",
        ]
    return lines


def _backward(precision: str, count: int) -> Lines:
    """Gradients of one update, and its loss as a float."""
    share = f" / {count}" if count > 1 else ""
    scaled = f"scaler.scale(batch_loss{share})" if precision == "fp16" else f"(batch_loss{share})"
    if precision != "fp16" and count == 1:
        scaled = "batch_loss"
    forward = ["batch_loss = compute_loss(model, next(batches))"]
    if precision in _HALF:
        forward = [f"with torch.autocast(device.type, dtype=torch.{_HALF[precision]}):", *_indented(forward)]
    body = [*forward, f"{scaled}.backward()", f"loss += batch_loss.item(){share}"]
    if count == 1:
        body[-1] = "loss = batch_loss.item()"
        return body
    return ["loss = 0.0", f"for _ in range({count}):  # micro-batches of one update", *_indented(body)]


def _update(training: Mapping[str, Any]) -> Lines:
    """Clipping and the guarded step; the loss scale learns of overflows also where the step is refused."""
    scaled = training["precision"]["kind"] == "fp16"
    clip, policy = training["clip"], training["bad_batch"]
    lines = ["scaler.unscale_(optimizer)"] if scaled else []
    if clip["kind"] == "norm":
        limit = f"torch.nn.utils.clip_grad_norm_(parameters, {clip['max_norm']!r})"
        lines.append(f"norm = {limit}.item()  # the norm before clipping")
    elif policy["kind"] != "never_skip" or clip["kind"] in _REMEMBERED:
        lines.append("norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).item()")
    finite = "math.isfinite(loss) and math.isfinite(norm)"
    condition = {
        "never_skip": "",
        "skip_nonfinite": f"if {finite}:",
        "skip_above": f"if {finite} and norm <= {policy.get('threshold')!r}:",
        "robust_z": "if not policy.refuses(loss, norm):",
    }[policy["kind"]]
    applied = {
        "value": [f"torch.nn.utils.clip_grad_value_(parameters, {clip.get('max_value')!r})"],
        "agc": ["clip_units_(parameters)"],
        **dict.fromkeys(_REMEMBERED, ["adaptive_clip.clip_(parameters, norm)"]),
    }.get(clip["kind"], [])
    applied = [*applied, "scaler.step(optimizer)" if scaled else "optimizer.step()"]
    counts_applied = _counts_applied(training)
    if counts_applied and (condition or not scaled):
        applied.append("num_applied += 1")
    lines += [condition, *_indented(applied)] if condition else applied
    if counts_applied and scaled and not condition:
        return [
            *lines,
            "loss_scale = scaler.get_scale()",
            "scaler.update()",
            "num_applied += scaler.get_scale() >= loss_scale  # it falls where the scaler left the step out",
        ]
    return [*lines, "scaler.update()"] if scaled else lines


def _counts_applied(training: Mapping[str, Any]) -> bool:
    """Whether updates that are left out do not move the schedule."""
    return bool(training["schedule"].get("count") == "applied")


def _indented(lines: Lines, depth: int = 1) -> Lines:
    return ["    " * depth + line for line in lines]
