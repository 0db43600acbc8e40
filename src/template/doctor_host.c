/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/extend.h"
#include "base/program.h"
#include "base/str.h"
#include "build/nix_run.h"
#include "instance/confine.h"
#include "instance/handover.h"
#include "start/context.h"
#include "store/store.h"
#include "template/doctor.h"
#include "vmm/accel.h"
#include "vmm/mend.h"
#include "vmm/name_servers.h"

#define QEMU_TESTED_MAJOR 7u
#define QEMU_TESTED_MINOR 2u

static const char nest[] = "enable nested virtualisation for this machine";

static void explain_kvm_open(struct doctor *d, const char *device, const char *cpuinfo, int code)
{
	bool intel = cpuinfo && cpuinfo_has_flag(cpuinfo, "vmx");
	bool amd = cpuinfo && cpuinfo_has_flag(cpuinfo, "svm");

	/* first: without vmx or svm, permission to open it would not help */
	if (code != -ENOENT && !intel && !amd)
		doctor_add(d, "kvm", MVM_CHECK_WARN, nest,
			   "%s exists, but the CPU has neither vmx nor svm: a paravirtual KVM "
			   "that would crawl, so guests are emulated",
			   device);
	else if (code == -EACCES || code == -EPERM)
		doctor_add(d, "kvm", MVM_CHECK_WARN, "sudo usermod -aG kvm \"$USER\" && newgrp kvm",
			   "this user may not open %s, so guests are emulated, which is many "
			   "times slower",
			   device);
	else if (code == -ENOENT && (intel || amd))
		doctor_add(
			d, "kvm", MVM_CHECK_WARN,
			mend_as_root(intel ? "sudo modprobe kvm_intel" : "sudo modprobe kvm_amd"),
			"there is no %s, so guests are emulated, which is many times slower",
			device);
	else if (code == -ENOENT)
		doctor_add(d, "kvm", MVM_CHECK_WARN,
			   "enable virtualisation in the firmware, or nested virtualisation for "
			   "this machine if it is virtual itself",
			   "there is no %s and the CPU shows neither vmx nor svm, so guests are "
			   "emulated, which is many times slower",
			   device);
	else
		doctor_add(d, "kvm", MVM_CHECK_WARN, mend_as_root("sudo dmesg | grep -i kvm"),
			   "%s cannot be opened (%s), so guests are emulated, which is many times "
			   "slower",
			   device, strerror(-code));
}

void doctor_kvm(struct doctor *d, const char *device, const char *cpuinfo, const char *wish)
{
	AUTO_CLOSE int fd = open(device, O_RDWR | O_CLOEXEC);
	int code = fd < 0 ? -errno : 0;
	bool has_flags = cpuinfo &&
			 (cpuinfo_has_flag(cpuinfo, "vmx") || cpuinfo_has_flag(cpuinfo, "svm"));

	if (fd < 0 && str_eq(wish, "kvm"))
		doctor_add(d, "kvm", MVM_CHECK_WARN, "unset MVM_ACCEL",
			   "%s cannot be opened (%s), but MVM_ACCEL=kvm demands it: no guest can "
			   "start",
			   device, strerror(-code));
	else if (fd < 0)
		explain_kvm_open(d, device, cpuinfo, code);
	else if (!has_flags && str_eq(wish, "kvm"))
		doctor_add(d, "kvm", MVM_CHECK_WARN, "unset MVM_ACCEL",
			   "%s opens, but the CPU has neither vmx nor svm: a paravirtual KVM, in "
			   "which guests crawl; MVM_ACCEL=kvm demands it nevertheless",
			   device);
	else if (!has_flags)
		doctor_add(d, "kvm", MVM_CHECK_WARN, nest,
			   "%s exists, but the CPU has neither vmx nor svm: a paravirtual KVM "
			   "that would crawl, so guests are emulated",
			   device);
	else if (str_eq(wish, "tcg"))
		doctor_add(d, "kvm", MVM_CHECK_WARN, "unset MVM_ACCEL",
			   "KVM is usable, but with MVM_ACCEL=tcg guests are emulated");
	else
		doctor_add(d, "kvm", MVM_CHECK_OK, NULL, "KVM is usable");
}

