# SPDX-License-Identifier: Apache-2.0
"""The example for Slurm, in a real cluster of two nodes on this host (slurm_cluster.py)."""

import datetime
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "integration"))

import guests
import harness
import registries
import slurm_cluster

# More checks than the example's, and a longer lease for a busy host: it ends before the node counts as lost, too.
SETTINGS = "HealthCheckInterval=3", "SlurmdTimeout=100"
LEASE = "60s"
WAITS = "echo on; while :; do sleep 0.1; done"


@harness.needs_guests
@unittest.skipIf(slurm_cluster.why_no_slurm(), slurm_cluster.why_no_slurm())
class Slurm(guests.TestCase):
    config = guests.CONFIG
    snapshot = True

    def setUp(self):
        super().setUp()
        bin_dir = self.path("bin")
        os.makedirs(bin_dir)
        os.symlink(harness.MVM, os.path.join(bin_dir, "mvm"))
        self.slurm = self.enterContext(slurm_cluster.Cluster(
            self.folder, self.environment({"PATH": f"{bin_dir}:{os.environ['PATH']}:/usr/sbin:/sbin"}), SETTINGS,
            cgroups="cgroup" in self._testMethodName))
        with open(self.path("mvm/mvm.env"), "a", encoding="utf-8") as out:
            out.write(f"lease_time={LEASE}\n")

    def node_data(self, node):
        return self.path(node, "data")

    def vms(self, node):
        done = subprocess.run([harness.MVM, "--data-dir", self.node_data(node), "ps", "--json"], env=self.environment(),
                              capture_output=True, text=True, check=True, timeout=self.timeout)
        return json.loads(done.stdout)

    def has_feature(self, node, feature):
        return feature in self.slurm.node(node).get("ActiveFeatures", "").split(",")

    def give_template(self, node):
        # the health check has made the folder
        os.makedirs(self.node_data(node), mode=0o700, exist_ok=True)
        guests.copy_data(os.path.join(self.shared_data, "."), self.node_data(node))
        self.slurm.wait(f"{node} has the feature", lambda: self.has_feature(node, "snap_web-worker"))

    def submit(self, script, *options):
        path = self.write("job.sh", "#!/bin/bash\n" + script, 0o755)
        done = self.slurm.run("sbatch", "--parsable", "--requeue", f"--output={self.folder}/job.%j.out", *options, path)
        return done.stdout.strip()

    def output(self, job):
        with open(self.path(f"job.{job}.out"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def state(self, job):
        return self.slurm.job(job).get("JobState")

    def begun(self, job):
        """Does a requeued job run again?  Slurm would let it wait for two minutes.  In the second in which it was
        requeued it would not run at all: its credential is the one that was revoked."""
        is_now = self.slurm.job(job)
        soon = (datetime.datetime.now() + datetime.timedelta(seconds=10)).isoformat()
        if is_now["JobState"] == "PENDING" and is_now["EligibleTime"] > soon: # "Unknown" is, too
            self.slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now+2seconds", check=False)
        return self.state(job) == "RUNNING"

    def submit_waiting(self, *options):
        """A job whose guest waits for ever, once it does."""
        job = self.submit("srun mvm run --template web-worker --label slurm-job=$SLURM_JOB_ID"
                          f" -- sh -c '{WAITS}'\n", *options)
        self.slurm.wait("its guest runs", lambda: os.path.exists(self.path(f"job.{job}.out")) and
                        self.output(job).endswith("on\n"))
        return job

    def test_a_job_goes_where_its_template_is(self):
        slurm = self.slurm
        self.give_template("n2")
        self.assertFalse(self.has_feature("n1", "tpl_web-worker"))
        srun = ["srun", "--constraint=tpl_web-worker", "mvm", "run", "--template", "web-worker"]
        done = slurm.run(*srun, "--", "sh", "-c", "echo $(uname -n); exit 7", check=False)
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertIn("web-worker", done.stdout)
        self.assertEqual(slurm.job(1)["NodeList"], "n2")
        # a signal reaches the guest's command, whose status comes back
        with subprocess.Popen([*srun, "--", "sh", "-c", f"trap 'echo got it; exit 9' TERM; {WAITS}"], env=slurm.env,
                              cwd=self.folder, stdout=subprocess.PIPE, text=True) as process:
            self.assertEqual(process.stdout.readline(), "on\n")
            slurm.run("scancel", "--signal=TERM", "2")
            self.assertEqual(process.stdout.readline(), "got it\n")
            self.assertEqual(process.wait(harness.PATIENCE_S), 9)
        # scancel ends the VM
        job = self.submit_waiting("--constraint=tpl_web-worker")
        self.assertEqual(len(self.vms("n2")), 1)
        slurm.run("scancel", job)
        slurm.wait("its VM has ended", lambda: self.vms("n2") == [])
        # so does a requeue, and the job begins again
        job = self.submit_waiting("--constraint=tpl_web-worker")
        [first] = self.vms("n2")
        slurm.run("scontrol", "requeue", job)
        slurm.wait("its VM has ended", lambda: first["name"] not in [vm["name"] for vm in self.vms("n2")])
        slurm.wait("it is requeued", lambda: slurm.job(job)["Restarts"] == "1")
        slurm.wait("it runs again", lambda: self.begun(job) and len(self.vms("n2")) == 1)
        # a drained node takes no new job, and its old one goes on
        slurm.run("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=test")
        self.assertEqual(slurm.run("srun", "printenv", "SLURMD_NODENAME").stdout, "n1\n")
        self.assertEqual(self.state(job), "RUNNING")
        slurm.run("scancel", job)
        slurm.wait("its VM has ended", lambda: self.vms("n2") == [])

    @unittest.skipUnless(registries.DOCKER_REGISTRY, "docker-registry is not installed")
    def test_the_prolog_pulls_and_the_health_check_drains(self):
        slurm = self.slurm
        with registries.Registry(self.folder) as registry:
            self.give_template("n1")
            mvm = [harness.MVM, "--data-dir", self.node_data("n1")]
            for words in ["key", "generate", "us"], ["template", "push", "web-worker", registry.host + "/t/web-worker:v1",
                                                     "--sign", "us"]:
                subprocess.run([*mvm, *words], env=self.environment(), check=True, timeout=self.timeout,
                               capture_output=True)
            subprocess.run([harness.MVM, "--data-dir", self.node_data("n2"), "key", "trust",
                            os.path.join(self.node_data("n1"), "keys", "us.pub")], env=self.environment(), check=True,
                           capture_output=True, timeout=self.timeout)
            self.write("mvm/templates", f"web-worker {registry.host}/t/web-worker:v1\n")
            run = ["srun", "--nodelist=n2", "mvm", "run", "--template", "web-worker", "--require-snapshot", "--", "true"]
            slurm.run(*run)
        slurm.run(*run) # all is here: without the registry
        slurm.wait("n2 has the feature", lambda: self.has_feature("n2", "snap_web-worker"))
        # mvm cannot run VMs any more
        with open(self.path("mvm/mvm.env"), "a", encoding="utf-8") as out:
            out.write("[[ $SLURMD_NODENAME != n2 ]] || export MVM_QEMU=/none\n")
        slurm.wait("n2 is drained", lambda: "DRAIN" in slurm.node("n2")["State"])
        self.assertIn("Reason=mvm: qemu: ", slurm.run("scontrol", "-o", "show", "node", "n2").stdout)
        # nor does its user exist
        with open(self.path("mvm/mvm.env"), "a", encoding="utf-8") as out:
            out.write("mvm_user=no-such-user\n")
        slurm.wait("n1 is drained", lambda: "DRAIN" in slurm.node("n1")["State"])
        self.assertIn("Reason=mvm: runuser: user no-such-user ", slurm.run("scontrol", "-o", "show", "node", "n1").stdout)

    @unittest.skipIf(slurm_cluster.why_no_cgroups(), slurm_cluster.why_no_cgroups())
    def test_a_vm_stays_in_the_cgroup_of_its_job(self):
        slurm = self.slurm
        self.give_template("n1")
        job = self.submit_waiting("--nodelist=n1", "--mem=192") # 128 MiB are the guest's
        [vm] = self.vms("n1")
        with open(f"/proc/{vm['vmm_pid']}/cgroup", encoding="ascii") as file:
            cgroups = dict(line.strip().split(":", 2)[1:] for line in file)
        step = f"/slurm_n1/uid_0/job_{job}/step_0"
        self.assertEqual((cgroups["freezer"], cgroups["cpuset"], cgroups["memory"]), (step, step, step + "/task_0"))
        with open(slurm_cluster.CGROUPS + "/memory" + step + "/memory.limit_in_bytes", encoding="ascii") as file:
            self.assertEqual(int(file.read()), 192 << 20)
        # whose slurmstepd is killed: slurmd ends what is in the cgroup
        for pid in slurm.stepds(job):
            os.kill(pid, 9)
        slurm.run("scancel", job)
        slurm.wait("its VM has ended", lambda: not guests.is_alive(vm["vmm_pid"]) and self.vms("n1") == [])

    def test_the_vm_of_a_lost_job_ends_before_its_successor_begins(self):
        slurm = self.slurm
        for node in slurm_cluster.NODES:
            self.give_template(node)
        job = self.submit_waiting()
        node = slurm.job(job)["NodeList"]
        other = "n2" if node == "n1" else "n1"
        [lost] = self.vms(node)
        slurm.kill(node)
        for pid in slurm.stepds(job):
            os.kill(pid, 9)
        self.assertTrue(guests.is_alive(lost["vmm_pid"])) # nobody has told it
        slurm.wait("its job is requeued", lambda: slurm.job(job)["Restarts"] == "1", seconds=300)
        self.assertFalse(guests.is_alive(lost["vmm_pid"]), slurm.job(job))
        slurm.wait("it runs elsewhere", lambda: self.begun(job) and len(self.vms(other)) == 1)
        self.assertEqual((slurm.job(job)["NodeList"], self.vms(node)), (other, []))
        # a slurmstepd that is killed alone: the epilog ends what is left
        [lost] = self.vms(other)
        for pid in slurm.stepds(job):
            os.kill(pid, 9)
        slurm.run("scancel", job)
        slurm.wait("its VM has ended", lambda: not guests.is_alive(lost["vmm_pid"]) and self.vms(other) == [])


if __name__ == "__main__":
    guests.main()
