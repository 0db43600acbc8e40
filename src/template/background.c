/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mvm-pull: pulls an artifact for a process of mvm that starts VMs from it before it is whole, and
 * goes on when that process has ended.
 *
 * Both are of one version, so messages are plain structs: one from mvm, then those of struct news,
 * over a SOCK_SEQPACKET socket.  Until VMs can start, the pull ends when mvm hangs up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/extend.h"
#include "base/process.h"
#include "base/program.h"
#include "base/progress.h"
#include "base/sock.h"
#include "template/lazy.h"

#define PROGRAM	  "mvm-pull"
#define PATH_SIZE 4096u
#define REF_SIZE  1024u

struct call {
	char data_dir[PATH_SIZE], from[REF_SIZE], id[MVM_TEMPLATE_ID_SIZE];
	bool image_only, no_wait, whole;
};

enum news_what {
	NEWS_PROGRESS, /* event; text is its text, error.text its detail */
	NEWS_READY,    /* VMs can start: result.revision, and the descriptors of struct lazy */
	NEWS_DONE,     /* published: result */
	NEWS_FAILED,   /* error */
};
struct news {
	uint32_t what;
	enum mvm_progress_kind kind;
	uint64_t done_bytes, total_bytes;
	char text[256];
	struct mvm_error error;
	struct mvm_artifact_result result;
};

/* ---- mvm-pull ---- */

DEFINE_AUTO(mvm, mvm_close)

struct background {
	int sock, cancel_fd; /* -1: it goes on, whoever listens */
	bool ready;
};

static int send_news(struct background *b, const struct news *news, const int *fds, size_t n)
{
	return sock_send_fds(b->sock, news, sizeof(*news), fds, n);
}

static int on_progress(void *arg, const struct mvm_progress_event *event)
{
	struct background *b = arg;
	struct news news = { .what = NEWS_PROGRESS,
			     .kind = event->kind,
			     .done_bytes = event->done_bytes,
			     .total_bytes = event->total_bytes };

	if (b->ready || event->kind == MVM_PROGRESS_WAIT)
		return 0;
	snprintf(news.text, sizeof(news.text), "%s", event->text);
	snprintf(news.error.text, sizeof(news.error.text), "%s",
		 event->detail ? event->detail : "");
	return send_news(b, &news, NULL, 0) < 0;
}

static int on_ready(void *arg, const char *hash, int dir_fd, int source_fd, struct mvm_error *err)
{
	struct background *b = arg;
	const int fds[] = { dir_fd, source_fd };
	struct news news = { .what = NEWS_READY };

	snprintf(news.result.revision, sizeof(news.result.revision), "%s", hash);
	int r = send_news(b, &news, fds, MVM_ARRAY_SIZE(fds));
	if (r < 0)
		return mvm_error_set(err, -ECANCELED, "nobody waits for it any more");
	b->ready = true;
	b->cancel_fd = -1;
	return 0;
}

static int pull(struct background *b, const struct call *call, struct mvm_artifact_result *result,
		struct mvm_error *err)
{
	AUTO(mvm) mvm = NULL;
	struct progress_watch watch;
	AUTO_DONE(lazy) lazy = { .on_ready = on_ready, .arg = b, .listen_fd = -1 };
	const struct mvm_progress listener = {
		.size = sizeof(listener), .fn = on_progress, .arg = b, .cancel_fd = &b->cancel_fd
	};
	const struct mvm_progress *progress = &listener;
	const struct mvm_pull_options options = { .size = sizeof(options),
						  .image_only = call->image_only,
						  .no_wait = call->no_wait,
						  .id = call->id[0] ? call->id : NULL };

	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = mvm_open(call->data_dir, &mvm, err);
	return r < 0 ? r
		     : template_pull(mvm, call->from, &options, call->whole ? NULL : &lazy,
				     progress, result, err);
}

int background_pull(int sock)
{
	struct background b = { .sock = sock, .cancel_fd = sock };
	struct news news = { .what = NEWS_DONE };
	struct mvm_artifact_result result = MVM_ARTIFACT_RESULT_INIT;
	AUTO_FREE struct call *call = calloc(1, sizeof(*call));

	if (!call || recv(sock, call, sizeof(*call), 0) != (ssize_t)sizeof(*call))
		return 1;
	int r = pull(&b, call, &result, &news.error);
	if (r < 0)
		news.what = NEWS_FAILED;
	news.result = result;
	send_news(&b, &news, NULL, 0); /* mvm may have ended */
	return r < 0 ? 1 : 0;
}

/* ---- mvm ---- */

