# SPDX-License-Identifier: Apache-2.0
"""The QEMU backend on real KVM: its contract, the main job, and KVM's differences; and tests that need
a kernel with fs-verity and cgroup v2.

On hosts without KVM, each step runs in a VM with KVM (outer_vm.py).  The tests are the same as
elsewhere: the built contract program and the tests of tests/integration, with this host's Python.
This program reports each of their results.  MVM_TEST_FIRECRACKER adds the same steps for Firecracker,
in its jailer if that lies beside it.

Environment: MVM, MVM_TEST_KERNEL_DEB, MVM_TEST_CONTRACT, MVM_TEST_CONFINE (the built programs),
MVM_TEST_VSOCK_GUEST; MVM_TEST_NESTED may name single steps, and MVM_TEST_NESTED_KEEP a folder for the
logs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time

SOURCE_DIR = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(SOURCE_DIR, "tests", "integration"))
import harness
import outer_vm
import summary

# steps inside the VM: name, deadline in seconds, program (with paths inside)
STEPS = (
    ("contract", 600, "/mvm/contract"),
    ("kvm_job", 900, "/src/tests/long/kvm_job.py"),
    ("kept", 1800, "/src/tests/long/kvm_kept.py"),
    ("main_job", 2400, "/src/tests/integration/test_main_job.py"),
    ("seals", 1800, "/src/tests/integration/test_seals.py"),
    ("confine", 120, "/mvm/confine"),
    ("reach", 1200, "/src/tests/integration/test_reach.py"),
)
BEGIN, END = "@begin ", "@end "


def why_not():
    for name in ("MVM_TEST_CONTRACT", "MVM_TEST_VSOCK_GUEST", "MVM_TEST_CONFINE"):
        if not os.path.exists(os.environ.get(name, "")):
            return f"{name} names no program"
    return harness.why_no_guests() or outer_vm.why_not()


def steps():
    wanted = os.environ.get("MVM_TEST_NESTED", "").split()
    return [step for step in STEPS if not wanted or step[0] in wanted]


def jailer_of(firecracker):
    """The jailer beside it, or None."""
    folder, name = os.path.split(firecracker)
    jailer = os.path.join(folder, name.replace("firecracker", "jailer", 1))
    return jailer if jailer != firecracker and os.path.exists(jailer) else None


def make_vm(folder):
    """Make the VM with everything that the steps need; returns it and the path of its Python."""
    deb = os.environ["MVM_TEST_KERNEL_DEB"]
    vm = outer_vm.OuterVm(folder, deb)
    image = vm.image
    image.add_qemu()
    python = image.add_python()
    for name in ("cp", "setpriv", "e2fsck", "mkfs.ext4", "ip", "nsenter", "unshare"):
        if shutil.which(name):
            image.add_program(shutil.which(name), "/usr/bin/" + name)
    for name in ("mvm", "mvm-supervisor", "mvm-net", "mvm-agent"):
        image.add_program(os.path.join(os.path.dirname(harness.MVM), name), "/mvm/" + name)
    image.add_program(os.environ["MVM_TEST_CONTRACT"], "/mvm/contract")
    image.add_program(os.environ["MVM_TEST_CONFINE"], "/mvm/confine")
    firecracker = os.environ.get("MVM_TEST_FIRECRACKER")
    if firecracker:
        image.add_program(firecracker, "/mvm/firecracker")
        if jailer_of(firecracker):
            image.add_program(jailer_of(firecracker), "/mvm/jailer")
    image.add_file(deb, "/mvm/" + os.path.basename(deb))
    for part in ("tests/integration", "tests/long", "examples/http/rootfs"):
        image.add_tree(os.path.join(SOURCE_DIR, part), "/src/" + part)
    for name in ("tests/harness.py", "tests/registries.py", "doc/network.md"):
        image.add_file(os.path.join(SOURCE_DIR, name), "/src/" + name)

    guest = os.path.join(folder, "guest")
    subprocess.run([sys.executable, os.path.join(SOURCE_DIR, "tests/contract/make_guest.py"), deb,
                    guest, os.environ["MVM_TEST_VSOCK_GUEST"]], check=True, timeout=300)
    image.add_tree(guest, "/mvm/guest")
    return vm, python


def script(python):
    """The VM's script: each step within its deadline, between marks."""
    deb = os.path.basename(os.environ["MVM_TEST_KERNEL_DEB"])
    lines = [f"export MVM=/mvm/mvm MVM_TEST_KERNEL_DEB=/mvm/{deb} MVM_TEST_GUEST_DIR=/mvm/guest",
             "export MVM_TEST_MAY_SET_CLOCK=1", # the VM's own
             "export PYTHONPATH=/src/tests:/src/tests/integration PYTHONDONTWRITEBYTECODE=1"]
    if os.environ.get("MVM_TEST_FIRECRACKER"):
        lines.append("export MVM_TEST_FIRECRACKER=/mvm/firecracker")
        if not jailer_of(os.environ["MVM_TEST_FIRECRACKER"]): # root must allow that
            lines.append("export MVM_JAILER=none")
    lines.append("case $step in") # the kernel passes it from its command line to init
    for name, seconds, program in STEPS:
        command = f"{python} {program}" if program.endswith(".py") else program
        lines += [f"{name})", f"echo '{BEGIN}{name}'", f"timeout -s KILL {seconds} {command}",
                  f"echo '{END}{name}' $?", ";;"]
    return "\n".join([*lines, "esac"])


