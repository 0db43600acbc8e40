/* SPDX-License-Identifier: Apache-2.0 */
/* The warden's work on the VMM: choose it, give it its files, end it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/sock.h"
#include "instance/confine.h"
#include "net/wire.h"
#include "store/trust.h"
#include "supervisor/supervise.h"
#include "supervisor/warden_ask.h"
#include "supervisor/warden_parts.h"

#define MEMORY_NAME "mem.bin"

/* The start was decided with the VMM of that time.  It may have been upgraded since, above all
 * before a restart. */
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

/* Check the revision's files, which may have changed since the last start. */
static int check_files(const struct warden *w, struct mvm_error *err)
{
	int dir_fd = w->given->fd[SUPERVISOR_FD_REVISION];
	const struct trust how = { 0 };
	AUTO_DONE(checksums) sums = { 0 };

	int r = store_checksums_read(dir_fd, &sums, err);
	return r < 0 ? r : store_trust(dir_fd, &sums, &how, err);
}

/* A clone's own memory file, in the instance's folder until the VMM has mapped it. */
static int copy_memory(struct warden *w, int snapshot_fd, struct mvm_error *err)
{
	struct stat st;
	int r;
	/* a copy that was killed may have left its file, or a part of it */
	unlinkat(w->given->fd[SUPERVISOR_FD_INSTANCE], MEMORY_NAME, 0);
	AUTO_CLOSE int from_fd = openat(snapshot_fd, MEMORY_NAME,
					O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO_CLOSE int to_fd = openat(w->given->fd[SUPERVISOR_FD_INSTANCE], MEMORY_NAME,
				      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	/* set the mode as well: a Firecracker in a jail reads the file as another user */
	if (from_fd >= 0 && to_fd >= 0 && fstat(from_fd, &st) == 0 &&
	    fchmod(to_fd, st.st_mode & 0777) == 0)
		r = file_copy_fd(from_fd, to_fd);
	else
		r = -errno;
	if (r < 0)
		return mvm_error_set(err, r, "cannot copy the snapshot's memory: %s", strerror(-r));
	w->record.memory = r ? RECORD_MEMORY_REFLINK : RECORD_MEMORY_SPARSE;
	return 0;
}

/* Open the folder of the memory file and its device state. */
static int open_memory_dir(struct warden *w, struct line_message *ret, struct mvm_error *err)
{
	const struct record *rec = &w->record;
	if (!rec->restore) {
		/* the next VMM makes its own */
		if (rec->purpose == RECORD_FOR_CAPTURE && w->starts > 1)
			unlinkat(w->given->fd[SUPERVISOR_FD_CAPTURE], MEMORY_NAME, 0);
		return 0;
	}
	w->memory_dir_fd = dir_open_at(w->given->fd[SUPERVISOR_FD_REVISION], "snapshot");
	if (w->memory_dir_fd < 0)
		return mvm_error_set(err, w->memory_dir_fd, "cannot open the snapshot: %s",
				     strerror(-w->memory_dir_fd));
	if (rec->memory < RECORD_MEMORY_SPARSE)
		return 0;
	int r = copy_memory(w, w->memory_dir_fd, err);
	wire_put_u64(&ret->fields, TAG_COPIED_NS, (uint64_t)clock_now_ns());
	return r;
}

static void forget_memory_dir(struct warden *w)
{
	auto_close(&w->memory_dir_fd);
	w->memory_dir_fd = -1;
}

void vmm_forget_memory(struct warden *w)
{
	if (w->record.restore && w->record.memory >= RECORD_MEMORY_SPARSE)
		unlinkat(w->given->fd[SUPERVISOR_FD_INSTANCE], MEMORY_NAME, 0);
}

static int probe(struct warden *w, struct mvm_error *err)
{
	vmm_probe_done(&w->probe);
	int r = vmm_backend_probe(w->ops, w->given->fd[SUPERVISOR_FD_CACHE], NULL, &w->probe, err);
	if (r < 0)
		return r;
	if (!w->probe.usable)
		return mvm_error_set(err, -EOPNOTSUPP, "backend %s: %s", w->ops->name,
				     w->probe.reason ? w->probe.reason : "not usable here");
	return w->record.restore ? check_same_vmm(&w->revision.snapshot, &w->probe, err) : 0;
}

enum vmm_memory memory_of(const struct record *rec)
{
	if (rec->restore)
		return VMM_MEMORY_CLONE;
	return rec->purpose == RECORD_FOR_CAPTURE ? VMM_MEMORY_CAPTURE : VMM_MEMORY_PRIVATE;
}

struct vmm_config vmm_description(const struct record *rec,
				  const struct mvm_template_revision *revision)
{
	const char *rootfs = revision->artifact_paths.rootfs;
	struct vmm_config c = {
		.name = rec->name,
		.vcpus = rec->vcpus,
		.mem_mib = rec->mem_mib,
		.kernel = revision->artifact_paths.vmlinux,
		.initrd = revision->artifact_paths.initrd,
		.cmdline = rec->cmdline,
		.drives = { { .name = rec->own_image ? OWN_IMAGE_PATH : rootfs,
			      .read_only = true } },
		.n_drives = 1,
		.network = revision->run.network != MVM_NETWORK_NONE,
		.network_rules = network_rules(revision, rec),
		.memory = memory_of(rec),
		.memory_name = MEMORY_NAME,
		.restores = rec->restore,
		.log_fd = -1,
	};
	uint32_t mib[OWN_DISKS];
	for (size_t i = 0; i < OWN_DISKS; i++)
		mib[i] = rec->disks[i].size_mib;
	own_disks_attach(mib, &c);
	return c;
}

static void configure(struct warden *w)
{
	const struct record *rec = &w->record;
	const int *fds = w->given->fd;
	bool copied = rec->restore && rec->memory >= RECORD_MEMORY_SPARSE;
	int memory_fd = rec->restore ? w->memory_dir_fd : fds[SUPERVISOR_FD_CAPTURE];
	struct vmm_config *c = &w->config;
	*c = vmm_description(rec, &w->revision);
	c->dir_fd = fds[SUPERVISOR_FD_REVISION];
	c->own_dir_fd = c->work_fd = fds[SUPERVISOR_FD_INSTANCE];
	c->forwards = w->ports.inner;
	c->n_forwards = rec->n_forwards;
	c->memory_dir_fd = copied ? fds[SUPERVISOR_FD_INSTANCE] : memory_fd;
	c->state_dir_fd = w->saved_dir_fd >= 0 ? w->saved_dir_fd : w->memory_dir_fd;
	c->network_held = rec->continues == RECORD_CONTINUES_SUSPENDED;
	c->continues = rec->continues != RECORD_CONTINUES_NOTHING;
	c->agent_fd = w->theirs[0];
	c->console_fd = w->theirs[1];
}

static int make_channels(struct warden *w, struct line_message *ret, struct mvm_error *err)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(w->theirs); i++) {
		int pair[2];
		int r = sock_pair(pair);
		if (r < 0)
			return mvm_error_set(err, r, "cannot make a socket pair: %s", strerror(-r));
		line_add_fd(ret, pair[0]);
		w->theirs[i] = pair[1];
	}
	for (int log = 0; log < WARDEN_LOGS; log++) {
		int fd = log_open(w, (enum warden_log)log, false);
		if (fd < 0)
			return mvm_error_set(err, fd, "cannot write the guest's logs: %s",
					     strerror(-fd));
		line_add_fd(ret, fd);
	}
	return ports6_open(&w->ports, w->loop, w->record.forwards, w->record.n_forwards, err);
}

