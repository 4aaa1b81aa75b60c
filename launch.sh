# Sourced from the root of the repository by the scripts that train.
#   launch SCRIPT ARGUMENTS     runs it by torchrun, one process per GPU of the machine or the SLURM job
#   supervise COMMAND           in a batch job, forwards the signals that ask it to end and requeues the job
# PROCESSES sets the number of processes per node. config/cluster.env, if it exists, is sourced first: modules, NCCL.

launch() {
  if [[ -f config/cluster.env ]]; then source config/cluster.env; fi
  local nodes=${SLURM_NNODES:-1} processes=${PROCESSES:-}
  if [[ -z $processes ]]; then
    processes=$(.venv/bin/python -c 'import torch; print(max(1, torch.cuda.device_count()))')
  fi
  if ((nodes == 1 && processes == 1)); then
    supervise .venv/bin/python "$@"
    return
  fi
  local cpus=${SLURM_CPUS_PER_TASK:-$(nproc)}
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cpus > processes ? cpus / processes : 1))}
  local run=(.venv/bin/python -m torch.distributed.run "--nproc-per-node=$processes")
  if ((nodes == 1)); then
    supervise "${run[@]}" --standalone "$@"
  else
    local head port=$((20000 + SLURM_JOB_ID % 20000))
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    run+=("--nnodes=$nodes" "--rdzv-id=$SLURM_JOB_ID" --rdzv-backend=c10d "--rdzv-endpoint=$head:$port")
    supervise srun --ntasks="$nodes" --ntasks-per-node=1 --cpus-per-task="$cpus" "${run[@]}" "$@"
  fi
}

supervise() {
  # Outside a batch job, the terminal or the caller signals the command directly.
  if [[ ${ENVIRONMENT:-} != BATCH ]]; then exec "$@"; fi
  local asked="" code=0
  "$@" &
  local child=$!
  # With several nodes SLURM signals all of them: a signal to srun would end srun, not the training.
  forward() {
    asked=yes
    if [[ $1 == srun ]]; then scancel --signal=TERM "$SLURM_JOB_ID"; else kill -TERM "$child" 2>/dev/null || true; fi
  }
  trap "forward '$1'" TERM USR1
  while true; do  # a signal ends `wait`, not the child
    code=0
    wait "$child" || code=$?
    kill -0 "$child" 2>/dev/null || break
  done
  trap - TERM USR1
  if [[ -n $asked && $code != 0 ]]; then
    echo "ended by a signal; the job is requeued and will resume" >&2
    scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
  fi
  return "$code"
}
