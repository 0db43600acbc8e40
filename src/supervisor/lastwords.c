/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/lastwords.h"

#include <stdio.h>
#include <string.h>

#define CONTEXT_ROOM 192u /* for where it happened */
#define WORKLOAD     "the workload's output ended with:\n"
#define CONSOLE	     "the guest's console ended with:\n"

/* The end of the text, at most len bytes; whole lines, unless it is one long line. */
static const char *end_of(const char *text, size_t len)
{
	size_t have = strlen(text);
	if (have <= len)
		return text;
	const char *from = text + have - len;
	const char *line = from[-1] == '\n' ? from : strchr(from, '\n');
	if (line && line != from)
		line++;
	return line && *line ? line : from;
}

static size_t at_most(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Headline and words, if there are any.  Returns how many bytes. */
static size_t put(char *at, size_t size, const char *headline, const char *words)
{
	int n = *words ? snprintf(at, size, "%s%s\n", headline, words) : 0;
	return n < 0 ? 0 : (size_t)n;
}

void last_words(struct mvm_error *err, const char *console, const char *workload)
{
	char reason[sizeof(err->text)];
	size_t reason_len = strlen(err->text), console_len = strlen(console);
	size_t taken = reason_len + sizeof(WORKLOAD) + sizeof(CONSOLE) + CONTEXT_ROOM;
	if (taken >= sizeof(err->text))
		return;

	size_t room = sizeof(err->text) - taken, half = room / 2;
	size_t others = at_most(console_len, half);
	workload = end_of(workload, room - others);
	console = end_of(console, room - strlen(workload));
	memcpy(reason, err->text, reason_len + 1);
	size_t at = put(err->text, sizeof(err->text), WORKLOAD, workload);
	at += put(err->text + at, sizeof(err->text) - at, CONSOLE, console);
	snprintf(err->text + at, sizeof(err->text) - at, "%s", reason);
}
