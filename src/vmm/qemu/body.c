/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU's process: everything that takes rights to make, to keep and to end.  Nothing here reads a
 * byte that QEMU sends. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/seal.h"
#include "base/sock.h"
#include "vmm/memory.h"
#include "vmm/qemu/qemu.h"

static struct qemu_body *body_of(struct vmm_body *b)
{
	return (struct qemu_body *)b;
}

/* A clone needs no right to write the memory that it shares with others.  If mvm cannot lend the
 * file, QEMU opens it itself, and maps it just as privately. */
static int lend_memory(struct qemu_body *q, const struct vmm_config *c, struct mvm_error *err)
{
	char path[LEND_PATH_MAX];
	snprintf(path, sizeof(path), QEMU_FD_PATH, QEMU_FD_MEMORY);
	int r = lend_open(&q->memory, c->memory_dir_fd, c->memory_name, path);
	q->child.memory = &q->memory;
	return r < 0 ? mvm_error_set(err, r, "cannot open '%s': %s", c->memory_name, strerror(-r))
		     : 0;
}

/* QEMU without the filter opens the memory by itself, for writing, which a sealed file refuses. */
static int watch_memory(struct qemu_body *q, struct loop *loop, struct mvm_error *err)
{
	char seal[SEAL_SIZE];
	int r = lend_watch(&q->memory, loop);
	if (r < 0)
		return mvm_error_set(err, r, "cannot watch QEMU: %s", strerror(-r));
	if (r > 0 || !seal_read(q->memory.file_fd, seal))
		return 0;
	r = mvm_error_set(err, -EOPNOTSUPP,
			  "the snapshot's memory is sealed, and this host refuses the filter by "
			  "which QEMU could share it");
	return mvm_error_reason(err, r, "memory-sealed", NULL);
}

static int start_failed(const struct qemu_body *q, const char *binary, int r, struct mvm_error *err)
{
	bool alone = r == -EACCES && q->child.user.fd >= 0;
	return mvm_error_set(err, r, "cannot start '%s': %s%s", binary, strerror(-r),
			     alone ? "; root's mvm runs it as another user, so put it where "
				     "everybody may execute it"
				   : "");
}

static int spawn_process(struct qemu_body *q, const struct vmm_config *c, const struct strv *args,
			 int qmp_fd, int net_fd, struct vmm_ends *ends, struct mvm_error *err)
{
	int words[2];
	if (pipe2(words, O_CLOEXEC) < 0)
		return mvm_error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	ends->fd[VMM_END_WORDS] = words[0];
	AUTO_CLOSE int words_to = words[1];
	int fds[QEMU_FD_END - QEMU_FD_QMP] = { qmp_fd, c->agent_fd, c->console_fd, net_fd };
	for (int i = QEMU_FD_MEMORY; i < QEMU_FD_END; i++)
		fds[i - QEMU_FD_QMP] = q->files.fds[i];
	const struct process_spec spec = {
		.argv = args->v,
		.cwd_fd = AT_FDCWD,
		.stdin_fd = -1,
		.stdout_fd = words_to,
		.stderr_fd = words_to,
		.fds = fds,
		.n_fds = MVM_ARRAY_SIZE(fds),
		/* QEMU asks for huge pages for its code buffer.  Without them a clone's own memory
		 * is a fifth less */
		.flags = PROCESS_DIE_WITH_PARENT |
			 (c->memory == VMM_MEMORY_CLONE ? PROCESS_NO_HUGE_PAGES : 0),
	};
	int r = qemu_child_spawn(&q->child, &spec, &q->body.process);
	return r < 0 ? start_failed(q, args->v[0], r, err) : 0;
}

