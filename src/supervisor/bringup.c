/* SPDX-License-Identifier: Apache-2.0 */
/* How a supervisor brings its machine up: restore or boot, and proof of what was restored. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "codec/sha256.h"
#include "instance/data_disk.h"
#include "supervisor/supervise.h"

/* TCG on a busy host is slow; a restore that is given up becomes a boot, which is slower still. */
#define BOOT_DEADLINE_MS    INT64_C(120000) /* to the agent's greeting */
#define RESTORE_DEADLINE_MS INT64_C(120000) /* to the clone's identity */
#define BOOTS_MAX	    4		    /* of a kernel that finds no timer on a busy host */

#define MEMORY_NAME "mem.bin"

static void on_agent_broken(void *arg)
{
	clients_guest_gone(arg);
}

/* It was decided with the VMM that was here then; an upgrade may have come since, above all before
 * a start that is not the first. */
static int check_same_vmm(const struct mvm_snapshot_info *snapshot, const struct vmm_probe *probe,
			  struct mvm_error *err)
{
	const struct {
		const char *key, *here;
	} facts[] = {
		{ "version", probe->version },
		{ "binary_sha256", probe->binary_digest },
		{ "accelerator", vmm_accel_name(probe->accel) },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(facts); i++) {
		const char *theirs = mvm_snapshot_info_compat(snapshot, facts[i].key);
		if (!str_eq(theirs, facts[i].here))
			return mvm_error_set(err, -EOPNOTSUPP,
					     "the VMM is not the one that made the snapshot: its "
					     "%s is '%s', the snapshot's is '%s'",
					     facts[i].key,
					     facts[i].here ? facts[i].here : "unknown",
					     theirs ? theirs : "unknown");
	}
	return 0;
}

