"""Text logs as known programs print them: each gives its losses, its steps, and nothing else."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweep.logs.files import read_trace
from sweep.logs.trace import Trace

NAN, INF = math.nan, math.inf
LOSSES = [round(4 - k / 16, 4) for k in range(24)]


def of(path: Path, content: str) -> Trace:
    path.write_bytes(content.encode())
    return read_trace(path)


def losses(trace: Trace) -> list[float | None]:
    return [record.loss for record in trace.records()]


@dataclass
class Style:
    """How a program prints a training of 24 steps."""

    line: Callable[[int, float], str]
    """Number (from 0) and loss of a step -> what is printed."""
    steps: Sequence[int] = range(24)
    norm: float | None = None
    lr: float | None = None
    validation: int = 0
    """How many evaluations there are."""
    losses: Sequence[float] = tuple(LOSSES)


def megatron(k: int, x: float) -> str:
    return (
        f" iteration {k + 1:8d}/   1000 | consumed samples: {256 * k} | elapsed time per iteration (ms): 1234.5 | "
        f"learning rate: 1.497E-04 | global batch size:   256 | lm loss: {x:.6E} | loss scale: 4294967296.0 | "
        f"grad norm: 1.234 | number of skipped iterations:   0 | number of nan iterations:   0 |\n"
        f"time (ms) | forward-compute: 281.05 | backward-params-all-reduce-grad: 12.3 | optimizer: 5"
    )


def nanogpt(k: int, x: float) -> str:
    evaluation = f"step {k}: train loss {x + 0.1:.4f}, val loss {x + 0.2:.4f}\n" if k % 8 == 0 else ""
    return f"{evaluation}iter {k}: loss {x:.4f}, time 3123.45ms, mfu -100.00%"


def llm_c(k: int, x: float) -> str:
    evaluation = f"\nval loss {x + 0.2:.6f}" if k % 8 == 0 else ""
    return (
        f"step {k + 1:4d}/19560 | loss {x:.6f} (+nanz)| norm 15.3566 (+nanz)| lr 8.58e-07 | 3323.40 ms | "
        f"45.1% bf16 MFU | 157741 tok/s{evaluation}"
    )


def espnet2(k: int, x: float) -> str:
    return (
        f"[host:0/8] 2023-01-30 18:47:{k:02d},107 (trainer:732) INFO: 1epoch:train:{k * 50 + 1}-{k * 50 + 50}batch: "
        f"iter_time=0.105, forward_time=0.215, loss_ctc={x + 1}, loss_att={x - 1}, acc=0.123, loss={x}, "
        f"backward_time=0.218, grad_norm=123.4, clip=100.000, loss_scale=65536, optim_step_time=0.041, "
        f"optim0_lr0=5.000e-06, train_time=1.523"
    )


def icefall(k: int, x: float) -> str:
    evaluation = ""
    if k % 8 == 4:
        evaluation = (
            "\n2022-05-01 10:00:00,123 INFO [train.py:918] (0/8) Epoch 1, validation: loss=0.951, simple_loss=1.1, "
            "pruned_loss=0.9, over 944034.00 frames."
        )
    return (
        f"2022-05-01 10:00:{k:02d},123 INFO [train.py:898] (0/8) Epoch 1, batch {50 * k}, loss[loss={x}, "
        f"simple_loss={x + 1}, pruned_loss={x - 1}, over 4321.00 frames. ], tot_loss[loss={x + 0.1}, "
        f"simple_loss={x + 1.1}, pruned_loss={x - 0.9}, over 12345.00 frames. ], batch size: 12, lr: 3.00e-02, "
        f"grad_scale: 1.0{evaluation}"
    )


def mmdetection(k: int, x: float) -> str:
    return (
        f"2023-01-01 12:00:{k:02d},000 - mmdet - INFO - Epoch [{k // 8 + 1}][{50 * (k % 8 + 1)}/400]\tlr: 1.978e-03, "
        f"eta: 1 day, 2:03:04, time: 0.521, data_time: 0.050, memory: 3770, loss_rpn_cls: 0.61, loss_bbox: 0.2, "
        f"loss: {x}, grad_norm: 3.4"
    )


def detr(k: int, x: float) -> str:
    line = (
        f"Epoch: [0]  [{10 * k:4d}/1000]  eta: 0:10:00  lr: 0.000100  class_error: 90.00  loss: {x} ({x + 1:.4f})  "
        f"loss_ce: 1.2 (2.3)  time: 0.51  data: 0.01  max mem: 3770"
    )
    return line + ("\nAveraged stats: lr: 0.000100  loss: 3.9 (3.9)  loss_ce: 1 (2)\n"
                   "Test:  [ 0/50]  eta: 0:00:10  loss: 5.0 (6.0)  loss_ce: 3 (3)" if k == 23 else "")  # fmt: skip


def pytorch_example(k: int, x: float) -> str:
    evaluation = "\nTest set: Average loss: 0.0567, Accuracy: 9812/10000 (98%)\n" if k % 8 == 7 else ""
    return f"Train Epoch: {k // 8 + 1} [{640 * (k % 8)}/60000 ({k}%)]\tLoss: {x:.6f}{evaluation}"


def caffe(k: int, x: float) -> str:
    return (
        f"I0112 12:34:{k:02d}.789012  1234 solver.cpp:228] Iteration {20 * k}, loss = {x}\n"
        f"I0112 12:34:{k:02d}.789012  1234 solver.cpp:244]     Train net output #0: loss = {x} (* 1 = {x} loss)\n"
        f"I0112 12:34:{k:02d}.789012  1234 sgd_solver.cpp:106] Iteration {20 * k}, lr = 0.01"
    )


STYLES = {
    "megatron": Style(megatron, range(1, 25), norm=1.234, lr=1.497e-4),
    "deepspeed": Style(
        lambda k, x: (
            f"[2023-07-24 13:21:{k:02d},378] [INFO] [logging.py:96:log_dist] [Rank 0] step={k}, skipped=0, "
            f"lr=[0.0003, 0.0003], mom=[(0.9, 0.999)]\nsteps: {k} loss: {x} iter time (s): 0.123 samples/sec: 1041.1"
        )
    ),
    "fairseq": Style(
        lambda k, x: (
            f"2020-03-23 11:39:{k:02d} | INFO | train_inner | epoch 003:   {k + 5} / 356 loss={x}, "
            f"nll_loss={x - 1}, ppl=13.5, wps=8e4, ups=2.66, num_updates={100 * k}, lr=0.000175, gnorm=1.036, "
            f"loss_scale=128, train_wall=38, wall=1353"
        ),
        range(0, 2400, 100),
        norm=1.036,
        lr=1.75e-4,
    ),
    "fairseq of old": Style(
        lambda k, x: (
            f"| epoch {k:03d} | loss {x} | nll_loss {x - 1} | ppl 4.61 | wps 279460 | ups 3 | "
            f"num_updates {100 * k} | lr 0.000330319 | gnorm 0.635 | clip 0.000 | oom 0.000\n"
            f"| epoch {k:03d} | valid on 'valid' subset | loss 9.329 | nll_loss 8.088 | ppl 272.04 | "
            f"num_updates {100 * k} | best_loss 9.11817"
        ),
        range(0, 2400, 100),
        norm=0.635,
        lr=0.000330319,
        validation=24,
    ),
    "nanoGPT": Style(nanogpt, validation=3),
    "llm.c": Style(llm_c, range(1, 25), norm=15.3566, lr=8.58e-7, validation=3),
    "modded-nanogpt": Style(
        lambda k, x: (
            f"step:{k}/1480 val_loss:{x:.4f} train_time:17215ms step_avg:34.43ms\n"
            f"step:{k + 1}/1480 train_time:17215ms step_avg:34.43ms"
        )
    ),
    "lit-gpt": Style(
        lambda k, x: (
            f"Epoch {k // 8 + 1} | iter {k} step {k // 4} | loss train: {x}, val: {5 if k > 8 else 'n/a'} | "
            f"iter time: 310.12 ms (step)"
        ),
        validation=15,
    ),
    "ESPnet2": Style(espnet2, range(50, 1250, 50), norm=123.4, lr=5e-6),
    "icefall": Style(icefall, range(0, 1200, 50), lr=3e-2, validation=3),
    "wenet": Style(
        lambda k, x: (
            f"2023-01-30 18:47:07,107 DEBUG TRAIN Batch 0/{100 * k} loss {x} loss_att {x - 1} "
            f"loss_ctc {x + 1} lr 0.00032621 rank 0"
        ),
        range(0, 2400, 100),
        lr=0.00032621,
    ),
    "mmdetection": Style(mmdetection, range(50, 1250, 50), norm=3.4, lr=1.978e-3),
    "detectron2": Style(
        lambda k, x: (
            f"[07/10 12:34:{k:02d} d2.utils.events]:  eta: 0:12:34  iter: {20 * k + 19}  total_loss: {x}  "
            f"loss_cls: {x - 1}  loss_box_reg: 0.71  time: 0.51  data_time: 0.01  lr: 0.001  max_mem: 1234M"
        ),
        range(19, 499, 20),
        lr=0.001,
    ),
    "DETR": Style(detr, range(0, 240, 10), lr=1e-4, validation=1),
    "timm": Style(
        lambda k, x: (
            f"Train: 0 [{50 * k:4d}/1251 ({4 * k:>3d}%)]  Loss: {x} ({x + 0.1:.3f})  Time: 0.65s, 393.1/s  "
            f"(0.6s, 393/s)  LR: 1.000e-05  Data: 0.01 (0.02)"
        ),
        range(0, 1200, 50),
        lr=1e-5,
    ),
    "ImageNet example": Style(
        lambda k, x: (
            f"Epoch: [0][{10 * k}/5005]\tTime  0.41 ( 0.51)\tData  0.01 ( 0.02)\tLoss {x:.4e} ({x + 1:.4e})\t"
            f"Acc@1   0.00 (  0.10)\tAcc@5   0.39 (  0.50)"
        ),
        range(0, 240, 10),
    ),
    "MNIST example": Style(pytorch_example, [640 * k for k in range(24)], validation=3),
    "Hugging Face": Style(
        lambda k, x: (
            f"{{'loss': {x}, 'grad_norm': 1.844, 'learning_rate': 5e-05, 'epoch': {k / 10}}}"
            + (f"\n{{'eval_loss': 2.5, 'eval_runtime': 3.1, 'epoch': {k / 10}}}" if k % 8 == 7 else "")
            + ("\n{'train_runtime': 30.1, 'train_loss': 2.1, 'epoch': 2.4}" if k == 23 else "")
        ),
        range(1, 25),
        norm=1.844,
        lr=5e-5,
        validation=3,
    ),
    "Hugging Face, quoted": Style(
        lambda k, x: f"{{'loss': '{x}', 'grad_norm': '1.844', 'learning_rate': '5e-05', 'epoch': '{k / 10}'}}",
        range(1, 25),
        norm=1.844,
        lr=5e-5,
    ),
    "TRL": Style(
        lambda k, x: (
            f"{{'loss': {x}, 'grad_norm': 2.5, 'learning_rate': 1e-06, 'rewards/chosen': 0.1, "
            f"'rewards/rejected': -0.2, 'logps/chosen': -123.4, 'logits/chosen': -1.2, 'epoch': {k / 100}}}"
        ),
        range(1, 25),
        norm=2.5,
        lr=1e-6,
    ),
    "LLaMA-Factory": Style(
        lambda k, x: (
            f"[INFO|2024-05-01 10:00:00] llamafactory.train.callbacks:157 >> {{'loss': {x}, "
            f"'learning_rate': 4.9e-05, 'epoch': {k / 100}, 'throughput': 1234.5}}"
        ),
        range(1, 25),
        lr=4.9e-5,
    ),
    "Lightning's bar": Style(
        lambda k, x: f"Epoch 0:  10%|\u2588         | {10 * k}/1000 [00:01<00:09,  9.12it/s, loss={x}, v_num=0]",
        range(0, 240, 10),
    ),
    "Keras": Style(
        lambda k, x: (
            f"Epoch {k + 1}/24\n25/25 [=====] - 3s 120ms/step - loss: {x} - accuracy: 0.5 - val_loss: 9.5 - "
            f"val_accuracy: 0.1"
        ),
        range(1, 25),
        validation=24,
    ),
    "TensorFlow estimator": Style(
        lambda k, x: (
            f"INFO:tensorflow:loss = {x}, step = {100 * k + 1} (0.455 sec)\nINFO:tensorflow:global_step/sec: 219.7"
        ),
        range(1, 2401, 100),
    ),
    "TensorFlow slim": Style(
        lambda k, x: f"INFO:tensorflow:global step {10 * k}: loss = {x} (0.45 sec/step)", range(0, 240, 10)
    ),
    "maxtext": Style(
        lambda k, x: (
            f"completed step: {k}, seconds: 3.212, TFLOP/s/device: 100.231, Tokens/s/device: 1234.500, "
            f"total_weights: 8192, loss: {x}"
        )
    ),
    "OpenNMT": Style(
        lambda k, x: (
            f"[2021-01-01 00:00:00,000 INFO] Step {50 * k}/10000; acc:  12.50; ppl: 80.12; xent: {x}; "
            f"lr: 0.00100; 1234/1234 tok/s;     12 sec"
        ),
        range(0, 1200, 50),
        lr=1e-3,
    ),
    "Caffe": Style(caffe, range(0, 480, 20), lr=0.01),
    "Darknet": Style(
        lambda k, x: (
            f"\n {k + 1}: {x}, {x + 0.1:.4f} avg loss, 0.001000 rate, 3.212345 seconds, {64 * k} images, "
            f"12.345 hours left\nLoaded: 0.000054 seconds"
        ),
        range(1, 25),
        lr=0.001,
    ),
    "fastai": Style(
        lambda k, x: (
            ("epoch     train_loss  valid_loss  accuracy  time    \n" if k == 0 else "")
            + f"{k:<10}{x:<12}{x + 1:<12}0.512345  00:12"
        ),
        range(1, 25),
        validation=24,
    ),
    "XGBoost": Style(
        lambda k, x: f"[{k}]\ttrain-logloss:{x}\teval-logloss:{x + 0.5}",
        validation=24,
    ),
    "LightGBM": Style(
        lambda k, x: f"[{k + 1}]\ttraining's binary_logloss: {x}\tvalid_1's binary_logloss: {x + 0.5}",
        range(1, 25),
        validation=24,
    ),
    "scikit-learn": Style(lambda k, x: f"Iteration {k + 1}, loss = {x}", range(1, 25)),
    "a course": Style(lambda k, x: f"Cost after iteration {100 * k}: {x}", range(0, 2400, 100)),
    "a tutorial": Style(
        lambda k, x: f"Training loss (for one batch) at step {200 * k}: {x}\nSeen so far: {200 * k} samples",
        range(0, 4800, 200),
    ),
    "CIFAR tutorial": Style(
        lambda k, x: f"[1, {2000 * (k + 1):5d}] loss: {x:.3f}", range(1, 25), losses=[round(x, 3) for x in LOSSES]
    ),  # fmt: skip
    "Paddle": Style(
        lambda k, x: (
            f"[2022/05/01 10:00:{k:02d}] ppocr INFO: epoch: [1/500], global_step: {10 * k}, lr: 0.000243, "
            f"acc: 0.0, norm_edit_dis: 0.1, CTCLoss: {x}, SARLoss: 1.0, loss: {x}, avg_reader_cost: 0.1 s, "
            f"avg_batch_cost: 0.5 s, avg_samples: 128.0, ips: 250.1 samples/s, eta: 1:02:03"
        ),
        range(0, 240, 10),
        lr=0.000243,
    ),
    "torchtune": Style(
        lambda k, x: f"Step {k + 1} | loss:{x} lr:2e-05 tokens_per_second_per_gpu:1234.5", range(1, 25), lr=2e-5
    ),  # fmt: skip
    "NeMo": Style(
        lambda k, x: (
            f"Training epoch 0, iteration {k}/999 | lr: 3e-04 | global_batch_size: 8 | global_step: {k} | "
            f"reduced_train_loss: {x} | train_step_timing in s: 0.512 | consumed_samples: {8 * k}"
        ),
        lr=3e-4,
    ),
    "torchtitan": Style(
        lambda k, x: (
            f"[rank0]:[titan] 2024-10-01 10:00:{k:02d},123 - root - INFO - step: {k + 1:2d}  loss: {x:7.4f}  "
            f"grad_norm: 1.2345  memory: 12.34GiB(15.60%)  tps: 1,234  tflops: 51.23  mfu: 16.4%"
        ),
        range(1, 25),
        norm=1.2345,
    ),
    "Coqui": Style(
        lambda k, x: (
            f"   --> STEP: {25 * k}/404 -- GLOBAL_STEP: {1000 + 25 * k}\n     | > loss: {x}  ({x})\n"
            f"     | > grad_norm: 2.5  (2.5)\n     | > current_lr: 0.00025"
        ),
        range(0, 600, 25),
        norm=2.5,
        lr=0.00025,
    ),
    "Stable Baselines": Style(
        lambda k, x: (
            "---------------------------------\n| rollout/            |         |\n"
            f"|    ep_rew_mean      | 20.1    |\n| time/               |         |\n"
            f"|    total_timesteps  | {2048 * k} |\n"
            f"| train/              |         |\n|    learning_rate    | 0.0003  |\n|    loss             | {x} |\n"
            "|    entropy_loss     | -0.6    |\n|    value_loss       | 12.5    |\n---------------------------------"
        ),
        range(0, 49152, 2048),
        lr=0.0003,
    ),
    "insightface": Style(
        lambda k, x: (
            f"Training: 2023-03-14 09:08:{k:02d},293-Speed 2178.40 samples/sec   Loss {x}   LearningRate 0.001   "
            f"Epoch: 0   Global Step: {20 + 10 * k}   Fp16 Grad Scale: 65536   Required: 194 hours"
        ),
        range(20, 260, 10),
        lr=0.001,
    ),
    "NVIDIA's DLL": Style(
        lambda k, x: (
            "DLL 2020-05-28 08:53:10.435230 - PARAMETER loss_scale : 524288.0 \n"
            f"DLL 2020-05-28 08:54:08.810592 - Training Epoch: 0 Training Iteration: {k} average_loss : {x + 1} "
            f"step_loss : {x} learning_rate : 0.006"
        ),
        lr=0.006,
    ),
    "setk": Style(
        lambda k, x: (
            f"2020-02-15 00:00:31,027 [trainer.py:150 - INFO ] Loss(time/mini-batch) - Epoch {k:2d}: "
            f"train = {x}(1581.14s/2500) | dev = {x + 1}(152.82s/625)"
        ),
        range(1, 25),
        validation=24,
    ),
    "SpeechBrain": Style(
        lambda k, x: (
            f"epoch: {k}, lr: 1.00e+00, steps: {100 * k}, optimizer: Adam - train loss: {x} - "
            f"valid loss: {x + 1}, valid ACC: 0.5, valid CER: 30.1"
        ),
        range(0, 2400, 100),
        lr=1.0,
        validation=24,
    ),
    "TensorFlow, to two handlers": Style(
        lambda k, x: (
            f"INFO:tensorflow:global step {k}: loss = {x} (0.302 sec/step)\n"
            f"I0422 07:10:04.984018 140486560917376 learning.py:507] global step {k}: loss = {x} (0.302 sec/step)"
        )
    ),
    "Megatron with losses aside": Style(
        lambda k, x: (
            f"[2026-05-28 22:26:20] iteration {k:8d}/    6069 | memory(GiB): 72.89 | remaining time: 7h 59m | "
            f"learning rate: 5.800000E-05 | lm loss: {x:.6E} | seq_load_balancing_loss: 1.253194E+00 | "
            f"mtp_1 loss: 1.115410E+00 | loss scale: 1.0 | grad norm: 0.852 | number of skipped iterations:   0 |"
        ),
        norm=0.852,
        lr=5.8e-5,
    ),
    "BEiT": Style(
        lambda k, x: (
            f"Epoch: [115]  [{k}/1299]  eta: 0:00:00  lr: 0.001435  min_lr: 0.001  mlm_acc: 0.0333 (0.0344)  "
            f"loss: {x} (6.5971)  loss_scale: 8192.0000 (8646.0600)  weight_decay: 0.05 (0.05)  grad_norm: 0.3922 (nan)"
        ),
        norm=0.3922,
        lr=0.001435,
    ),
    "Flair": Style(
        lambda k, x: f"2022-01-01 10:00:00,000 epoch 1 - iter {10 * k}/240 - loss {x} - time (sec): 1.2 - lr: 0.1",
        range(0, 240, 10),
        lr=0.1,
    ),
    "MXNet": Style(
        lambda k, x: f"INFO:root:Epoch[0] Batch [{20 * k}]\tSpeed: 1000.00 samples/sec\tcross-entropy={x}",
        range(0, 480, 20),
    ),
    "MXNet's detection": Style(
        lambda k, x: (
            f"Epoch[145] Batch [{20 * k}]\tSpeed: 36.22 samples/sec\tTrain-Acc=0.774131\n"
            f"Epoch[145] Batch [{20 * k}]\tSpeed: 36.22 samples/sec\tTrain-SmoothL1={x}"
            + (
                f"\nEpoch[145] Train-Acc=0.7\nEpoch[145] Train-SmoothL1=nan\nEpoch[145] Time cost=10{k}.6"
                if k % 8 == 7
                else ""
            )
        ),
        range(0, 480, 20),
    ),
    "modded-nanoGPT": Style(
        lambda k, x: (f"s:{k} tel:{x + 1}\n" if k % 8 == 0 else "") + f"s:{k} trl:{x}",
        validation=3,
    ),
    "GluonTS": Style(
        lambda k, x: (
            f"2020-05-19 18:29:27,221 : INFO : Epoch[{k}] Elapsed time 1353.823 seconds\n"
            f"2020-05-19 18:29:27,223 : INFO : Epoch[{k}] Evaluation metric 'epoch_loss'={x}"
        ),
        range(1, 25),
    ),
    "LightGBM's regression": Style(
        lambda k, x: f"[{k}]\ttraining's l2: {x}\tvalid_1's l2: {x + 1}",
        validation=24,
    ),
    "words glued to numbers": Style(lambda k, x: f"Step: {k} time_cost 3.2s loss {x}Saving checkpoint"),
    "Kaldi in a mail": Style(
        lambda k, x: (
            "LOG (nnet3-train:PrintStatsForThisPhase():nnet-training.cc:121) Average \n"
            f"objective function for 'output' for minibatches {10 * k}-{10 * k + 9} is {-x} over \n19538 frames."
        ),
        range(1, 25),
    ),
    "CatBoost": Style(
        lambda k, x: f"{k}:\tlearn: {x}\ttest: {x + 1}\tbest: 3.2 (0)\ttotal: 50ms\tremaining: 49.9s", validation=24
    ),
    "Kaldi": Style(
        lambda k, x: (
            "LOG (nnet3-train[5.5]:PrintStatsThisMinibatch():nnet-training.cc:226) Average objective function "
            f"for 'output' for minibatches {100 * k}-{100 * k + 99} is {-x} over 6400 frames."
        ),
        range(1, 25),
    ),
    "YOLO": Style(
        lambda k, x: (
            "\n      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size\n"
            f"      {k + 1}/24      2.35G     {x - 3:.4f}      2.000      1.000         23        640: 100%|####| 8/8 "
            "[00:01<00:00,  5.1it/s]\n                 Class     Images  Instances      Box(P          R      mAP50"
        ),
        range(1, 25),
    ),
    "JSON in a text": Style(lambda k, x: f'2024-01-01 INFO {{"step": {k}, "loss": {x}, "lr": 0.1}}', lr=0.1),
    "a block a step": Style(
        lambda k, x: f"Iteration {10 * k}\n  cls loss: {x - 1}\n  box loss: 1.0\n  grad norm: 1.5\n  lr: 0.1",
        range(0, 240, 10),
        norm=1.5,
        lr=0.1,
    ),
}


@pytest.mark.parametrize("name", STYLES)
def test_a_training_as_a_program_prints_it(tmp_path, name) -> None:
    style = STYLES[name]
    trace = of(tmp_path / "a.log", "\n".join(style.line(k, x) for k, x in enumerate(LOSSES)) + "\n")
    assert losses(trace) == pytest.approx(list(style.losses)), trace.notes
    assert trace.steps.tolist() == list(style.steps), trace.notes
    assert {record.grad_norm for record in trace.records()} == {style.norm}
    assert {record.lr for record in trace.records()} == {style.lr}
    assert all(record.applied for record in trace.records()) and len(trace.validation) == style.validation


def test_a_log_with_another_name_in_every_line(tmp_path) -> None:
    names = [f"{(k + 1) * 2654435761 % 2**32:08x}-{k * 40503 % 65536:04x}" for k in range(1500)]
    lines = [f"[{name}] step {k} loss {4 - k / 1000:.4f} gnorm 1.5e-1" for k, name in enumerate(names)]
    trace = of(tmp_path / "a.log", "\n".join(lines))
    assert losses(trace) == pytest.approx([4 - k / 1000 for k in range(1500)])
    assert trace.steps.tolist() == list(range(1500)) and {r.grad_norm for r in trace.records()} == {0.15}


def test_the_mean_of_no_batch_is_told_and_does_not_count(tmp_path) -> None:
    lines = [
        f"Epoch[{k // 8}] Batch [{20 * (k % 8)}]\tTrain-CrossEntropy={x}"
        + (f"\nEpoch[{k // 8}] Train-CrossEntropy=nan" if k % 8 == 7 else "")
        for k, x in enumerate(LOSSES)
    ]
    trace = of(tmp_path / "a.log", "\n".join(lines))
    assert losses(trace) == LOSSES and any("3 means of epochs" in note and "NaN" in note for note in trace.notes)
    # Where epochs are all that there is, NaN is one.
    alone = of(tmp_path / "b.log", "\n".join(f"Epoch[{k}] Train-CrossEntropy=nan" for k in range(9)))
    assert all(loss is not None and math.isnan(loss) for loss in losses(alone)) and len(alone) == 9
