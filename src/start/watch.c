/* SPDX-License-Identifier: Apache-2.0 */
/* Events, and instances whose supervisor has died. */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/extend.h"
#include "base/file.h"
#include "base/progress.h"
#include "instance/events.h"
#include "instance/instance.h"
#include "start/start.h"

#define STRAYS_NAME "strays" /* in cache/: foreign folders in instances/ that a note was about */
#define STRAYS_MAX  ((size_t)256 * 1024)

#define BOOT_ID_NAME "boot_id" /* in locks/: the boot in which instances were settled last */

int mvm_events(struct mvm *mvm, const struct mvm_events_options *options, mvm_event_fn fn,
	       void *arg, struct mvm_error *err)
{
	struct mvm_events_options o;
	int r = mvm_struct_take(&o, sizeof(o), STRUCT_END(struct mvm_events_options, cancel_fd),
				options, err);
	if (r < 0)
		return r;
	const struct mvm_event_stream_options stream = { .follow = o.follow, .since = o.since };
	int fd = store_dir(mvm->store, STORE_LOGS);
	if (fd == -ENOENT && !o.follow) /* a read-only data folder without events */
		return 0;
	if (fd < 0)
		return store_dir_failed(mvm->store, STORE_LOGS, fd, err);
	return events_read(fd, &stream, o.cancel_fd ? *o.cancel_fd : -1, fn, arg, err);
}

/* Add a note about each stray folder once, not with every `ps`.  A file lists the known ones. */
static void tell_strays(struct mvm *mvm, const struct strv *strays,
			const struct mvm_progress *progress)
{
	AUTO_DONE(strbuf) now = { 0 };
	AUTO_FREE char *before = NULL;
	int fd = store_dir(mvm->store, STORE_CACHE);
	int r = fd < 0 ? fd : file_read_at(fd, STRAYS_NAME, STRAYS_MAX, &before, NULL);

	strbuf_adds(&now, "\n");
	for (size_t i = 0; i < strays->n; i++) {
		AUTO_FREE char *line = str_printf("\n%s\n", strays->v[i]);
		strbuf_addf(&now, "%s\n", strays->v[i]);
		if (r < 0 || !line || !strstr(before, line))
			progress_note(progress,
				      "'instances/%s' in the data folder is left alone: it is not "
				      "an instance, or it is a copy of one",
				      strays->v[i]);
	}
	if (now.failed || fd < 0 || now.len > STRAYS_MAX ||
	    (r < 0 ? strays->n == 0 : str_eq(before, now.data)))
		return;
	/* if this fails, the next command repeats the notes */
	file_replace_unsynced_at(fd, STRAYS_NAME, now.data, now.len, 0600);
}

int mvm_instance_settle(struct mvm *mvm, const struct mvm_progress *progress, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 }, strays = { 0 };
	struct progress_watch watch;
	int r = progress_take(&watch, &progress, err);
	if (r == 0)
		r = store_dir_names(mvm->store, STORE_INSTANCES, &names, err);
	if (r < 0 || names.n == 0)
		return r;
	int fd = store_dir(mvm->store, STORE_INSTANCES);
	int logs_fd = store_dir_get(mvm->store, STORE_LOGS, err);
	if (logs_fd < 0)
		return logs_fd;
	int first = 0;
	for (size_t i = 0; i < names.n; i++) {
		struct mvm_error one;
		AUTO_FREE char *why = NULL;
		if (progress_check(progress, err) < 0)
			return -ECANCELED;
		r = instance_settle(fd, names.v[i], logs_fd, &why, &one);
		if (r == INSTANCE_LOST)
			progress_note(progress, "instance '%s' was lost: %s", names.v[i], why);
		else if (r == INSTANCE_STRAY)
			strv_add(&strays, names.v[i]);
		else if (r < 0 && first == 0)
			first = mvm_error_set(err, r, "instance '%s' was lost: %s", names.v[i],
					      one.text);
	}
	if (progress)
		tell_strays(mvm, &strays, progress);
	return first;
}

int settle_after_boot(struct mvm *mvm, const struct mvm_progress *progress)
{
	char now[HOST_BOOT_ID_SIZE];
	AUTO_FREE char *before = NULL;
	int fd = store_dir(mvm->store, STORE_LOCKS);
	if (fd < 0)
		return fd;
	host_boot_id(now);
	if (file_read_at(fd, BOOT_ID_NAME, 64, &before, NULL) >= 0 && str_eq(before, now))
		return 0;
	/* after a failure the next command tries again */
	int r = mvm_instance_settle(mvm, progress, NULL);
	return r < 0 ? r : file_replace_unsynced_at(fd, BOOT_ID_NAME, now, strlen(now), 0600);
}