static void forget_channels(struct warden *w)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(w->theirs); i++) {
		auto_close(&w->theirs[i]);
		w->theirs[i] = -1;
	}
}

/* Start the VMM, if the backend can start it and talk to it from different processes. */
static int start_body(struct warden *w, struct line_message *ret, struct mvm_error *err)
{
	AUTO_DONE(vmm_ends) ends = VMM_ENDS_NONE;
	uint64_t mask = 0;
	if (!w->ops->start)
		return 0;
	int r = vmm_start(w->ops, &w->probe, &w->config, w->loop, &w->body, &ends, err);
	forget_channels(w);
	if (r < 0)
		return r;
	for (size_t i = 0; i < VMM_ENDS; i++) {
		if (ends.fd[i] < 0)
			continue;
		mask |= 1u << i;
		line_add_fd(ret, TAKE_FD(ends.fd[i]));
	}
	warden_note_vmm(w, ends.pid, ends.isolation);
	wire_put_u64(&ret->fields, TAG_ENDS, mask);
	wire_put_u64(&ret->fields, TAG_PID, (uint64_t)ends.pid);
	wire_put_u64(&ret->fields, TAG_ISOLATION, ends.isolation);
	return 0;
}

int vmm_answer_start(struct warden *w, struct line_message *ret, struct mvm_error *err)
{
	if (w->body || w->theirs[0] >= 0)
		return mvm_error_set(err, -EBUSY, "there is a VMM already");
	if (w->removed)
		return mvm_error_set(err, -EBUSY, "the instance has been removed");
	w->starts++;
	w->stored = w->laid = false;
	oom_begin(&w->oom);
	if (w->starts > 1)
		record_boot_next(&w->record);
	int r = w->starts > 1 ? check_files(w, err) : 0;
	if (r == 0)
		r = probe(w, err);
	if (r == 0)
		r = continue_open(w, err);
	if (r == 0)
		r = open_memory_dir(w, ret, err);
	if (r == 0)
		r = make_channels(w, ret, err);
	if (r == 0) {
		configure(w);
		r = start_body(w, ret, err);
	}
	if (r < 0) { /* the next start opens its own */
		forget_channels(w);
		ports6_done(&w->ports);
		forget_memory_dir(w);
		continue_close(w);
		return r;
	}
	wire_put_u64(&ret->fields, TAG_MEMORY, w->record.memory);
	return 0;
}

