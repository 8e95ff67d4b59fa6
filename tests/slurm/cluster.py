"""cluster.py - a SLURM of its own: munged, slurmctld and one slurmd for each virtual node, in a private directory.

Everything the daemons need (keys, sockets, state, logs, ports) belongs to this object, so that several can run on one
machine beside a system-wide SLURM, and stop() leaves nothing behind.

  1. A daemon that cannot be started raises Unavailable with the reason (its last log lines): tests skip, they never pass.
  2. Daemons run in the foreground as children of this process and die with it (PR_SET_PDEATHSIG), however it ends.
  3. What shortens the waits is configuration an administrator may set too: AuthInfo=cred_expire decides how long a requeued
     job waits (120 s by default), KillWait what a cancelled job may use to save.

Python 3 of Debian, standard library only.
"""
import ctypes
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol")
EVEN_IN = "/usr/sbin:/usr/local/sbin:/sbin"
PR_SET_PDEATHSIG = 1


class Unavailable(Exception):
    """SLURM cannot be started here; the text says why."""


def _dies_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_ports(count):
    """Ports nobody listens on now, found by binding all of them at once."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Cluster:
    def __init__(self, nodes=2, cpus=4, kill_wait=60, requeue_wait=15, grace=60):
        """nodes virtual nodes n1..nN of `cpus` CPUs each. kill_wait: seconds from TERM to KILL; requeue_wait: seconds a
        requeued job stays pending; grace: seconds a job of partition `spot` has when one of `urgent` takes its nodes."""
        self.nodes = [f"n{i + 1}" for i in range(nodes)]
        self.cpus, self.kill_wait, self.requeue_wait, self.grace = cpus, kill_wait, requeue_wait, grace
        self.directory = None
        self.daemons = []

    # ---- starting and stopping

    def start(self):
        path = os.environ.get("PATH", "") + ":" + EVEN_IN
        missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
        if missing:
            raise Unavailable(f"not installed: {', '.join(missing)} (packages slurm-wlm and munge)")
        self.directory = tempfile.mkdtemp(prefix="tarn-slurm-")
        try:
            os.chmod(self.directory, 0o755)
            self.environment = dict(os.environ, PATH=path, SLURM_CONF=f"{self.directory}/slurm.conf")
            for name in list(self.environment):  # of a job this test may itself run in
                if re.match(r"(SLURM_(?!CONF$)|SBATCH_|OMPI_COMM|PMIX_|PMI_)", name):
                    del self.environment[name]
            self._start_munge()
            self._write_configuration()
            self._daemon("slurmctld", "slurmctld", "-D", "-i", "-f", self.environment["SLURM_CONF"])
            for node in self.nodes:
                self._daemon(f"slurmd.{node}", "slurmd", "-D", "-N", node, "-f", self.environment["SLURM_CONF"])
            self._wait_for_nodes()
        except BaseException:
            self.stop()
            raise
        return self

    def _start_munge(self):
        folder = f"{self.directory}/munge"
        os.mkdir(folder, 0o755)
        with open(os.open(f"{folder}/key", os.O_CREAT | os.O_WRONLY, 0o600), "wb") as key:
            key.write(os.urandom(128))
        self.munge_socket = f"{folder}/socket"
        self._daemon("munged", "munged", "--foreground", f"--key-file={folder}/key", f"--socket={self.munge_socket}",
                     f"--pid-file={folder}/pid", f"--log-file={folder}/log", f"--seed-file={folder}/seed")
        deadline = time.monotonic() + 30
        while not os.path.exists(self.munge_socket):
            self._check_alive()
            if time.monotonic() > deadline:
                raise Unavailable("munged made no socket within 30 s\n" + self.log_tail("munged"))
            time.sleep(0.1)

    def _write_configuration(self):
        host = socket.gethostname().split(".")[0]
        user = getpass.getuser()
        controller, *ports = _free_ports(1 + len(self.nodes))
        os.mkdir(f"{self.directory}/state")
        for node in self.nodes:
            os.mkdir(f"{self.directory}/spool.{node}")
            os.mkdir(f"{self.directory}/tmp.{node}")
        lines = [
            "ClusterName=tarn", f"SlurmctldHost={host}(127.0.0.1)", f"SlurmUser={user}", f"SlurmdUser={user}",
            f"SlurmctldPort={controller}", "AuthType=auth/munge", "CredType=cred/munge",
            f"AuthInfo=socket={self.munge_socket},cred_expire={self.requeue_wait}",
            f"StateSaveLocation={self.directory}/state", f"SlurmdSpoolDir={self.directory}/spool.%n",
            f"TmpFS={self.directory}/tmp.%n",
            f"SlurmctldPidFile={self.directory}/slurmctld.pid", f"SlurmdPidFile={self.directory}/slurmd.%n.pid",
            f"SlurmctldLogFile={self.directory}/slurmctld.log", f"SlurmdLogFile={self.directory}/slurmd.%n.log",
            "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "JobAcctGatherType=jobacct_gather/none",
            "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core", "SchedulerType=sched/backfill",
            "SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2", "ReturnToService=2", "JobRequeue=1",
            "MpiDefault=none", "SwitchType=switch/none", "SlurmdParameters=config_overrides", "MessageTimeout=60",
            f"KillWait={self.kill_wait}", "SlurmdTimeout=300", "PreemptType=preempt/partition_prio", "PreemptMode=REQUEUE",
        ]
        lines += [f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus} RealMemory=1024"
                  for node, port in zip(self.nodes, ports)]
        every = ",".join(self.nodes)
        lines += [f"PartitionName=main Nodes={every} Default=YES MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF "
                  "OverSubscribe=NO",
                  f"PartitionName=spot Nodes={every} MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE "
                  f"GraceTime={self.grace} OverSubscribe=NO"]
        with open(f"{self.directory}/slurm.conf", "w") as file:
            file.write("\n".join(lines) + "\n")

    def _daemon(self, name, *command):
        with open(f"{self.directory}/{name}.out", "wb") as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                       env=self.environment, preexec_fn=_dies_with_parent, cwd=self.directory)
        self.daemons.append((name, process))

    def _check_alive(self):
        for name, process in self.daemons:
            if process.poll() is not None:
                raise Unavailable(f"{name} ended with code {process.returncode}\n{self.log_tail(name)}")

    def _wait_for_nodes(self):
        deadline = time.monotonic() + 90
        while True:
            self._check_alive()
            code, text = self.call("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T", check=False)
            if code == 0 and text.split() == [word for node in self.nodes for word in (node, "idle")]:
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"the nodes did not become idle within 90 s: {text}\n" +
                                  "\n".join(self.log_tail(name) for name, _ in self.daemons))
            time.sleep(0.5)

    def log_tail(self, name, lines=15):
        text = []
        for path in (f"{self.directory}/{name}.log", f"{self.directory}/{name}.out", f"{self.directory}/munge/log"):
            if os.path.exists(path) and (name == "munged") == path.endswith("munge/log"):
                with open(path, errors="replace") as file:
                    text += file.read().splitlines()[-lines:]
        return "\n".join(f"  {name}: {line}" for line in text)

    def stop(self):
        if self.directory and os.path.exists(f"{self.directory}/slurm.conf"):
            self.call("scancel", f"--user={getpass.getuser()}", check=False)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline and self.call("squeue", "-h", check=False)[1].strip():
                time.sleep(0.5)
        for name, process in reversed(self.daemons):  # slurmd before slurmctld before munged
            if process.poll() is None:
                process.terminate()
        for name, process in reversed(self.daemons):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.daemons = []
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # ---- using it

    def call(self, *command, check=True, cwd=None, environment=None, timeout=120):
        """Runs a client of this SLURM: (exit code, stdout and stderr). check: a failure raises."""
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  env=dict(self.environment, **(environment or {})), cwd=cwd or self.directory,
                                  timeout=timeout, text=True, errors="replace")
            code, text = done.returncode, done.stdout
        except subprocess.TimeoutExpired as late:
            code, text = 124, f"{late.stdout or ''}\n(no answer within {timeout} s)"
        if check and code:
            raise RuntimeError(f"{' '.join(command)}: exit {code}\n{text}")
        return code, text

    def job(self, number):
        """What `scontrol show job` says, as a dictionary."""
        _, text = self.call("scontrol", "-o", "show", "job", str(number))
        return dict(word.split("=", 1) for word in text.split() if "=" in word)
