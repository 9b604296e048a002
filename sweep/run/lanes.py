"""How many trials run at once, as the command line has it, and whether this machine has what they ask for."""

import os
import re

import torch

from slr_models.errors import UserError
from sweep.running.cores import cores
from sweep.study import LoadedStudy, Resources
from sweep.wording import clipped

MOST_JOBS = 100_000


def with_jobs(loaded: LoadedStudy, option: str | None) -> LoadedStudy:
    """The study with `--jobs N` in place of its own `resources.max_parallel`; as it is without the option.

    Raises:
        UserError: the option is no such number.
    """
    if option is None:
        return loaded
    if re.fullmatch(r"0*[1-9][0-9]{0,5}", option, re.ASCII) is None or int(option) > MOST_JOBS:
        raise UserError(f"--jobs {clipped(option)}: give the number of trials that may run at once, such as 2")
    resources = loaded.study.resources.model_copy(update={"max_parallel": int(option)})
    return LoadedStudy(loaded.study.model_copy(update={"resources": resources}), loaded.source)


def check_this_machine(resources: Resources, *, needs_gpu: bool) -> None:
    """Whether one trial fits on this machine.

    Args:
        resources: of a trial.
        needs_gpu: whether it is going to run, so that a GPU that it asks for has to be there.

    Raises:
        UserError: it does not fit.
    """
    found = cores()
    for words, one in resources.by_settings.items():
        where = f"where {words}, " if words else ""
        if needs_gpu and one.gpus:
            _check_gpus(one, where)
        if one.cpus > found.usable:
            have = f"this machine has {found}"
            if found.limit is not None:
                have = f"only {found.usable} of this machine's {found.machine} cores can be used ({found.limit})"
            raise UserError(f"{where}resources.cpus is {one.cpus}, but {have}: ask for less")


def _check_gpus(resources: Resources, where: str) -> None:
    visible, asked = os.environ.get("CUDA_VISIBLE_DEVICES"), f"{where}resources.gpus is {_shown(resources.gpus)}"
    num = torch.cuda.device_count() if torch.cuda.is_available() else 0
    least = 1 if resources.gpus == "auto" else resources.gpus
    if num == 0 and torch.version.cuda is not None and visible is not None:
        raise UserError(
            f'{asked}, but CUDA_VISIBLE_DEVICES is "{clipped(visible)}", and torch finds no GPU with it: unset it or '
            f"name a GPU of this machine, set resources.gpus to 0, or give --address of a cluster with GPUs"
        )
    if num == 0:
        raise UserError(
            f"{asked}, but torch finds no GPU here: set resources.gpus to 0, install a CUDA build of torch, or give "
            f"--address of a cluster with GPUs"
        )
    if num < least:
        left = f" (CUDA_VISIBLE_DEVICES is {clipped(visible)})" if visible is not None else ""
        raise UserError(f"{asked}, but torch finds {num} here{left}: ask for less")


def _shown(gpus: float | str) -> str:
    return gpus if isinstance(gpus, str) else f"{gpus:g}"