static bool is_older_qemu(const char *version)
{
	char *end = NULL;
	unsigned long major = strtoul(version, &end, 10);
	unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
	return end != version && (major < QEMU_TESTED_MAJOR ||
				  (major == QEMU_TESTED_MAJOR && minor < QEMU_TESTED_MINOR));
}

/* Probe a backend.  When memory runs out, *ret stays unusable. */
static void probe(struct doctor *d, const struct vmm_ops *ops, struct vmm_probe *ret)
{
	int cache_fd = d->mvm ? store_dir(d->mvm->store, STORE_CACHE) : -1;
	int r = vmm_backend_probe(ops, cache_fd, d->progress, ret, NULL);
	if (r < 0 && r != -ECANCELED)
		d->failed = true;
}

/* Is the binary found, if the user named one? */
static bool is_as_wanted(const struct vmm_ops *ops, const struct vmm_probe *p)
{
	return p->binary || str_empty(getenv(ops->binary_env));
}

static void add_backend(struct doctor *d, const struct vmm_ops *ops, const struct vmm_probe *p,
			bool is_last_hope)
{
	if (p->usable && str_eq(ops->name, "qemu") && is_older_qemu(p->version))
		doctor_add(d, ops->name, MVM_CHECK_WARN, mend_as_root(MEND_INSTALL_QEMU),
			   "QEMU %s is older than %u.%u, the oldest that mvm is tested with",
			   p->version, QEMU_TESTED_MAJOR, QEMU_TESTED_MINOR);
	else if (p->usable)
		doctor_add(d, ops->name, MVM_CHECK_OK, NULL, "version %s, %s", p->version,
			   p->binary);
	else if (p->accel != VMM_ACCEL_KVM && str_eq(ops->name, "firecracker") &&
		 is_as_wanted(ops, p))
		doctor_add(d, ops->name, MVM_CHECK_OK, NULL,
			   "%s needs KVM, which cannot be used; the backend qemu does not",
			   p->binary ? p->binary : "Firecracker");
	else
		doctor_add(d, ops->name, is_last_hope ? MVM_CHECK_FAIL : MVM_CHECK_WARN,
			   mend_backend(ops, p), "%s", p->reason ? p->reason : "not usable");
}

/* The last backend, qemu, runs everywhere: if no backend is usable, that one is the failure. */
void doctor_backends(struct doctor *d)
{
	bool any = false;
	for (size_t i = 0; vmm_backends[i]; i++) {
		AUTO_DONE(vmm_probe) p = { 0 };
		probe(d, vmm_backends[i], &p);
		any |= p.usable;
		add_backend(d, vmm_backends[i], &p, !any && !vmm_backends[i + 1]);
	}
}

void doctor_network(struct doctor *d)
{
	for (size_t i = 0; vmm_backends[i]; i++) {
		AUTO_DONE(vmm_probe) p = { 0 };
		const char *obstacle = vmm_network_obstacle(vmm_backends[i]);
		if (!obstacle)
			continue;
		probe(d, vmm_backends[i], &p);
		if (!p.usable)
			continue;
		doctor_add(d, "network", MVM_CHECK_WARN, NULL,
			   "VMs on backend %s cannot have a network: %s", vmm_backends[i]->name,
			   obstacle);
		doctor_reason(d, "backend-no-network", vmm_backends[i]->name);
	}
}

/* A check keeps the pointer to its name, so the names are constants. */
static const char *isolation_name(const struct vmm_ops *ops)
{
	return str_eq(ops->name, "firecracker") ? "firecracker-isolation" : "qemu-isolation";
}

