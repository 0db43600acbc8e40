/* SPDX-License-Identifier: Apache-2.0 */
#include "template/failed_snapshot.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/own.h"

#define PREFIX	   "no-snapshot."
#define REASON_MAX 1024u
#define FILE_MAX   4096u

bool failed_snapshot_is_lasting(int code)
{
	return code == -EREMOTEIO || code == -EPROTO || code == -EIO || code == -ETIMEDOUT;
}

void failed_snapshot_note(struct store *s, const char *id, const char *revision, const char *reason)
{
	AUTO_FREE char *name = str_printf(PREFIX "%s", id);
	AUTO_FREE char *text = str_printf("%s %.*s", revision, (int)REASON_MAX, reason);
	int dir = store_dir(s, STORE_CACHE);

	if (!name || !text || dir < 0)
		return;
	for (char *c = text; (c = strpbrk(c, "\r\n"));)
		*c = ' ';
	file_replace_unsynced_at(dir, name, text, strlen(text), 0600);
}

char *failed_snapshot_reason(struct store *s, const char *id, const char *revision)
{
	AUTO_FREE char *name = str_printf(PREFIX "%s", id), *text = NULL;
	int dir = store_dir(s, STORE_CACHE);
	const size_t len = strlen(revision);

	if (!name || dir < 0 || file_read_at(dir, name, FILE_MAX, &text, NULL) < 0)
		return NULL;
	return str_starts(text, revision) && text[len] == ' ' ? strdup(text + len + 1) : NULL;
}

void failed_snapshot_forget(struct store *s, const char *id)
{
	AUTO_FREE char *name = str_printf(PREFIX "%s", id);
	int dir = store_dir(s, STORE_CACHE);

	if (name && dir >= 0)
		unlinkat(dir, name, 0); /* it may be missing */
}
