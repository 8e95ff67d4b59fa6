"""check_slurm.py - launch/slurm/train.sbatch under a real SLURM: whatever stops a job, the run ends in the same bits.

usage: check_slurm.py TARN_PROGRAM TRAIN_SBATCH      exit 0 all held, 1 something did not, 77 SLURM cannot be started here

All jobs run at the same time, each in a folder of its own. A job trains towards a number of steps it never reaches; the
test interferes once it trains, waits until the job is pending again, gives it 20 steps to go, and lets it finish. So no
scenario depends on how fast this machine is. The digest of what comes out is compared with that of a run of as many
steps outside SLURM, on one rank, that nobody disturbed.

Every scenario is told by one line, "ok NAME" or "FAIL NAME: why".
"""
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster import Cluster, Unavailable  # noqa: E402

SKIP = 77
PATIENCE = 240  # seconds any single wait may take on a busy machine
NEVER = 1000000000
MORE_STEPS = 20
RUN_FILE = """name: job
seed: 3
model: {{kind: gpt, layers: 2, heads: 2, width: 64, context: 32}}
data: {{kind: text, path: text}}
train: {{batch: 8, shards: 4, steps: {steps}, threads: 1}}
optim: {{lr: 0.003}}
track: {{store: null}}
"""


class Failure(Exception):
    """What a scenario expected and did not see."""


def wait_for(what, condition, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.3)
    raise Failure(f"waited {patience} s for {what}")