/* What confines a VMM that a guest has broken into: a check for each usable backend. */
void doctor_isolation(struct doctor *d)
{
	for (size_t i = 0; vmm_backends[i]; i++) {
		AUTO_DONE(vmm_probe) p = { 0 };
		const char *obstacle = NULL, *mend = NULL, *set = getenv("MVM_ISOLATION");
		char text[VMM_ISOLATION_TEXT_SIZE];
		probe(d, vmm_backends[i], &p);
		if (!p.usable)
			continue;
		unsigned isolation = vmm_backends[i]->confines(
			&p, store_dir(d->mvm->store, STORE_INSTANCES), &obstacle);
		bool as_root = geteuid() == 0 && !(isolation & VMM_ISOLATION_USER);
		if (obstacle && str_eq(set, "off"))
			mend = "unset MVM_ISOLATION";
		else if (as_root && obstacle)
			mend = "run mvm as an ordinary user";
		else if (obstacle && isolation & VMM_ISOLATION_NAMESPACES)
			mend = "run mvm where Landlock is on: Linux 5.13 or later, with landlock "
			       "in /sys/kernel/security/lsm";
		else if (obstacle)
			mend = "run mvm on a host whose kernel allows user namespaces";
		doctor_add(d, isolation_name(vmm_backends[i]), mend ? MVM_CHECK_WARN : MVM_CHECK_OK,
			   mend, "%s%s%s%s", vmm_isolation_text(isolation, text),
			   obstacle ? ", not more: " : "", as_root ? "VMs run as root: " : "",
			   obstacle ? obstacle : "");
	}
}

void doctor_name_servers(struct doctor *d, const char *resolv_conf)
{
	AUTO_FREE char *problem = name_servers_problem(resolv_conf);
	if (problem)
		doctor_add(
			d, "name-servers", MVM_CHECK_WARN,
			"write a line 'nameserver ADDRESS' into /etc/resolv.conf, or set dns in a "
			"template's [network]",
			"%s", problem);
	else
		doctor_add(d, "name-servers", MVM_CHECK_OK, NULL,
			   "guests' questions go to those of /etc/resolv.conf");
}