static int spawn(struct mvm_error *err)
{
	AUTO_FREE char *path = NULL;
	struct process detached;
	int pair[2];

	int r = program_helper_path(PROGRAM, &path);
	if (r < 0) {
		r = mvm_error_set(err, r, "cannot find " PROGRAM);
		return mvm_error_hint(err, r,
				      "reinstall mvm, or set MVM_LIBEXEC_DIR to its folder");
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return mvm_error_set(err, -errno, "cannot start " PROGRAM ": %s", strerror(errno));
	AUTO_CLOSE int ours = pair[0];
	AUTO_CLOSE int theirs = pair[1];
	char *const argv[] = { path, NULL };
	const struct process_spec spec = { .argv = argv,
					   .cwd_fd = AT_FDCWD,
					   .stdin_fd = theirs,
					   .stdout_fd = -1,
					   .stderr_fd = -1,
					   .flags = PROCESS_DETACH };
	r = process_spawn(&spec, &detached);
	return r < 0 ? mvm_error_set(err, r, "cannot start '%s': %s", path, strerror(-r))
		     : TAKE_FD(ours);
}

static int send_call(struct mvm *mvm, int sock, const char *from,
		     const struct mvm_pull_options *options, struct mvm_error *err)
{
	const char *data_dir = store_path(mvm->store), *id = options->id ? options->id : "";
	size_t data_dir_len = strlen(data_dir), from_len = strlen(from), id_len = strlen(id);
	AUTO_FREE struct call *call = calloc(1, sizeof(*call));

	if (!call)
		return mvm_error_oom(err);
	if (data_dir_len >= sizeof(call->data_dir) || from_len >= sizeof(call->from) ||
	    id_len >= sizeof(call->id))
		return mvm_error_set(err, -EINVAL, "'%.80s' is too long", from);
	*call = (struct call){ .image_only = options->image_only,
			       .no_wait = options->no_wait,
			       .whole = options->whole };
	memcpy(call->data_dir, data_dir, data_dir_len + 1);
	memcpy(call->from, from, from_len + 1);
	memcpy(call->id, id, id_len + 1);
	int r = sock_send_fds(sock, call, sizeof(*call), NULL, 0);
	return r < 0 ? mvm_error_set(err, -EPROTO, PROGRAM " has ended: %s", strerror(-r)) : 0;
}

/* Hand an event on to the caller's receiver. */
static int tell(const struct news *news, struct progress_step *step,
		const struct mvm_progress *progress, struct mvm_error *err)
{
	switch (news->kind) {
	case MVM_PROGRESS_BEGIN:
		progress_begin(step, progress, "%s", news->text);
		return 0;
	case MVM_PROGRESS_UPDATE:
		return progress_bytes(step, news->done_bytes, news->total_bytes, err);
	case MVM_PROGRESS_END:
		if (news->error.text[0])
			progress_end(step, "%s", news->error.text);
		else
			progress_end(step, NULL);
		return 0;
	case MVM_PROGRESS_FAILED:
		progress_failed(step);
		return 0;
	case MVM_PROGRESS_NOTE:
	case MVM_PROGRESS_WAIT:
		break;
	}
	progress_note(progress, "%s", news->text);
	return 0;
}

/* Wait for the first news that ends the wait. */
static int await(int sock, const struct mvm_progress *progress, struct news *ret, int fds[2],
		 size_t *ret_n, struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };

	for (;;) {
		int r = progress_wait(progress, sock, DEADLINE_NONE);
		if (r == -ECANCELED)
			return mvm_error_cancelled(err, "the pull");
		ssize_t n = r < 0 ? r : sock_receive_fds(sock, ret, sizeof(*ret), 0, fds, 2, ret_n);
		if (n != (ssize_t)sizeof(*ret))
			return mvm_error_set(err, -EPROTO, PROGRAM " has ended unexpectedly");
		if (ret->what == NEWS_FAILED)
			return mvm_error_hand_on(err, &ret->error);
		if (ret->what != NEWS_PROGRESS)
			return 0;
		r = tell(ret, &step, progress, err);
		if (r < 0)
			return r;
	}
}

int background_begin(struct mvm *mvm, const char *from, const struct mvm_pull_options *options,
		     const struct mvm_progress *progress, struct mvm_artifact_result *result,
		     int *ret_dir_fd, int *ret_source_fd, struct mvm_error *err)
{
	int fds[2] = { -1, -1 };
	struct news news;
	size_t n = 0;

	AUTO_CLOSE int sock = spawn(err);
	int r = sock < 0 ? sock : send_call(mvm, sock, from, options, err);
	if (r == 0)
		r = await(sock, progress, &news, fds, &n, err);
	if (r < 0)
		return r;
	*result = news.result;
	*ret_dir_fd = fds[0];
	*ret_source_fd = fds[1];
	return 0;
}
