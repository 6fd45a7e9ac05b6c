#!/usr/bin/env bash
# slurm.sh DIR: a Slurm of one node on the loopback address, all of whose files lie in DIR; it ends with this script.
# Needs root, and Debian's slurm-wlm. Prints "ready" when jobs can be submitted with SLURM_CONF=DIR/slurm.conf.
set -euo pipefail
D=$(realpath "$1"); mkdir -p "$D"/{state,spool}; chmod 755 "$D"
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
cat > "$D/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$D/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool
SlurmctldPidFile=$D/slurmctld.pid
SlurmdPidFile=$D/slurmd.pid
SlurmctldLogFile=$D/slurmctld.log
SlurmdLogFile=$D/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
ReturnToService=2
KillWait=2
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0

NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$D/slurm.conf"
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
head -c 1024 /dev/urandom > "$D/munge.key"; chmod 400 "$D/munge.key"
munged --foreground --force --socket "$D/munge.socket" --key-file "$D/munge.key" --pid-file "$D/munge.pid" \
       --seed-file "$D/munge.seed" --log-file "$D/munge.log" &
for _ in $(seq 50); do [ -S "$D/munge.socket" ] && break; sleep .1; done
slurmctld -D &
slurmd -D -N "$(hostname -s)" &
for _ in $(seq 100); do
  [ "$(sinfo -h -o %t 2>/dev/null)" = idle ] && { echo ready; wait; exit; }
  sleep .2
done
tail -n 5 "$D"/*.log >&2
exit 1