void doctor_helpers(struct doctor *d)
{
	static const struct {
		const char *program, *does;
	} helpers[] = {
		{ SUPERVISOR_PROGRAM, "nothing can be started" },
		{ "mvm-net", "no VM on QEMU can have a network" },
		{ "mvm-agent", "no image can be built" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(helpers); i++) {
		AUTO_FREE char *path = NULL;
		int r = program_helper_path(helpers[i].program, &path);
		if (r == -ENOMEM)
			d->failed = true;
		else if (r < 0)
			doctor_add(d, helpers[i].program, MVM_CHECK_FAIL,
				   "install mvm again, or name their folder with MVM_LIBEXEC_DIR",
				   "%s was not found beside mvm: %s without it", helpers[i].program,
				   helpers[i].does);
		else
			doctor_add(d, helpers[i].program, MVM_CHECK_OK, NULL, "%s", path);
	}
}

void doctor_nix(struct doctor *d)
{
	AUTO_DONE(nix) nix = { .log_fd = -1 };
	int r = nix_find(&nix, NULL);
	if (r == -ENOMEM)
		d->failed = true;
	else if (r < 0)
		doctor_add(d, "nix", MVM_CHECK_WARN, mend_as_root("sudo apt-get install nix-bin"),
			   "there is no nix: flakes cannot be built here; folders, archives and "
			   "OCI images can");
	else
		doctor_add(d, "nix", MVM_CHECK_OK, NULL, "%s", nix.program);
}

/* How to get a cgroup that this process may divide. */
static const char *mend_delegation(void)
{
	if (access("/run/systemd/system", F_OK) < 0)
		return "name a cgroup v2 folder that is yours with MVM_CGROUP";
	return geteuid() == 0 ? "systemd-run --scope -p Delegate=yes \"$SHELL\""
			      : "systemd-run --user --scope -p Delegate=yes \"$SHELL\"";
}

void doctor_cgroup(struct doctor *d)
{
	AUTO_FREE char *path = NULL;
	AUTO_CLOSE int fd = confine_open_parent(&path);
	AUTO_FREE char *limits = fd >= 0 ? confine_limits(fd) : NULL;
	if (fd >= 0 && !str_empty(limits))
		doctor_add(d, "cgroup", MVM_CHECK_OK, NULL,
			   "each VM gets a cgroup below %s, with limits of %s", path, limits);
	else if (fd >= 0)
		doctor_add(d, "cgroup", MVM_CHECK_WARN,
			   "enable the controllers memory, cpu and pids for this cgroup",
			   "each VM gets a cgroup below %s, which has no controllers: VMs have no "
			   "limits beyond their size",
			   path);
	else if (fd == -EBUSY)
		doctor_add(d, "cgroup", MVM_CHECK_OK, NULL,
			   "VMs stay in this process's cgroup, which has a limit");
	else if (!str_empty(getenv("MVM_CGROUP")))
		doctor_add(
			d, "cgroup", MVM_CHECK_WARN,
			"make the folder below /sys/fs/cgroup, or unset MVM_CGROUP",
			"MVM_CGROUP names '%s', which is no cgroup v2: VMs have no limits beyond "
			"their size",
			getenv("MVM_CGROUP"));
	else if (fd == -ENOENT)
		doctor_add(d, "cgroup", MVM_CHECK_WARN,
			   "boot with systemd.unified_cgroup_hierarchy=1, or name a cgroup v2 "
			   "folder with MVM_CGROUP",
			   "this process is in no cgroup v2: VMs have no limits beyond their size");
	else
		doctor_add(d, "cgroup", MVM_CHECK_WARN, mend_delegation(),
			   "no cgroup v2 is delegated to this process: VMs have no limits beyond "
			   "their size");
}

bool doctor_read_kib(const char *meminfo, const char *key, unsigned long long *ret)
{
	char *end = NULL;
	const char *line = meminfo ? strstr(meminfo, key) : NULL;
	if (!line)
		return false;
	*ret = strtoull(line + strlen(key), &end, 10);
	return end != line + strlen(key);
}

void doctor_memory(struct doctor *d, const char *meminfo, const char *overcommit, const char *swaps)
{
	const unsigned long long little_kib = 512u << 10;
	unsigned long long available = 0;
	const char *first_swap = swaps ? strchr(swaps, '\n') : NULL;
	char size[24];

	if (!doctor_read_kib(meminfo, "MemAvailable:", &available)) {
		doctor_add(d, "memory", MVM_CHECK_WARN,
			   mend_as_root("sudo mount -t proc proc /proc"),
			   "/proc/meminfo does not say how much memory is available");
		return;
	}
	str_bytes((uint64_t)available << 10, size, sizeof(size));
	if (overcommit && overcommit[0] == '2') {
		doctor_add(d, "memory", MVM_CHECK_WARN,
			   mend_as_root("sudo sysctl vm.overcommit_memory=0"),
			   "overcommitting memory is off: each clone is charged for all of its "
			   "memory, although it shares most; %s available",
			   size);
	} else if (available < little_kib) {
		doctor_add(d, "memory", MVM_CHECK_WARN, NULL, "only %s of memory available", size);
		doctor_reason(d, "host-memory-full", NULL);
	} else {
		doctor_add(d, "memory", MVM_CHECK_OK, NULL, "%s available%s", size,
			   first_swap && first_swap[1]
				   ? "; with swap, Firecracker's captures read all memory"
				   : "");
	}
}

void doctor_pressure(struct doctor *d, const struct hostload *host)
{
	char text[HOSTLOAD_TEXT_SIZE];
	hostload_describe(host, text);
	if (hostload_is_slow(host) || hostload_is_short_of_memory(host)) {
		doctor_add(d, "pressure", MVM_CHECK_WARN, NULL,
			   "the host is busy, so starts are slow and fewer at once: %s", text);
		doctor_reason(d, "host-busy", NULL);
	} else {
		doctor_add(d, "pressure", MVM_CHECK_OK, NULL, "%s%s", text,
			   host->has_pressure ? ""
					      : "; this kernel reports no pressure (psi=1 on its "
						"command line turns it on)");
	}
}

void mvm_host_pressure(struct mvm_host_pressure *ret)
{
	struct hostload host;
	hostload_read(&host);
	struct mvm_host_pressure p = {
		.known = host.has_pressure,
		.cpu = host.cpu,
		.memory = host.memory,
		.io = host.io,
		.load_per_cpu = host.load_per_cpu,
	};
	static_assert(sizeof(p.text) == HOSTLOAD_TEXT_SIZE, "one size");
	hostload_describe(&host, p.text);
	mvm_struct_give(ret, STRUCT_END(struct mvm_host_pressure, text), &p, sizeof(p));
}
