/* SPDX-License-Identifier: Apache-2.0 */
#include "base/progress.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/extend.h"

static void send(struct progress_step *s, enum mvm_progress_kind kind, const char *detail)
{
	struct mvm_progress_event event = {
		.kind = kind,
		.text = s->text,
		.detail = detail,
		.done_bytes = s->done_bytes,
		.total_bytes = s->total_bytes,
		.elapsed_ns = clock_now_ns() - s->started_ns,
	};
	if (s->to->fn)
		s->to->fn(s->to->arg, &event); /* progress_check() looks at its answer */
}

void progress_begin(struct progress_step *s, const struct mvm_progress *to, const char *fmt, ...)
{
	*s = (struct progress_step){ 0 };
	if (!to || (!to->fn && !to->cancel_fd))
		return;
	s->to = to;
	s->started_ns = s->updated_ns = clock_now_ns();

	va_list ap;
	va_start(ap, fmt);
	vsnprintf(s->text, sizeof(s->text), fmt, ap); /* a truncated text still helps */
	va_end(ap);
	send(s, MVM_PROGRESS_BEGIN, NULL);
}

int progress_bytes(struct progress_step *s, uint64_t done, uint64_t total, struct mvm_error *err)
{
	if (!s || !s->to)
		return 0;
	s->done_bytes = done;
	s->total_bytes = total;
	int64_t now = clock_now_ns();
	if (now - s->updated_ns < NS_PER_S / 10) {
		/* the receiver may have asked to stop when it heard of the step */
		bool first = !s->checked;
		s->checked = true;
		return first ? progress_check(s->to, err) : 0;
	}
	s->updated_ns = now;
	send(s, MVM_PROGRESS_UPDATE, NULL);
	return progress_check(s->to, err);
}

void progress_end(struct progress_step *s, const char *fmt, ...)
{
	char detail[160] = "";

	if (!s->to)
		return;
	if (fmt) {
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(detail, sizeof(detail), fmt, ap);
		va_end(ap);
	}
	send(s, MVM_PROGRESS_END, detail[0] ? detail : NULL);
	s->to = NULL;
}

void progress_failed(struct progress_step *s)
{
	if (s->to)
		send(s, MVM_PROGRESS_FAILED, NULL);
	s->to = NULL;
}

void progress_note(const struct mvm_progress *to, const char *fmt, ...)
{
	char text[1024];

	if (!to || !to->fn)
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	to->fn(to->arg, &(struct mvm_progress_event){ .kind = MVM_PROGRESS_NOTE, .text = text });
}

/* ---- stopping ---- */

#define WAIT_NS (NS_PER_S / 10)

static int watch_event(void *arg, const struct mvm_progress_event *event)
{
	struct progress_watch *w = arg;
	if (w->caller.fn && w->caller.fn(w->caller.arg, event) != 0)
		w->stopped = true;
	w->told_ns = clock_now_ns();
	return w->stopped;
}

int progress_take(struct progress_watch *w, const struct mvm_progress **progress,
		  struct mvm_error *err)
{
	*w = (struct progress_watch){ 0 };
	if (!*progress)
		return 0;
	int r = mvm_struct_take(&w->caller, sizeof(w->caller),
				STRUCT_END(struct mvm_progress, cancel_fd), *progress, err);
	if (r < 0)
		return r;
	w->self = (struct mvm_progress){
		.size = sizeof(w->self),
		.fn = watch_event,
		.arg = w,
		.cancel_fd = w->caller.cancel_fd,
	};
	*progress = &w->self;
	return 0;
}

int progress_cancel_fd(const struct mvm_progress *to)
{
	return to && to->cancel_fd ? *to->cancel_fd : -1;
}

static struct progress_watch *watch_of(const struct mvm_progress *to)
{
	return to && to->fn == watch_event ? to->arg : NULL;
}

int progress_check(const struct mvm_progress *to, struct mvm_error *err)
{
	struct pollfd p = { .fd = progress_cancel_fd(to), .events = POLLIN };

	const struct progress_watch *w = watch_of(to);

	if (!(w && w->stopped) && (p.fd < 0 || poll(&p, 1, 0) <= 0))
		return 0;
	return mvm_error_cancelled(err, "it");
}

int progress_ask(const struct mvm_progress *to, int64_t *ret_next_ns)
{
	static const struct mvm_progress_event wait = { .kind = MVM_PROGRESS_WAIT, .text = "" };
	struct progress_watch *w = watch_of(to);

	*ret_next_ns = DEADLINE_NONE;
	if (!w)
		return 0;
	bool hears = w->caller.fn;
	if (hears && clock_now_ns() - w->told_ns >= WAIT_NS)
		watch_event(w, &wait);
	if (hears)
		*ret_next_ns = w->told_ns + WAIT_NS;
	return w->stopped ? -ECANCELED : 0;
}

int progress_go_on(const struct mvm_progress *to, struct mvm_error *err)
{
	int64_t next_ns;
	progress_ask(to, &next_ns);
	return progress_check(to, err);
}

int progress_poll(const struct mvm_progress *to, struct pollfd *fds, size_t n, int64_t deadline_ns)
{
	int64_t next_ns;
	int r;

	fds[n - 1] = (struct pollfd){ .fd = progress_cancel_fd(to), .events = POLLIN };
	while ((r = progress_ask(to, &next_ns)) == 0) {
		bool last = deadline_ns <= next_ns;
		r = poll(fds, (nfds_t)n, clock_remaining_ms(last ? deadline_ns : next_ns));
		if (r < 0)
			return -errno;
		if (r > 0)
			return fds[n - 1].revents ? -ECANCELED : r;
		if (last)
			return 0;
	}
	return r;
}

int progress_wait(const struct mvm_progress *to, int fd, int64_t deadline_ns)
{
	return progress_wait_either(to, fd, -1, deadline_ns);
}

int progress_wait_either(const struct mvm_progress *to, int fd, int other_fd, int64_t deadline_ns)
{
	struct pollfd fds[3] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = other_fd, .events = POLLIN },
	};
	int r;

	do
		r = progress_poll(to, fds, MVM_ARRAY_SIZE(fds), deadline_ns);
	while (r == -EINTR);
	if (r < 0)
		return r;
	return r > 0 ? 0 : -ETIMEDOUT;
}
