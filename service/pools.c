/* SPDX-License-Identifier: Apache-2.0 */
#include "pools.h"

#include <errno.h>
#include <mvm/pool.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "say.h"

#define AGAIN_MS 10000 /* after a failure, and while another process keeps them */

struct pools {
	const char *data_dir;
	uint64_t max_memory_bytes;
	int cancel_fd;
	pthread_t thread;
};

static int on_note(void *arg, const struct mvm_progress_event *event)
{
	(void)arg;
	if (event->kind == MVM_PROGRESS_NOTE)
		say(SAY_WARNING, "pools", "note", event->text, (char *)NULL);
	return 0;
}

static int serve(struct pools *p, struct mvm_error *err)
{
	struct mvm_pool_serve_options options = MVM_POOL_SERVE_OPTIONS_INIT;
	struct mvm_progress progress = MVM_PROGRESS_INIT;
	struct mvm *mvm = NULL;

	options.max_memory_bytes = p->max_memory_bytes;
	progress.cancel_fd = &p->cancel_fd;
	progress.fn = on_note;
	int r = mvm_open(p->data_dir, &mvm, err);
	if (r == 0)
		r = mvm_pool_serve(mvm, &options, &progress, err);
	mvm_close(mvm);
	return r;
}

static void *run(void *arg)
{
	struct pools *p = arg;
	struct pollfd cancel = { p->cancel_fd, POLLIN, 0 };
	int last = 0;

	for (;;) {
		struct mvm_error err = { 0 };
		int r = serve(p, &err);
		if (r < 0 && r != last)
			say(SAY_WARNING, "pools", "error", err.text, (char *)NULL);
		last = r;
		if (poll(&cancel, 1, r < 0 ? AGAIN_MS : 0) != 0)
			return NULL;
	}
}

int pools_begin(const char *data_dir, uint64_t max_memory_bytes, struct pools **ret,
		struct mvm_error *err)
{
	struct pools *p = calloc(1, sizeof(*p));
	if (!p)
		return mvm_error_oom(err);
	*p = (struct pools){ .data_dir = data_dir, .max_memory_bytes = max_memory_bytes };
	p->cancel_fd = eventfd(0, EFD_CLOEXEC);
	int r = p->cancel_fd < 0 ? -errno : -pthread_create(&p->thread, NULL, run, p);
	if (r < 0) {
		auto_close(&p->cancel_fd);
		free(p);
		return mvm_error_set(err, r, "cannot start a thread for the pools: %s",
				     strerror(-r));
	}
	*ret = p;
	return 0;
}

void pools_end(struct pools *p)
{
	if (!p)
		return;
	eventfd_write(p->cancel_fd, 1);
	pthread_join(p->thread, NULL);
	close(p->cancel_fd);
	free(p);
}