int vmm_answer_reap(struct warden *w, struct line_message *ret)
{
	int status;
	bool runs = w->body && w->body->process.pid > 0;
	int r = runs ? process_wait(&w->body->process, 0, &status) : -ESRCH;
	if (r < 0)
		return r;
	w->record.vmm_pid = 0; /* another process may get it */
	wire_put_u64(&ret->fields, TAG_NUMBER, (uint64_t)status);
	return 0;
}

int vmm_state_dir(const struct warden *w, bool create)
{
	if (create)
		return w->record.purpose == RECORD_FOR_CAPTURE ? w->given->fd[SUPERVISOR_FD_CAPTURE]
							       : -EPERM;
	if (!w->record.restore)
		return -EPERM;
	return w->saved_dir_fd >= 0 ? w->saved_dir_fd : w->memory_dir_fd;
}

int vmm_answer_open_state(struct warden *w, bool create, struct line_message *ret)
{
	int dir_fd = vmm_state_dir(w, create);
	int fd = dir_fd >= 0 && w->ops->open_state ? w->ops->open_state(dir_fd, create) : -EPERM;
	if (fd >= 0)
		line_add_fd(ret, fd);
	return fd < 0 ? fd : 0;
}

int vmm_answer_capture_disks(struct warden *w, struct mvm_error *err)
{
	if (w->record.purpose != RECORD_FOR_CAPTURE)
		return mvm_error_set(err, -EPERM, "this VM was not started to be captured");
	int r = 0;
	for (int i = 0; i < OWN_DISKS && r == 0; i++) {
		if (w->record.disks[i].present)
			r = own_disk_capture((enum own_disk)i, w->given->fd[SUPERVISOR_FD_INSTANCE],
					     w->given->fd[SUPERVISOR_FD_CAPTURE], err);
	}
	return r;
}

/* Bytes of memory that the guest has ever touched.  The memory file has holes for all other pages,
 * which are still zero.  0 when the memory is in no file. */
uint64_t vmm_touched_bytes(const struct warden *w)
{
	struct stat st;
	if (fstatat(w->given->fd[SUPERVISOR_FD_CAPTURE], MEMORY_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return (uint64_t)st.st_blocks * 512;
}

void vmm_put_away(struct warden *w)
{
	struct record *rec = &w->record;
	if (w->body)
		w->ops->end(TAKE_PTR(w->body));
	forget_channels(w);
	ports6_done(&w->ports);
	forget_memory_dir(w);
	continue_close(w);
	confine_end(rec->cgroup);
	rec->vmm_pid = 0;
	set_string(&rec->isolation, NULL);
	set_string(&rec->cgroup, NULL);
	set_string(&rec->cgroup_limits, NULL);
}
