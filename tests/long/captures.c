/* SPDX-License-Identifier: Apache-2.0 */
/*
 * captures REVISION-FOLDER SCRATCH-FOLDER COUNT: boot a revision once, then capture that guest
 * COUNT times and restore a clone of each capture.  Prints the number of captures, and how many of
 * them did not load.
 *
 * The guest's workload must print to its console and to its standard output without end.  Between
 * two captures the guest runs until both have brought more output, for another while each time, so
 * that each capture finds console and channel in the midst of traffic and in another state.  A
 * build would need a boot for each capture.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "model/load.h"
#include "net/agent.h"
#include "supervisor/machine.h"
#include "supervisor/supervise.h"

#define BOOTS_MAX      5
#define STEP_MS	       300000
#define BUSY_MS	       60000 /* a guest that prints nothing for so long is not busy */
#define PERIOD_MS      97    /* the guest runs for less than this between two captures, at least */
#define PROGRESS_EVERY 20
#define LOG_BYTES      (1u << 30) /* no log is ever full */

struct loader {
	const struct vmm_ops *ops;
	struct vmm_probe probe;
	struct mvm_template_revision revision;
	struct loop *loop;
	char *cmdline;
	int revision_fd, scratch_fd;
};

static int64_t soon(void)
{
	return clock_deadline_ns(STEP_MS);
}

static struct vmm_config config_of(const struct loader *l, enum vmm_memory memory, int memory_fd)
{
	return (struct vmm_config){
		.name = "capture",
		.vcpus = 1,
		.mem_mib = 128,
		.dir_fd = l->revision_fd,
		.kernel = l->revision.artifact_paths.vmlinux,
		.initrd = l->revision.artifact_paths.initrd,
		.cmdline = l->cmdline,
		.drives = { { .name = l->revision.artifact_paths.rootfs, .read_only = true } },
		.n_drives = 1,
		.own_dir_fd = l->scratch_fd,
		.network = l->revision.run.network != MVM_NETWORK_NONE,
		.memory = memory,
		.memory_dir_fd = memory_fd,
		.memory_name = "mem.bin",
		.log_fd = -1,
	};
}

/* Bytes that the guest has printed since the last capture. */
struct traffic {
	uint64_t console, channel;
};

/* A machine whose warden has only what it needs here. */
struct side {
	struct supervisor_given given;
	struct warden warden;
	struct warden_link link;
	struct record record;
	struct machine machine;
};

static int channel(int *ret_ours, int *ret_theirs)
{
	int pair[2];
	int r = sock_pair(pair);
	if (r == 0) {
		*ret_ours = pair[0];
		*ret_theirs = pair[1];
	}
	return r;
}

static int spawn(struct loader *l, enum vmm_memory memory, int memory_fd, struct side *ret,
		 struct mvm_error *err)
{
	AUTO_DONE(warden_started) started = { .ends = VMM_ENDS_NONE };
	*ret = (struct side){ .given = { .fd = { [SUPERVISOR_FD_INSTANCE] = l->scratch_fd,
						 [SUPERVISOR_FD_CAPTURE] = memory_fd } },
			      .warden = { .given = &ret->given,
					  .ops = l->ops,
					  .loop = l->loop,
					  .probe = l->probe,
					  .config = config_of(l, memory, memory_fd),
					  .memory_dir_fd = memory_fd },
			      .link = { .fd = -1, .here = &ret->warden },
			      .record = { .name = (char *)"capture", .log_max_bytes = LOG_BYTES } };
	int r = channel(&started.agent_fd, &ret->warden.theirs[0]);
	if (r == 0)
		r = channel(&started.console_fd, &ret->warden.theirs[1]);
	started.log_fds[0] = file_open_append(l->scratch_fd, CONSOLE_LOG_NAME, "old");
	started.log_fds[1] = file_open_append(l->scratch_fd, WORKLOAD_LOG_NAME, "old");
	if (r < 0 || started.log_fds[0] < 0 || started.log_fds[1] < 0)
		return mvm_error_set(err, -EIO, "cannot make the machine's channels");
	ret->warden.config.work_fd = l->scratch_fd;
	ret->warden.config.agent_fd = ret->warden.theirs[0];
	ret->warden.config.console_fd = ret->warden.theirs[1];
	machine_begin(&ret->machine, l->loop, &ret->link);
	return machine_meet(&ret->machine, l->ops, &ret->record, NULL, &started, soon(), err);
}

static int prepare(struct loader *l, const char *revision, const char *scratch,
		   struct mvm_error *err)
{
	l->revision_fd = open(revision, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	l->scratch_fd = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->revision_fd < 0 || l->scratch_fd < 0)
		return mvm_error_set(err, -errno, "cannot open the folders: %s", strerror(errno));
	int r = loop_new(&l->loop);
	if (r == 0)
		r = vmm_backend_find("qemu", &l->ops, err);
	if (r == 0)
		r = vmm_backend_probe(l->ops, -1, NULL, &l->probe, err);
	if (r == 0)
		r = revision_load_at(l->revision_fd, &l->revision, err);
	if (r < 0)
		return r;
	struct vmm_config config = config_of(l, VMM_MEMORY_PRIVATE, -1);
	return l->ops->cmdline(&l->probe, &config, NULL, &l->cmdline, err);
}

