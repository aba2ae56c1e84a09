"""A real SLURM of one node in a temporary folder: munged, slurmctld and slurmd, ended by their pid files.

No accounting. The node says that it has six CPUs, so that what caps a number of tasks is not the machine.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CPUS = 6

CONF = """
ClusterName=bench
SlurmctldHost=localhost
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=6
SlurmUser=root
SlurmdUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ReturnToService=2
MpiDefault=none
KillWait=10
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName=localhost NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why there can be no SLURM here."""
    programs = ("munged", "munge", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "setpriv")
    if absent := [name for name in programs if _which(name) is None]:
        return f"{', '.join(absent)} not installed: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "slurmctld and slurmd are started as root"
    if not Path("/etc/munge/munge.key").exists():
        return "munge has no key in /etc/munge"
    return None


class Cluster:
    """``start`` and ``end``; ``ask`` runs one of its commands."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short, for a socket's path
        self.folder.chmod(0o755)
        for name in ("state", "spool", "munge"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "munge", "munge", "munge")
        self.conf = self.folder / "slurm.conf"
        self.conf.write_text(CONF.format(folder=self.folder, ports=_free_ports(2), cpus=CPUS))
        self.aside: list[str] = []
        self.environment = {"SLURM_CONF": str(self.conf)}

    def start(self) -> None:
        """Returns when a job could begin."""
        folder = self.folder / "munge"
        files = [f"--{name}={folder / name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
        munge = ("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", _which("munged"), *files)
        subprocess.run(munge, check=True, capture_output=True)
        self.start_controller()
        self.start_node()
        self.wait_for(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), 60)

    def start_controller(self) -> None:
        subprocess.run([_which("slurmctld")], check=True, env=self._environment(), capture_output=True)

    def start_node(self) -> None:
        words = [_which("slurmd"), "-N", "localhost"]
        subprocess.run(words, check=True, env=self._environment(), capture_output=True)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """slurmd or slurmctld, and wait until it is gone."""
        pid = int((self.folder / f"{name}.pid").read_text())
        os.kill(pid, number)
        self.wait_for(lambda: _gone(pid), 30)

    def end(self) -> None:
        subprocess.run(["scancel", "--user=root"], env=self._environment(), capture_output=True, check=False)
        self.wait_for(lambda: not self.ask("squeue", "-h", check=False).strip(), 30, must=False)
        for file in ("slurmd.pid", "slurmctld.pid", "munge/pid-file"):
            try:
                pid = int((self.folder / file).read_text())
                os.kill(pid, signal.SIGTERM)
                self.wait_for(lambda pid=pid: _gone(pid), 15, must=False)
            except (OSError, ValueError):
                continue
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, *words: object, check: bool = True) -> str:
        done = subprocess.run(
            [*map(str, words)], env=self._environment(), capture_output=True, text=True, check=False, timeout=60
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def running(self) -> list[str]:
        """The tasks that are on the node, but for those that are ``aside``."""
        return [one for one in self.ask("squeue", "-h", "-r", "-t", "R", "-o", "%i").split() if one not in self.aside]

    def wait_for(self, true, seconds: float = 120.0, must: bool = True):
        """What ``true()`` gives, as soon as it is true."""
        end = time.monotonic() + seconds
        while not (found := true()):
            if time.monotonic() > end:
                assert not must, f"not within {seconds} s; {self.ask('squeue', check=False)}"
                return None
            time.sleep(0.2)
        return found

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


def _gone(pid: int) -> bool:
    """Whether it runs no more; in some containers nobody buries what has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