/* A clone's own memory file, in the instance's folder until the VMM has mapped it. */
static int copy_memory(struct supervisor *s, int snapshot_fd, struct mvm_error *err)
{
	struct stat st;
	int r;
	AUTO_CLOSE int from_fd = openat(snapshot_fd, MEMORY_NAME,
					O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO_CLOSE int to_fd = openat(s->given->fd[SUPERVISOR_FD_INSTANCE], MEMORY_NAME,
				      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	/* the mode as well: a Firecracker in a jail reads it as another user */
	if (from_fd >= 0 && to_fd >= 0 && fstat(from_fd, &st) == 0 &&
	    fchmod(to_fd, st.st_mode & 0777) == 0)
		r = file_copy_fd(from_fd, to_fd);
	else
		r = -errno;
	if (r < 0)
		return mvm_error_set(err, r, "cannot copy the snapshot's memory: %s", strerror(-r));
	s->record.memory = r ? RECORD_MEMORY_REFLINK : RECORD_MEMORY_SPARSE;
	machine_stage_over(&s->machine, "copy");
	return 0;
}

struct vmm_network network_rules(const struct supervisor *s, const struct record *rec)
{
	const struct mvm_strings *dns = &s->revision.run.dns;
	return (struct vmm_network){
		.allow = rec->network_allow.v,
		.n_allow = rec->network_allow.n,
		.deny = rec->network_deny.v,
		.n_deny = rec->network_deny.n,
		.dns = dns->v,
		.n_dns = dns->n,
	};
}

static int spawn_machine(struct supervisor *s, const struct vmm_ops *ops, int memory_fd,
			 int64_t deadline_ns, struct mvm_error *err)
{
	struct record *rec = &s->record;
	char isolation[VMM_ISOLATION_TEXT_SIZE];
	AUTO_DONE(vmm_probe) probe = { 0 };
	int r = vmm_backend_probe(ops, s->given->fd[SUPERVISOR_FD_CACHE], &probe, err);
	if (r < 0)
		return r;
	if (!probe.usable)
		return mvm_error_set(err, -EOPNOTSUPP, "backend %s: %s", ops->name,
				     probe.reason ? probe.reason : "not usable here");
	r = rec->restore ? check_same_vmm(&s->revision.snapshot, &probe, err) : 0;
	if (r < 0)
		return r;

	enum vmm_memory memory = VMM_MEMORY_PRIVATE;
	if (rec->restore)
		memory = VMM_MEMORY_CLONE;
	else if (rec->purpose == RECORD_FOR_CAPTURE)
		memory = VMM_MEMORY_CAPTURE;
	struct vmm_config config = {
		.name = rec->name,
		.vcpus = rec->vcpus,
		.mem_mib = rec->mem_mib,
		.dir_fd = s->given->fd[SUPERVISOR_FD_REVISION],
		.kernel = s->revision.artifact_paths.vmlinux,
		.initrd = s->revision.artifact_paths.initrd,
		.cmdline = rec->cmdline,
		.drives = { { .name = s->revision.artifact_paths.rootfs, .read_only = true },
			    { .name = DATA_DISK_NAME, .own = true } },
		.n_drives = s->revision.data_disk_mib ? 2 : 1,
		.own_dir_fd = s->given->fd[SUPERVISOR_FD_INSTANCE],
		.network = s->revision.run.network != MVM_NETWORK_NONE,
		.network_rules = network_rules(s, rec),
		.forwards = rec->forwards,
		.n_forwards = rec->n_forwards,
		.memory = memory,
		.memory_dir_fd = memory_fd,
		.memory_name = MEMORY_NAME,
		.log_fd = -1,
	};
	s->machine.on_logged = clients_logged;
	s->machine.logged_arg = &s->clients;
	r = machine_spawn(&s->machine, ops, &probe, &config, s->given->fd[SUPERVISOR_FD_INSTANCE],
			  rec->log_max_bytes, deadline_ns, err);
	if (r < 0)
		return r;
	if (s->end)
		return mvm_error_set(err, -ECANCELED, "the start was cancelled");
	s->machine.env = &rec->env;
	s->machine.follows = workload_is_followed(s, rec);
	s->machine.stop_at_boot = rec->purpose == RECORD_FOR_CAPTURE &&
				  s->revision.run.snapshot_point == MVM_POINT_BOOT;
	if (rec->hostname)
		snprintf(s->machine.hostname, sizeof(s->machine.hostname), "%s", rec->hostname);
	rec->vmm_pid = s->machine.vmm->process.pid;
	set_string(&rec->isolation, vmm_isolation_text(s->machine.vmm->isolation, isolation));
	s->machine.agent.on_frame = clients_on_guest_frame;
	s->machine.agent.on_broken = on_agent_broken;
	s->machine.agent.arg = &s->clients;
	return 0;
}

int check_nonce(const struct supervisor *s, const uint8_t nonce[NONCE_BYTES], struct mvm_error *err)
{
	const char *expected = mvm_snapshot_info_compat(&s->revision.snapshot, "nonce_sha256");
	struct mvm_digest digest;
	char hex[65];

	sha256_buf(nonce, NONCE_BYTES, &digest);
	digest_hex(&digest, hex);
	if (!str_eq(expected, hex))
		return mvm_error_set(err, -EBADMSG,
				     "the restored guest does not know the snapshot's nonce");
	return 0;
}

static int start_restore(struct supervisor *s, const struct vmm_ops *ops, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(RESTORE_DEADLINE_MS);
	uint8_t nonce[NONCE_BYTES];
	AUTO_CLOSE int snapshot_fd = dir_open_at(s->given->fd[SUPERVISOR_FD_REVISION], "snapshot");

	if (snapshot_fd < 0)
		return mvm_error_set(err, snapshot_fd, "cannot open the snapshot: %s",
				     strerror(-snapshot_fd));
	bool copies = s->record.memory >= RECORD_MEMORY_SPARSE;
	int r = copies ? copy_memory(s, snapshot_fd, err) : 0;
	if (r == 0)
		r = spawn_machine(s, ops,
				  copies ? s->given->fd[SUPERVISOR_FD_INSTANCE] : snapshot_fd,
				  deadline_ns, err);
	if (r == 0 && s->record.purpose == RECORD_FOR_POOL)
		r = machine_stand_by(&s->machine, &s->revision.run, snapshot_fd, deadline_ns, nonce,
				     err);
	else if (r == 0)
		r = machine_restore(&s->machine, &s->revision.run, snapshot_fd, deadline_ns, nonce,
				    err);
	if (copies) /* mapped by now; what cannot be removed goes with the instance */
		unlinkat(s->given->fd[SUPERVISOR_FD_INSTANCE], MEMORY_NAME, 0);
	return r < 0 ? r : check_nonce(s, nonce, err);
}

static int start_boot(struct supervisor *s, const struct vmm_ops *ops, struct mvm_error *err)
{
	int64_t deadline_ns = clock_deadline_ns(BOOT_DEADLINE_MS);
	int r = spawn_machine(s, ops, s->given->fd[SUPERVISOR_FD_CAPTURE], deadline_ns, err);
	return r < 0 ? r : machine_boot(&s->machine, &s->revision.run, deadline_ns, err);
}

int bring_up(struct supervisor *s, struct mvm_error *err)
{
	const struct vmm_ops *ops = s->given->backend;
	int r = ops ? 0 : vmm_backend_find(s->record.backend, &ops, err);
	if (r < 0)
		return r;
	machine_begin(&s->machine, s->loop);
	fill_volumes_first(s, &s->record);
	if (s->record.restore)
		return start_restore(s, ops, err);
	r = start_boot(s, ops, err);
	for (int i = 1; r < 0 && i < BOOTS_MAX && machine_lacked_timer(&s->machine); i++) {
		machine_free(&s->machine);
		machine_begin(&s->machine, s->loop);
		if (s->record.purpose == RECORD_FOR_CAPTURE) /* the next VMM makes its own */
			unlinkat(s->given->fd[SUPERVISOR_FD_CAPTURE], MEMORY_NAME, 0);
		fill_volumes_first(s, &s->record);
		clients_guest_back(&s->clients);
		r = start_boot(s, ops, err);
	}
	return r;
}
