#!/bin/bash
# A study on the nodes of a job array: Slurm starts, takes away and ends each task on its own, and those that are there
# work together. docs/cluster.md explains it.
#
#   sbatch --array=1-16 deploy/slurm-array.sh STUDY.yaml RESULTS [more options of `slr-sweep run`]
#
# from the repository's folder, in an environment with slr-sweep; RESULTS is a folder that all nodes share.
# A task whose time is up before the study is done is put into the queue again.
#SBATCH --job-name=slr-sweep
#SBATCH --output=slr-sweep-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --array=1-4
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=04:00:00
set -euo pipefail

usage="usage: sbatch --array=1-16 deploy/slurm-array.sh STUDY.yaml RESULTS [more options of slr-sweep run]"
: "${1:?$usage}" "${2:?$usage}"

export KEEP_BACK_S=${KEEP_BACK_S:-600}     # of the task that leads: Ray starts before `--time` counts, and a busy run ends late
export MOST_REQUEUES=${MOST_REQUEUES:-50}  # of a task: a study that never gets anywhere is not to go on for ever
export WAIT_S=${WAIT_S:-300}               # for Ray to start, and for a lost leader's lock of the results to be given back
export LOOK_S=${LOOK_S:-10}                # between two looks at who leads

source deploy/ray_environment.sh
exec python deploy/array_task.py "$@"