/* The capture's memory is the file that the guest runs in: copy it before the guest continues. */
static int keep_memory(struct loader *l, int snapshot_fd)
{
	AUTO_CLOSE int from = openat(l->scratch_fd, "mem.bin", O_RDONLY | O_CLOEXEC);
	unlinkat(snapshot_fd, "mem.bin", 0);
	AUTO_CLOSE int to = openat(snapshot_fd, "mem.bin", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
				   0600);
	if (from < 0 || to < 0)
		return -errno;
	int r = file_copy_fd(from, to);
	return r < 0 ? r : 0;
}

static int let_go_on(struct loader *l, struct machine *m, struct mvm_error *err)
{
	int r = vmm_resume(m->vmm, soon(), err);
	return r < 0 ? r
		     : agent_client_call(&m->agent, l->loop, CALL_THAW, "thawing", NULL, &m->ended,
					 soon(), NULL, err);
}

static void count_bytes(void *arg, size_t len)
{
	*(uint64_t *)arg += len;
}

/* Let the guest run, until it has printed by both ways. */
static int stay_busy(struct loader *l, struct machine *m, struct traffic *t, unsigned ms,
		     struct mvm_error *err)
{
	int64_t at_least_ns = clock_deadline_ns(ms), patience_ns = clock_deadline_ns(BUSY_MS);
	*t = (struct traffic){ 0 };
	while (clock_now_ns() < at_least_ns || !t->console || !t->channel) {
		int64_t until_ns = t->console && t->channel ? at_least_ns : patience_ns;
		int r = loop_run_once(l->loop, until_ns);
		if (m->ended || (r < 0 && until_ns == patience_ns))
			return mvm_error_set(err, -EIO, "the guest is not busy: it %s",
					     m->ended ? "has ended" : "prints nothing");
	}
	return 0;
}

/* Capture once.  Returns 1 when a clone answered, 0 when the capture could not be loaded. */
static int capture_once(struct loader *l, struct side *side, struct mvm_error *err)
{
	uint8_t nonce[NONCE_BYTES], known[NONCE_BYTES];
	int64_t prepare_ns;
	struct machine *m = &side->machine;
	struct side clone = { 0 };
	AUTO_CLOSE int fd = dir_make_at(l->scratch_fd, "snapshot");
	if (fd < 0 || linkat(l->scratch_fd, "mem.bin", fd, "mem.bin", 0) < 0)
		return mvm_error_set(err, -EIO, "cannot make the snapshot's folder");
	side->given.fd[SUPERVISOR_FD_CAPTURE] = fd;
	int r = machine_capture(m, soon(), nonce, &prepare_ns, err);
	if (r == 0)
		r = keep_memory(l, fd);
	if (r < 0)
		return r;
	struct mvm_error why = { 0 };
	r = spawn(l, VMM_MEMORY_CLONE, fd, &clone, &why);
	if (r == 0)
		r = machine_restore(&clone.machine, &l->revision.run, soon(), known, &why);
	if (r == 0 && memcmp(nonce, known, sizeof(nonce)) != 0)
		r = mvm_error_set(&why, -EBADMSG, "another guest's nonce");
	if (clone.machine.vmm)
		machine_free(&clone.machine);
	if (r < 0)
		printf("# lost: %s\n", why.text);
	int lost = r < 0;
	r = tree_remove_at(l->scratch_fd, "snapshot");
	if (r == 0)
		r = let_go_on(l, m, err);
	return r < 0 ? r : !lost;
}

/* A busy host can keep a guest's kernel from finding a timer (machine_lacked_timer()): as a build
 * does, boot again then. */
static int boot(struct loader *l, struct side *side, struct mvm_error *err)
{
	for (unsigned i = 1;; i++) {
		int r = spawn(l, VMM_MEMORY_CAPTURE, l->scratch_fd, side, err);
		if (r == 0)
			r = machine_boot(&side->machine, &l->revision.run, STEP_MS, STEP_MS, err);
		if (r >= 0 || i == BOOTS_MAX || !machine_lacked_timer(&side->machine))
			return r;
		machine_free(&side->machine);
		unlinkat(l->scratch_fd, "mem.bin", 0);
	}
}

static int capture_many(struct loader *l, unsigned count, struct mvm_error *err)
{
	struct side side;
	struct traffic traffic;
	unsigned lost = 0;
	int r = boot(l, &side, err);
	side.machine.console.log.on_add = side.machine.workload_log.on_add = count_bytes;
	side.machine.console.log.arg = &traffic.console;
	side.machine.workload_log.arg = &traffic.channel;
	for (unsigned i = 0; i < count && r >= 0; i++) {
		r = stay_busy(l, &side.machine, &traffic, i * 31 % PERIOD_MS, err);
		if (r == 0) {
			r = capture_once(l, &side, err);
			lost += r == 0;
		}
		if (i % PROGRESS_EVERY == PROGRESS_EVERY - 1) /* for whoever ends a slow run */
			fprintf(stderr, "%u captures, %u lost so far\n", i + 1, lost);
	}
	machine_free(&side.machine);
	if (r >= 0)
		printf("%u captures, %u lost\n", count, lost);
	return r < 0 ? r : 0;
}

int main(int argc, char **argv)
{
	struct loader l = { 0 };
	struct mvm_error err = { 0 };
	if (argc != 4)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	int r = prepare(&l, argv[1], argv[2], &err);
	if (r == 0)
		r = capture_many(&l, (unsigned)strtoul(argv[3], NULL, 10), &err);
	if (r < 0)
		fprintf(stderr, "captures: %s\n", err.text);
	mvm_template_revision_done(&l.revision);
	vmm_probe_done(&l.probe);
	loop_free(l.loop);
	free(l.cmdline);
	return r < 0;
}
