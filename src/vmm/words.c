/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/words.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/file.h"

#define CHUNK_SIZE 2048u
#define CHUNKS_MAX 512u /* together they hold a full pipe, by the kernel's fs.pipe-max-size */

int words_take(struct words *w, int fd, int log_fd)
{
	oom_begin(&w->oom);
	if (log_fd >= 0 && (w->log_fd = fcntl(log_fd, F_DUPFD_CLOEXEC, 3)) < 0)
		return -errno;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	w->fd = fd;
	return 0;
}

void words_read(struct words *w)
{
	char chunk[CHUNK_SIZE];
	/* bounded: a VMM that talks without end must not make everything else wait */
	for (unsigned i = 0; w->fd >= 0 && i < CHUNKS_MAX; i++) {
		ssize_t n = read(w->fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			loop_source_free(TAKE_PTR(w->source));
			close(TAKE_FD(w->fd));
			return;
		}
		if (w->log_fd >= 0) /* a full disk must not stop the VM */
			file_write_all(w->log_fd, chunk, (size_t)n);
		strbuf_add(&w->tail, chunk, (size_t)n);
		if (w->tail.len > WORDS_MAX)
			strbuf_consume(&w->tail, w->tail.len - WORDS_MAX);
	}
}

static void on_words(void *arg, uint32_t events)
{
	(void)events;
	words_read(arg);
}

int words_watch(struct words *w, struct loop *loop)
{
	return loop_add_fd(loop, w->fd, EPOLLIN, on_words, w, &w->source);
}

void words_done(struct words *w)
{
	loop_source_free(w->source);
	strbuf_done(&w->tail);
	if (w->fd >= 0)
		close(w->fd);
	if (w->log_fd >= 0)
		close(w->log_fd);
	*w = (struct words)WORDS_NONE;
}

/* Join the lines of the words into one, without each line's prefix. */
static void tidy(const struct words *w, const char *prefix, struct strbuf *ret)
{
	const char *p = w->tail.data ? w->tail.data : "";
	while (*p) {
		size_t len = strcspn(p, "\r\n");
		if (str_starts(p, prefix)) {
			p += strlen(prefix);
			len -= strlen(prefix);
		}
		if (len)
			strbuf_addf(ret, "%s%.*s", ret->len ? "; " : "", (int)len, p);
		p += len;
		p += strspn(p, "\r\n");
	}
}

int words_explain(const struct words *w, const char *who, const char *prefix, int status,
		  struct mvm_error *err)
{
	AUTO_DONE(strbuf) text = { 0 };
	tidy(w, prefix, &text);
	char killer[OOM_TEXT_SIZE] = "";
	bool killed = WIFSIGNALED(status);
	if (killed && WTERMSIG(status) == SIGKILL)
		oom_describe(&w->oom, NULL, killer);
	return mvm_error_set(err, -EREMOTEIO, "%s %s %d%s%s%s", who,
			     killed ? "was killed by signal" : "ended with status",
			     killed ? WTERMSIG(status) : WEXITSTATUS(status), killer,
			     text.data ? ": " : "", text.data ? text.data : "");
}
