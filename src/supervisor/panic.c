/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/panic.h"

#include <string.h>

#define PANIC	    "Kernel panic - not syncing: "
#define ORDERLY_END "reboot: "

static void keep(struct panic_watch *w, const char *text, size_t len)
{
	size_t to = 0;
	for (size_t i = 0; i < len && to < sizeof(w->text) - 1; i++) {
		if (text[i] >= ' ' && text[i] < 0x7f)
			w->text[to++] = text[i];
	}
	w->text[to] = '\0';
}

/* Does the line announce an orderly end?  The text begins the line or follows the kernel's time. */
static bool says_orderly_end(const struct panic_watch *w)
{
	const char *said = memmem(w->line, w->len, ORDERLY_END, strlen(ORDERLY_END));
	return said && (said == w->line || (said >= w->line + 2 && memcmp(said - 2, "] ", 2) == 0));
}

static void take_line(struct panic_watch *w)
{
	const char *panic = memmem(w->line, w->len, PANIC, strlen(PANIC));
	if (panic && !w->text[0])
		keep(w, panic + strlen(PANIC), w->len - (size_t)(panic - w->line) - strlen(PANIC));
	if (says_orderly_end(w)) {
		w->text[0] = '\0'; /* the earlier panic line did not come from the kernel */
		w->orderly = true;
	}
	w->len = 0;
}

void panic_watch_add(struct panic_watch *w, const char *data, size_t len)
{
	while (len > 0) {
		const char *end = memchr(data, '\n', len);
		size_t part = end ? (size_t)(end - data) : len;
		size_t room = sizeof(w->line) - w->len;
		memcpy(w->line + w->len, data, part < room ? part : room);
		w->len += part < room ? part : room;
		if (end)
			take_line(w);
		data += part + (end != NULL);
		len -= part + (end != NULL);
	}
}

const char *panic_watch_text(const struct panic_watch *w)
{
	return w->text[0] ? w->text : NULL;
}