def wait(vm, process, seconds):
    """Wait for the VM's end, or for the deadline.  Returns False if the VM's clock stopped."""
    deadline = time.monotonic() + outer_vm.BOOT_S + seconds
    alive = True
    while alive and process.poll() is None and time.monotonic() < deadline:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            alive = not vm.is_dead()
    process.kill()
    process.wait(30)
    return alive


def run_step(vm, name, seconds):
    """Run a step; returns its output.  If the VM's own clock stops, that is TCG's fault and not the
    step's, so the step runs once more."""
    for attempt in (1, 2):
        began = time.monotonic()
        alive = wait(vm, vm.start(name), seconds)
        print(f"# {name}: {time.monotonic() - began:.0f} s" + ("" if alive else
              f"; the outer VM's clock has stopped, attempt {attempt}"), flush=True)
        if alive:
            break
    return vm.output()


def parts(output):
    """{step: (its output, its exit status or None)}"""
    result = {}
    for chunk in output.split(BEGIN)[1:]:
        name, _, text = chunk.partition("\n")
        text, mark, status = text.partition(f"{END}{name} ")
        result[name] = (text, int(status.split("\n")[0] or -1) if mark else None)
    return result


def cmocka_results(text):
    """Results of the contract program, which prints the backend before its tests, and why one skips."""
    backend, reason, running = "", "", False
    for line in text.splitlines():
        found = summary.CMOCKA.match(line)
        if line.startswith("backend: "):
            backend = line.removeprefix("backend: ")
        elif line.startswith("skipped: "):
            reason = line.removeprefix("skipped: ")
        elif found and found[1] == "RUN":
            running = True
        elif found and running: # at the end of a group, the skipped tests are listed again
            running = False
            name = f"{backend}: {found[2]}" if backend else found[2]
            yield name, {"OK": "ok", "FAILED": "failed"}.get(found[1], reason)


def results(text):
    """(test, "ok" or "failed" or the reason of a skip) of each test in a program's output."""
    if summary.CMOCKA.search(text):
        yield from cmocka_results(text)
        return
    for state, name, directive, reason in summary.TAP.findall(text):
        if directive.upper() == "SKIP":
            yield name, reason or "skipped"
        else:
            yield name, "ok" if state.lower() == "ok" else "failed"


class Tap:
    def __init__(self):
        self.number, self.bad = 0, 0

    def say(self, name, state):
        self.number += 1
        self.bad += state == "failed"
        skip = "" if state in ("ok", "failed") else f" # SKIP {state}"
        print(f"{'not ' * (state == 'failed')}ok {self.number} - {name}{skip}", flush=True)

    def report(self, step, text, status):
        """Report a step's tests, and the step itself if it failed without a failed test."""
        found = list(results(text))
        for name, state in found:
            self.say(f"{step}: {name}", state)
        for line in text.splitlines():
            if status != 0 or line.startswith("#"):
                print("#", line.lstrip("# "))
        if status != 0 and not any(state == "failed" for _, state in found):
            self.say(f"{step} ends well (it ended with {status})", "failed")


def keep_logs(folder, step):
    target = os.environ.get("MVM_TEST_NESTED_KEEP")
    if target:
        os.makedirs(target, exist_ok=True)
    for name in ("qemu.log", "console.log", "said.log") if target else ():
        shutil.copy(os.path.join(folder, name), os.path.join(target, f"{step}-{name}"))


def main():
    reason = why_not()
    if reason:
        print(f"1..0 # SKIP {reason}")
        return 0
    folder = tempfile.mkdtemp(prefix="mvm-test-")
    tap = Tap()
    try:
        vm, python = make_vm(folder)
        vm.make(script(python))
        for name, seconds, _ in steps():
            bad = tap.bad
            tap.report(name, *parts(run_step(vm, name, seconds)).get(name, ("", None)))
            if tap.bad > bad:
                print("\n".join("# " + line for line in vm.last_words().splitlines()))
            keep_logs(folder, name)
    finally:
        shutil.rmtree(folder)
    print(f"1..{tap.number}")
    return 1 if tap.bad or not tap.number else 0


if __name__ == "__main__":
    sys.exit(main())