class Run:
    """One job in a folder of its own."""

    def __init__(self, test, name):
        self.test, self.cluster = test, test.cluster
        self.folder = f"{test.folder}/{name}"
        os.mkdir(self.folder)
        os.symlink(f"{test.folder}/text", f"{self.folder}/text")
        self.write(NEVER)
        self.log = f"{self.folder}/job.log"
        self.number = None

    def write(self, steps):
        with open(f"{self.folder}/run.yaml", "w") as file:
            file.write(RUN_FILE.format(steps=steps))

    def submit(self, launch, *options, arguments=("run.yaml",), **environment):
        if not any(each.startswith("--nodelist") for each in options):
            options += (self.elsewhere(),)
        _, text = self.cluster.call("sbatch", "--parsable", f"--output={self.log}", *options, self.test.script, *arguments,
                                    cwd=self.folder,
                                    environment=dict(TARN=self.test.tarn, TARN_LAUNCHER=launch, **environment))
        self.number = int(text.strip())

    def elsewhere(self):
        """The third node is kept for the scenario that takes the whole of it."""
        return f"--exclude={self.cluster.nodes[2]}"

    def text(self):
        try:
            with open(self.log, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def state(self):
        return self.cluster.job(self.number)["JobState"]

    def wait_until_it_trains(self):
        wait_for("the first step", lambda: "step 1/" in self.text() or self.ended())
        if self.ended():
            raise Failure(f"the job is {self.state()} instead of training")

    def wait_for_state(self, state):
        def reached():
            now = self.state()
            if now != state and now in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"):
                raise Failure(f"the job is {now}, expected {state}")
            return now == state

        wait_for(f"job {self.number} to be {state}", reached)

    def saved_step(self):
        code, text = self.cluster.call(self.test.tarn, "checkpoint", "ls", "runs/job", cwd=self.folder, check=False)
        found = re.search(r"^ *(\d+) +\d+ +yes ", text, re.M)
        if code or not found:
            raise Failure(f"no checkpoint was saved: {text.strip()}")
        return int(found.group(1))

    def wait_until_requeued(self):
        """Pending again with a checkpoint: holds the job, gives it MORE_STEPS from there, and releases it."""
        wait_for(f"job {self.number} to be requeued", lambda: self.state() == "PENDING" or self.ended())
        job = self.cluster.job(self.number)
        if job["JobState"] != "PENDING":
            raise Failure(f"the job is {job['JobState']} instead of being requeued")
        self.cluster.call("scontrol", "hold", str(self.number))
        step = self.saved_step()
        self.write(step + MORE_STEPS)
        self.cluster.call("scontrol", "release", str(self.number))
        return step

    def ended(self):
        return self.state() in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")

    def expect_resumed(self, step, restart=1):
        self.wait_for_state("COMPLETED")
        text = self.text()
        for line in (f"job {self.number}, restart {restart},", f"resumed at step {step} from"):
            if line not in text:
                raise Failure(f'the log does not say "{line}"')
        self.expect_same_digest(step + MORE_STEPS)

    def digest(self, directory):
        return self.cluster.call(self.test.tarn, "checkpoint", "digest", directory, cwd=self.folder)[1].strip()

    def expect_same_digest(self, steps, *arguments):
        self.cluster.call(self.test.tarn, "train", "run.yaml", "--quiet", "checkpoint.dir=undisturbed",
                          *arguments, f"train.steps={steps}", cwd=self.folder, timeout=2 * PATIENCE)
        mine, reference = self.digest("runs/job"), self.digest("undisturbed")
        if mine != reference:
            raise Failure(f"digest {mine} after {steps} steps, undisturbed it is {reference}")


# ---- scenarios: functions of a Run; the name of the function is the name of the scenario

def requeued_by_scontrol(run):
    run.submit("srun", "--nodes=2", "--ntasks=2")
    run.wait_until_it_trains()
    run.cluster.call("scontrol", "requeue", str(run.number))
    run.expect_resumed(run.wait_until_requeued())


def signal_usr1_to_mpirun_and_fewer_tasks(run):
    """The job comes back on one node and one task."""
    run.submit("mpirun", "--nodes=2", "--ntasks=2")
    run.wait_until_it_trains()
    run.cluster.call("scancel", "--signal=USR1", str(run.number))
    wait_for("the requeue", lambda: run.state() == "PENDING" or run.ended())
    run.cluster.call("scontrol", "update", f"JobId={run.number}", "NumNodes=1", "NumTasks=1")
    step = run.wait_until_requeued()
    run.expect_resumed(step)
    if "restart 1, 1 tasks on" not in run.text():
        raise Failure("the job did not come back with one task")


def signal_usr1_to_the_script_alone(run):
    run.submit("srun", "--nodes=1", "--ntasks=2", "--nodelist=n1")
    run.wait_until_it_trains()
    run.cluster.call("scancel", "--batch", "--signal=USR1", str(run.number))
    run.expect_resumed(run.wait_until_requeued())


def time_limit(run):
    """--time=1 lies within the 120 s of --signal=B:USR1@120: SLURM signals when it next looks at the limits."""
    run.submit("srun", "--nodes=1", "--ntasks=2", "--time=1")
    run.wait_until_it_trains()
    step = run.wait_until_requeued()
    run.cluster.call("scontrol", "update", f"JobId={run.number}", "TimeLimit=30")
    run.expect_resumed(step)
    if "TIME LIMIT" in run.text():
        raise Failure("the job was ended by the limit, not by itself before it")


def preempted(run):
    """A job of partition main takes the node from one of partition spot."""
    node = run.cluster.nodes[2]
    run.submit("srun", "--nodes=1", "--ntasks=2", "--exclusive", "--partition=spot",
               f"--nodelist={node}")
    run.wait_until_it_trains()
    run.cluster.call("sbatch", "--partition=main", f"--nodelist={node}", "--exclusive", "--output=/dev/null",
                     "--wrap=true")
    run.expect_resumed(run.wait_until_requeued())


def cancelled(run, launch, *arguments, more=MORE_STEPS):
    """scancel without a signal: a checkpoint, no requeue; the run can be gone on with by hand."""
    run.submit(launch, "--nodes=2", "--ntasks=2", arguments=("run.yaml", *arguments))
    run.wait_until_it_trains()
    run.cluster.call("scancel", str(run.number))
    run.wait_for_state("CANCELLED")
    step = run.saved_step()
    time.sleep(2)
    if run.cluster.job(run.number)["JobState"] != "CANCELLED" or "requeued:" in run.text():
        raise Failure("the cancelled job was requeued")
    run.cluster.call(run.test.tarn, "train", "run.yaml", "--quiet", *arguments, f"train.steps={step + more}",
                     cwd=run.folder, timeout=2 * PATIENCE)
    run.expect_same_digest(step + more, *arguments)


def cancelled_under_srun(run):
    cancelled(run, "srun")


def cancelled_under_mpirun(run):
    cancelled(run, "mpirun")


def cancelled_under_the_supervisor(run):
    """Steps of a second or more: a launcher that saw SIGTERM would have killed the ranks before they could save."""
    cancelled(run, "run", "train.batch=4096", "train.accumulate=64", more=1)


def supervisor_told_to_stop(run):
    run.submit("run", "--nodes=2", "--ntasks=2")
    run.wait_until_it_trains()
    run.cluster.call("scancel", "--batch", "--signal=USR1", str(run.number))
    run.expect_resumed(run.wait_until_requeued())


def rank_killed_under_the_supervisor(run):
    """A rank that dies costs a restart inside the allocation; the job itself goes on."""
    run.submit("run", "--nodes=2", "--ntasks=2", arguments=("run.yaml", "checkpoint.every=20"))
    run.wait_until_it_trains()
    wait_for("a checkpoint", lambda: glob.glob(f"{run.folder}/runs/job/ckpt-*"))
    os.kill(wait_for("rank 1", lambda: process_of_rank(run.number, 1)), signal.SIGKILL)
    wait_for("the run to be resumed", lambda: "resumed at step" in run.text() or run.ended())
    if run.state() != "RUNNING" or run.cluster.job(run.number)["Restarts"] != "0":
        raise Failure(f"the job is {run.state()}: the rank cost more than a restart of the ranks")
    run.cluster.call("scancel", "--batch", "--signal=USR1", str(run.number))
    run.expect_resumed(run.wait_until_requeued())


def process_of_rank(job, rank):
    """The process number of a rank of a job of this test's own SLURM."""
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:
            continue
        wanted = (f"SLURM_JOB_ID={job}", f"OMPI_COMM_WORLD_RANK={rank}", f"SLURM_CONF={os.environ['SLURM_CONF']}")
        if all(each.encode() in variables for each in wanted):
            return int(path.split("/")[2])
    return None


def two_nodes_with_pmix(run):
    """Two tasks on two nodes find each other and give the bits of one."""
    run.write(50)
    _, text = run.cluster.call("srun", "--nodes=2", "--ntasks=2", "--mpi=pmix", run.test.tarn, "train", "--expect-ranks",
                               "2", "run.yaml", cwd=run.folder)
    if "step 50/50" not in text:
        raise Failure(f"the step did not train: {text}")
    run.expect_same_digest(50)


def missing_pmi(run):
    """Tasks that cannot find each other say so and exit with 2; the job is not requeued."""
    code, text = run.cluster.call("srun", "--nodes=2", "--ntasks=2", "--mpi=none", run.test.tarn, "train", "run.yaml",
                                  cwd=run.folder, check=False)
    if code != 2 or "no PMI" not in text or "--mpi=pmix" not in text:
        raise Failure(f"srun --mpi=none: exit {code}, {text}")
    run.submit("srun", "--nodes=2", "--ntasks=2", TARN_MPI="none")
    run.wait_for_state("FAILED")
    job = run.cluster.job(run.number)
    if job["ExitCode"] != "2:0" or job["Restarts"] != "0" or "no PMI" not in run.text():
        raise Failure(f"exit {job['ExitCode']}, {job['Restarts']} restarts, log: {run.text()}")


def wrong_use(run):
    """Without a run file, or with one that has a mistake, the job fails with 2 and stays so."""
    for arguments, message in (((), "which run?"), (("run.yaml", "train.stepz=3"), "train.stepz")):
        run.log = f"{run.folder}/{len(arguments)}.log"
        run.submit("srun", arguments=arguments)
        run.wait_for_state("FAILED")
        job = run.cluster.job(run.number)
        if job["ExitCode"] != "2:0" or message not in run.text():
            raise Failure(f"exit {job['ExitCode']}, expected 2 and \"{message}\": {run.text()}")


def rendered_script(run):
    """What tarn launch render slurm writes is taken by sbatch, and runs as its options say."""
    run.write(40)
    cluster = run.cluster
    cluster.call(run.test.tarn, "launch", "render", "slurm", "run.yaml", "--nodes", "2", "--ranks", "4", "--time", "1h",
                 "--memory", "64Mi", "--partition", "main", "--grace", "90", "--env", "TARN_LAUNCHER=srun", "-o", "mine.sbatch",
                 "train.eval_every=0", cwd=run.folder)
    cluster.call("sbatch", "--test-only", "mine.sbatch", cwd=run.folder)
    _, text = cluster.call("sbatch", "--parsable", f"--output={run.log}", run.elsewhere(), "mine.sbatch", cwd=run.folder,
                           environment=dict(TARN=run.test.tarn))
    run.number = int(text.strip())
    job = cluster.job(run.number)
    wanted = dict(JobName="job", NumNodes="2", NumTasks="4", TimeLimit="01:00:00", MinMemoryNode="64M", Partition="main")
    got = {name: job.get(name) for name in wanted}
    got["NumNodes"] = got["NumNodes"].split("-")[0]  # "2-2" until it runs
    if got != wanted:
        raise Failure(f"SLURM understood {got}, expected {wanted}")
    run.wait_for_state("COMPLETED")
    if "4 tasks on n[1-2], srun" not in run.text():
        raise Failure("the job did not run on 4 tasks of 2 nodes")
    run.expect_same_digest(40)
    wrong = cluster.call("sbatch", "--test-only", "--partition=nowhere", "mine.sbatch", check=False, cwd=run.folder)
    if wrong[0] == 0:
        raise Failure("sbatch --test-only accepts a partition that is not there")


SCENARIOS = [time_limit, requeued_by_scontrol, signal_usr1_to_mpirun_and_fewer_tasks, signal_usr1_to_the_script_alone,
             preempted, cancelled_under_srun, cancelled_under_mpirun, two_nodes_with_pmix, missing_pmi, wrong_use,
             rendered_script]
SUPERVISED = [cancelled_under_the_supervisor, supervisor_told_to_stop, rank_killed_under_the_supervisor]


class Test:
    def __init__(self, tarn, script, cluster, folder):
        self.tarn, self.script, self.cluster, self.folder = tarn, script, cluster, folder
        self.failed = 0

    def run_one(self, scenario):
        name = scenario.__name__
        run = Run(self, name)
        begun = time.monotonic()
        try:
            scenario(run)
            print(f"ok {name} ({time.monotonic() - begun:.0f} s)", flush=True)
        except Exception as error:  # noqa: BLE001 - whatever went wrong is what this scenario tells
            self.failed += 1
            log = "\n".join(f"    | {line}" for line in run.text().splitlines()[-30:])
            print(f"FAIL {name}: {type(error).__name__}: {error}\n{log}", flush=True)

    def run_all(self, scenarios):
        threads = [threading.Thread(target=self.run_one, args=(each,)) for each in scenarios]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main():
    tarn, script = (os.path.abspath(path) for path in sys.argv[1:3])
    wanted = sys.argv[3:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the daemons are stopped
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_mpi_yield_when_idle="1",
                      OMPI_MCA_hwloc_base_binding_policy="none",
                      # The virtual nodes share one host name and one /dev/shm, where the ranks of both would take the same
                      # names for their segments; and other interfaces of this machine may come and go.
                      OMPI_MCA_btl="self,tcp", OMPI_MCA_btl_tcp_if_include="lo", OMPI_MCA_oob_tcp_if_include="lo")
    scenarios = list(SCENARIOS)
    if subprocess.run([tarn, "run", "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        scenarios += SUPERVISED
    else:
        print("not run: the scenarios of `tarn run`, which this program does not have")
    scenarios = [each for each in scenarios if not wanted or each.__name__ in wanted]
    folder = tempfile.mkdtemp(prefix="tarn-slurm-test-")
    try:
        shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "README.md"), f"{folder}/text")
        with Cluster(nodes=3, cpus=2 * len(scenarios), kill_wait=180) as cluster:
            os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
            test = Test(tarn, script, cluster, folder)
            test.run_all(scenarios)
            return 1 if test.failed else 0
    except Unavailable as reason:
        print(f"skipped: no SLURM could be started here: {reason}")
        return SKIP
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
