/* SPDX-License-Identifier: Apache-2.0 */
/* The pull that the files of the VM still come from. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/lazy_map.h"
#include "base/visible.h"
#include "instance/handover.h"
#include "supervisor/supervise.h"

int source_error(int source_fd, struct mvm_error *err)
{
	struct lazy_news news;
	AUTO_DONE(strbuf) seen = { 0 };
	const char *why = "mvm-lazy, which served it, has ended";

	if (source_fd < 0)
		return 0;
	/* it stays there for other VMs */
	ssize_t n = recv(source_fd, &news, sizeof(news), MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	bool told = n == (ssize_t)sizeof(news);
	if (told && news.what == LAZY_WHOLE)
		return 0;
	if (told) {
		news.text[sizeof(news.text) - 1] = '\0';
		visible_add(&seen, news.text, strlen(news.text), true);
	}
	return mvm_error_set(err, -EIO,
			     "its revision, which was still being pulled, stays incomplete: %s",
			     seen.data ? seen.data : why);
}

/* A guest could go on until it needs what is missing, and then only see errors of its disk. */
static void on_source(void *arg, uint32_t events)
{
	struct supervisor *s = arg;

	(void)events;
	if (source_error(s->source_fd, NULL) < 0)
		kill_vmm(s);
	loop_source_free(s->source_source);
	s->source_source = NULL;
}

int source_check(const struct supervisor *s, struct mvm_error *err)
{
	return source_error(s->source_fd, err);
}

void source_find(struct supervisor *s)
{
	const int fd = s->given->fd[SUPERVISOR_FD_SOURCE];
	struct stat st;

	s->source_fd = fd > 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? fd : -1;
}

int source_watch(struct supervisor *s)
{
	return s->source_fd < 0 ? 0
				: loop_add_fd(s->loop, s->source_fd, EPOLLIN, on_source, s,
					      &s->source_source);
}
