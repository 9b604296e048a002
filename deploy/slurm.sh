#!/bin/bash
# A study on all nodes of one Slurm allocation: a Ray cluster of its own, which goes with the job. docs/cluster.md explains it.
#
#   sbatch deploy/slurm.sh STUDY.yaml RESULTS [more options of `slr-sweep run`]
#
# from the repository's folder, in an environment with slr-sweep; RESULTS lies on storage that all nodes share.
# Where the time is up before the study is done (exit code 75), the job is put into the queue again, and goes on.
#SBATCH --job-name=slr-sweep
#SBATCH --output=slr-sweep-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
set -euo pipefail

usage="usage: sbatch deploy/slurm.sh STUDY.yaml RESULTS [more options of slr-sweep run]"
study=${1:?$usage} results=${2:?$usage}
shift 2

keep_back_s=${KEEP_BACK_S:-600}     # of the allocation: Ray starts before `--time` counts, and a busy run ends late
most_requeues=${MOST_REQUEUES:-50}  # a study that never gets anywhere is not to go on for ever
wait_s=${WAIT_S:-300}               # for all nodes of the cluster

source deploy/ray_environment.sh
# Newer versions of srun do not take it from sbatch.
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
head_ip=$(getent ahostsv4 "$head" | awk 'NR == 1 {print $1}')
port=$((20000 + SLURM_JOB_ID % 4000))
address=$head_ip:$port
# Other jobs may share a node: their ports are not to be met.
ray_options=(
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}"
    --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0 --block
)

trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --node-ip-address="$head_ip" --port="$port" --temp-dir="/tmp/ray-$SLURM_JOB_ID" \
    --dashboard-host=127.0.0.1 --dashboard-port=$((port + 4000)) --ray-client-server-port=$((port + 8000)) \
    "${ray_options[@]}" &
python deploy/wait_for_nodes.py --address "$address" --nodes 1 --seconds "$wait_s"
if ((${#nodes[@]} > 1)); then
    others=$((${#nodes[@]} - 1))
    srun --overlap --nodes="$others" --ntasks="$others" --exclude="$head" \
        ray start --address="$address" "${ray_options[@]}" &
fi
python deploy/wait_for_nodes.py --address "$address" --nodes "${#nodes[@]}" --seconds "$wait_s"

echo "see it: ssh -L 8265:127.0.0.1:$((port + 4000)) $head, then http://127.0.0.1:8265 with the token in ~/.ray/auth_token"
left_s=$((SLURM_JOB_END_TIME - $(date +%s) - keep_back_s))
((left_s > 0)) || { echo "no time is left: ask for more than $keep_back_s s" >&2; exit 2; }
code=0
slr-sweep run "$study" --results "$results" --address "$address" --time "${left_s}s" "$@" || code=$?

if ((code == 75)); then
    if ((${SLURM_RESTART_COUNT:-0} < most_requeues)); then
        scontrol requeue "$SLURM_JOB_ID"
    else
        echo "not done after $most_requeues requeues: sbatch with the same arguments goes on" >&2
    fi
fi
exit "$code"
