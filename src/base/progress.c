/* SPDX-License-Identifier: Apache-2.0 */
#include "base/progress.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"

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
	if (now - s->updated_ns < NS_PER_S / 10)
		return 0;
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

static int watch_event(void *arg, const struct mvm_progress_event *event)
{
	struct progress_watch *w = arg;
	if (w->caller->fn && w->caller->fn(w->caller->arg, event) != 0)
		w->stopped = true;
	return 0;
}

const struct mvm_progress *progress_watch(struct progress_watch *w,
					  const struct mvm_progress *caller)
{
	if (!caller)
		return NULL;
	*w = (struct progress_watch){
		.self = { .size = sizeof(w->self),
			  .fn = watch_event,
			  .arg = w,
			  .cancel_fd = caller->cancel_fd },
		.caller = caller,
	};
	return &w->self;
}

int progress_cancel_fd(const struct mvm_progress *to)
{
	return to && to->cancel_fd ? *to->cancel_fd : -1;
}

int progress_check(const struct mvm_progress *to, struct mvm_error *err)
{
	struct pollfd p = { .fd = progress_cancel_fd(to), .events = POLLIN };
	bool stopped = to && to->fn == watch_event && ((struct progress_watch *)to->arg)->stopped;

	if (!stopped && (p.fd < 0 || poll(&p, 1, 0) <= 0))
		return 0;
	return mvm_error_set(err, -ECANCELED, "it was cancelled");
}
