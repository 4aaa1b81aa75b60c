# Sourced by the scripts that train, from the root of the repository.
#   launch SCRIPT ARGUMENTS     once per GPU of the machine, or of all nodes of the SLURM job, by torchrun
#   supervise COMMAND           in a batch job: passes on the signals that ask for the end, and has it queued again
# PROCESSES sets the number of processes on each node. config/cluster.env, if there, is read first: modules, NCCL.

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
  # Outside of a batch job the terminal and whoever started this send their signals themselves.
  if [[ ${ENVIRONMENT:-} != BATCH ]]; then exec "$@"; fi
  local asked="" code=0
  "$@" &
  local child=$!
  # To all nodes by SLURM, where there are several: a signal to srun would end it, and not the training.
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
    echo "ended by a signal; the job is queued again and goes on where it was" >&2
    scontrol requeue "${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_}${SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}"
  fi
  return "$code"
}
