"""A real Slurm of one node, in one folder, as the user who starts it.

Its programs are Debian's (`apt-get install slurm-wlm`). The node claims more cores than there are, so that jobs
run side by side; the partition `urgent` preempts the others: jobs of `graceful` get a minute, those of `short` nothing.
There is no accounting: `squeue` and `scontrol` tell the state of a job for ten minutes. To have one for trying things
out: `python tests/slurm/cluster.py start|stop FOLDER`.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
CORES = 4
GRACE = 60  # seconds
CONFIGURATION = """
ClusterName=here
SlurmctldHost={node}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters={parameters}
JobRequeue=1
KillWait=20
MinJobAge=600
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
NodeName={node} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=4000 State=UNKNOWN
PartitionName=graceful Nodes={node} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=short Nodes={node} MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=urgent Nodes={node} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=off
"""  # noqa: E501


def missing() -> list[str]:
    """The programs of Slurm that are not installed here."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Cluster:
    """A cluster in `folder`; `environment` makes Slurm's programs speak to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.environment = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}
        self.ports: list[int] = []

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.ports = _free_ports(2)
        self.configure("")
        self.run("slurmctld")
        self.run("slurmd")
        deadline = time.monotonic() + 60
        while "idle" not in self.run("sinfo", "-h", "-o", "%T", check=False):
            if time.monotonic() > deadline:
                raise RuntimeError(f"Slurm does not start; see {self.folder}/slurmctld.log and slurmd.log")
            time.sleep(0.2)

    def configure(self, parameters: str) -> None:
        """Write the configuration, with these SlurmctldParameters; `scontrol reconfigure` makes a cluster read it."""
        user, node = self.run("id", "-un").strip(), socket.gethostname().partition(".")[0]
        controller, daemon = self.ports
        places = {"node": node, "folder": self.folder, "controller": controller, "daemon": daemon}
        text = CONFIGURATION.format(user=user, cores=CORES, grace=GRACE, parameters=parameters, **places)
        kept = [line for line in text.splitlines() if not line.endswith("=")]
        (self.folder / "slurm.conf").write_text("\n".join(kept) + "\n")

    def stop(self) -> None:
        """End all jobs, and the daemons that were started here."""
        self.run("scancel", "--user", self.run("id", "-un").strip(), check=False)
        self.run("scancel", "--signal=KILL", "--full", "--user", self.run("id", "-un").strip(), check=False)
        deadline = time.monotonic() + 30
        while self.run("squeue", "-h", check=False).strip() and time.monotonic() < deadline:
            time.sleep(0.5)
        for name in ("slurmd", "slurmctld"):
            file = self.folder / f"{name}.pid"
            if file.is_file() and file.read_text().strip():
                self.run("kill", file.read_text().strip(), check=False)

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` tells."""
        said = self.run("scontrol", "show", "job", "-o", number, check=False).splitlines()
        return dict(each.split("=", 1) for each in said[0].split() if "=" in each) if said else {}


def _free_ports(count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    try:
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]
    finally:
        for each in taken:
            each.close()


if __name__ == "__main__":
    verb, folder = sys.argv[1:]
    cluster = Cluster(Path(folder))
    getattr(cluster, {"start": "start", "stop": "stop"}[verb])()
    print(f"export SLURM_CONF={folder}/slurm.conf" if verb == "start" else "stopped")
