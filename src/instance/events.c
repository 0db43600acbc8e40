/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/events.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "codec/json.h"
#include "instance/logcursor.h"

static int open_events(int logs_fd)
{
	return file_open_append(logs_fd, EVENTS_NAME, EVENTS_NAME LOGFILE_OLD_SUFFIX);
}

/* Whoever finds it full moves it away, unless another one just did. */
static void rotate(int logs_fd, const struct stat *full)
{
	struct stat st;
	AUTO_CLOSE int lock_fd = openat(logs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock_fd < 0 || flock(lock_fd, LOCK_EX) < 0)
		return;
	if (fstatat(logs_fd, EVENTS_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_ino == full->st_ino)
		(void)renameat(logs_fd, EVENTS_NAME, logs_fd, EVENTS_NAME LOGFILE_OLD_SUFFIX);
}

void events_add(int logs_fd, const char *event, const struct record *r, const char *message)
{
	struct json_out out = { 0 };
	char time[LOGFILE_TIME_SIZE];
	AUTO_FREE char *text = NULL;
	struct stat st;

	if (logs_fd < 0 || r->purpose != RECORD_FOR_USER)
		return;
	logfile_time(clock_wall_ns(), time);
	json_t *o = json_new(&out);
	json_put_string(&out, o, "time", time);
	json_put_string(&out, o, "event", event);
	json_put_string(&out, o, "instance", r->name);
	json_put_string(&out, o, "template_id", r->template_id);
	json_put_string(&out, o, "revision_hash", r->revision);
	if (message)
		json_put_text(&out, o, "message", message);
	if (json_out_text(&out, o, JSON_TEXT_SORTED, &text, NULL) < 0)
		return;
	AUTO_FREE char *line = str_printf("%s\n", text);
	AUTO_CLOSE int fd = open_events(logs_fd);
	if (!line || fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_size >= EVENTS_MAX_BYTES) {
		rotate(logs_fd, &st);
		(void)close(fd);
		fd = open_events(logs_fd);
		if (fd < 0)
			return;
	}
	(void)!write(fd, line, strlen(line)); /* said in the header */
}

struct reader {
	struct log_cursor cursor;
	const struct mvm_events_options *options;
	char since[LOGFILE_TIME_SIZE]; /* "" for all */
	mvm_event_fn fn;
	void *arg;
};

static void reader_done(struct reader *r)
{
	if (r)
		log_cursor_done(&r->cursor);
	free(r);
}
DEFINE_AUTO(reader, reader_done)

/* A line that is damaged, by a disk that was full say, is passed over. */
static int deliver(struct reader *r, const char *text, size_t len)
{
	AUTO_JSON json_t *doc = NULL;
	AUTO_FREE char *line = strndup(text, len);
	struct mvm_error ignored;
	if (!line)
		return -ENOMEM;
	if (json_read(line, len, EVENTS_NAME, &doc, &ignored) < 0)
		return 0;
	const struct mvm_event event = {
		.time = json_string_value(json_object_get(doc, "time")),
		.event = json_string_value(json_object_get(doc, "event")),
		.instance = json_string_value(json_object_get(doc, "instance")),
		.template_id = json_string_value(json_object_get(doc, "template_id")),
		.message = json_string_value(json_object_get(doc, "message")),
		.json = line,
	};
	if (!event.time || !event.event || !event.instance || !event.template_id ||
	    strcmp(event.time, r->since) < 0)
		return 0;
	return r->fn(r->arg, &event);
}

static int deliver_all(struct reader *r)
{
	int result;
	while ((result = log_cursor_peek(&r->cursor)) > 0) {
		result = deliver(r, r->cursor.entry.text, r->cursor.entry.len);
		log_cursor_pop(&r->cursor);
		if (result != 0)
			return result;
	}
	return result;
}

static int follow(struct reader *r, int logs_fd)
{
	AUTO_CLOSE int watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char path[FD_PATH_SIZE], drained[4096];
	fd_path(logs_fd, path);
	if (watch_fd < 0 ||
	    inotify_add_watch(watch_fd, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0)
		return -errno;
	for (;;) {
		int result = deliver_all(r);
		if (result != 0)
			return result;
		struct pollfd fds[] = {
			{ .fd = watch_fd, .events = POLLIN },
			{ .fd = r->options->cancel_fd, .events = POLLIN },
		};
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			return 0;
		(void)!read(watch_fd, drained, sizeof(drained)); /* only that there was one */
	}
}

int events_read(int logs_fd, const struct mvm_events_options *options, mvm_event_fn fn, void *arg,
		struct mvm_error *err)
{
	AUTO(reader) r = calloc(1, sizeof(*r)); /* too large for the stack */
	if (!r)
		return mvm_error_oom(err);
	r->options = options;
	r->fn = fn;
	r->arg = arg;
	int result = logfile_parse_since(options->since, r->since, err);
	if (result < 0)
		return result;
	result = log_cursor_open(&r->cursor, logs_fd, EVENTS_NAME);
	if (result == 0)
		result = options->follow ? follow(r, logs_fd) : deliver_all(r);
	return result < 0 ? mvm_error_set(err, result, "events: %s", strerror(-result)) : 0;
}