/* Start QEMU, and keep our ends of its channels. */
static int start_process(struct qemu_body *q, const struct vmm_config *c, const struct strv *args,
			 struct loop *loop, struct vmm_ends *ends, struct mvm_error *err)
{
	int pair[2];
	int r = sock_pair(pair);
	if (r < 0)
		return mvm_error_set(err, r, "cannot make a socket: %s", strerror(-r));
	ends->fd[VMM_END_CONTROL] = pair[0];
	AUTO_CLOSE int theirs = pair[1];
	int link[2] = { -1, -1 };
	if (c->network &&
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, link) < 0)
		return mvm_error_set(err, -errno, "cannot make a socket: %s", strerror(errno));
	AUTO_CLOSE int its_end = link[0];
	AUTO_CLOSE int network_end = link[1];
	r = spawn_process(q, c, args, theirs, its_end, ends, err);
	if (r == 0 && c->network)
		r = net_process_start(&q->net, c, q->child.user.fd >= 0, network_end,
				      &ends->fd[VMM_END_NETWORK], err);
	if (r < 0)
		return r;
	ends->fd[VMM_END_PROCESS] = fcntl(q->body.process.pidfd, F_DUPFD_CLOEXEC, 3);
	if (ends->fd[VMM_END_PROCESS] < 0)
		r = -errno;
	if (r < 0)
		return mvm_error_set(err, r, "cannot watch QEMU: %s", strerror(-r));
	return q->child.memory ? watch_memory(q, loop, err) : 0;
}

static int start(struct qemu_body *q, const struct vmm_probe *probe, const struct vmm_config *c,
		 struct loop *loop, struct vmm_ends *ends, struct mvm_error *err)
{
	AUTO_DONE(strv) args = { 0 };
	int r = qemu_args(probe, c, &args, err);
	if (r == 0)
		r = qemu_child_init(&q->child, probe, c, err);
	if (r == 0)
		r = qemu_files_open(&q->files, c, &q->child.user, err);
	if (r == 0 && c->memory == VMM_MEMORY_CLONE)
		r = lend_memory(q, c, err);
	return r < 0 ? r : start_process(q, c, &args, loop, ends, err);
}

int qemu_start(const struct vmm_probe *probe, const struct vmm_config *c, struct loop *loop,
	       struct vmm_body **ret, struct vmm_ends *ret_ends, struct mvm_error *err)
{
	AUTO_DONE(vmm_ends) ends = VMM_ENDS_NONE;
	struct qemu_body *q = calloc(1, sizeof(*q));
	if (!q)
		return mvm_error_oom(err);
	q->body.ops = &vmm_qemu;
	q->child.user = (struct own_uid)OWN_UID_NONE;
	q->child.box = (struct box)BOX_NONE;
	qemu_files_init(&q->files);
	q->memory = (struct lend)LEND_NONE;
	q->net = (struct net_process)NET_PROCESS_NONE;
	bool captures = c->memory == VMM_MEMORY_CAPTURE;
	int r = captures ? vmm_memory_make(&vmm_qemu, c, err) : 0;
	if (r == 0) {
		r = start(q, probe, c, loop, &ends, err);
		if (r < 0 && captures)
			unlinkat(c->memory_dir_fd, c->memory_name, 0); /* best effort */
	}
	if (r < 0) {
		qemu_end(&q->body);
		return r;
	}
	ends.pid = q->body.process.pid;
	ends.isolation = q->child.isolation;
	*ret_ends = ends;
	ends = (struct vmm_ends)VMM_ENDS_NONE;
	*ret = &q->body;
	return 0;
}

int qemu_seal(struct vmm_body *b, struct mvm_error *err)
{
	struct qemu_body *q = body_of(b);
	if (!(q->child.isolation & VMM_ISOLATION_NAMESPACES))
		return 0;
	int r = box_seal(&q->child.box);
	return r < 0 ? mvm_error_set(err, r, "cannot take the host's files from QEMU: %s",
				     strerror(-r))
		     : 0;
}

int qemu_start_network(struct vmm_body *b, const struct vmm_config *c, int *ret_control_fd,
		       struct mvm_error *err)
{
	return net_process_again(&body_of(b)->net, c, ret_control_fd, err);
}

int qemu_seal_network(struct vmm_body *b, struct mvm_error *err)
{
	return net_process_seal(&body_of(b)->net, err);
}

pid_t qemu_network_pid(const struct vmm_body *b)
{
	return ((const struct qemu_body *)b)->net.process.pid;
}

void qemu_take_back(struct vmm_body *b)
{
	qemu_files_take_back(&body_of(b)->files);
}

void qemu_end(struct vmm_body *b)
{
	struct qemu_body *q = body_of(b);
	if (!q)
		return;
	process_kill(&q->body.process);
	lend_done(&q->memory);
	net_process_done(&q->net);
	qemu_files_done(&q->files);
	qemu_child_done(&q->child);
	free(q);
}
