/* SPDX-License-Identifier: Apache-2.0 */
#include "base/progress.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"

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
	s->to->fn(s->to->arg, &event);
}

void progress_begin(struct progress_step *s, const struct mvm_progress *to, const char *fmt, ...)
{
	*s = (struct progress_step){ 0 };
	if (!to || !to->fn)
		return;
	s->to = to;
	s->started_ns = s->updated_ns = clock_now_ns();

	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(s->text, sizeof(s->text), fmt, ap); /* a cut name is still one */
	va_end(ap);
	send(s, MVM_PROGRESS_BEGIN, NULL);
}

void progress_bytes(struct progress_step *s, uint64_t done, uint64_t total)
{
	if (!s->to)
		return;
	s->done_bytes = done;
	s->total_bytes = total;
	int64_t now = clock_now_ns();
	if (now - s->updated_ns < NS_PER_S / 10)
		return;
	s->updated_ns = now;
	send(s, MVM_PROGRESS_UPDATE, NULL);
}

void progress_end(struct progress_step *s, const char *fmt, ...)
{
	char detail[160] = "";

	if (!s->to)
		return;
	if (fmt) {
		va_list ap;
		va_start(ap, fmt);
		(void)vsnprintf(detail, sizeof(detail), fmt, ap);
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
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	to->fn(to->arg, &(struct mvm_progress_event){ .kind = MVM_PROGRESS_NOTE, .text = text });
}
