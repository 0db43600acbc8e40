/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/events.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/extend.h"
#include "base/file.h"
#include "base/wait.h"
#include "codec/json.h"
#include "instance/logcursor.h"
#include "instance/watch.h"

static int open_events(int logs_fd)
{
	return file_open_append(logs_fd, EVENTS_NAME, EVENTS_NAME LOGFILE_OLD_SUFFIX);
}

/* Move a full file away, unless another process has just done it. */
static void rotate(int logs_fd, const struct stat *full)
{
	struct stat st;
	AUTO_CLOSE int lock_fd = openat(logs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock_fd < 0 || flock(lock_fd, LOCK_EX) < 0)
		return;
	if (fstatat(logs_fd, EVENTS_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_ino == full->st_ino)
		renameat(logs_fd, EVENTS_NAME, logs_fd, EVENTS_NAME LOGFILE_OLD_SUFFIX);
}

/* A message's text may be a guest's, and each event must stay one line that readers take. */
static void bound(const char *message, char ret[EVENTS_TEXT_MAX + 1])
{
	snprintf(ret, EVENTS_TEXT_MAX + 1, "%s", message);
	for (char *at = ret; *at; at++) {
		if ((unsigned char)*at < ' ' && *at != '\n' && *at != '\t')
			*at = '?';
	}
}

void events_add(int logs_fd, const char *event, const struct record *r, const char *message)
{
	struct json_out out = { 0 };
	char time[LOGFILE_TIME_SIZE], shown[EVENTS_TEXT_MAX + 1];
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
	if (r->labels.n)
		json_put_pairs(&out, o, "labels", r->labels.v, r->labels.n);
	if (message) {
		bound(message, shown);
		json_put_text(&out, o, "message", shown);
	}
	if (json_out_text(&out, o, JSON_TEXT_SORTED, &text, NULL) < 0)
		return;
	AUTO_FREE char *line = str_printf("%s\n", text);
	AUTO_CLOSE int fd = open_events(logs_fd);
	if (!line || fd < 0)
		return;
	if (fstat(fd, &st) == 0 && st.st_size >= EVENTS_MAX_BYTES) {
		rotate(logs_fd, &st);
		close(fd);
		fd = open_events(logs_fd);
		if (fd < 0)
			return;
	}
	(void)!write(fd, line, strlen(line)); /* the event is lost, as the header says */
}

void events_renamed(int logs_fd, const struct record *r)
{
	AUTO_FREE char *text = str_printf("it was '%s'", r->former_name ? r->former_name : "");
	events_add(logs_fd, "renamed", r, text);
}

struct mvm_event_stream {
	int logs_fd; /* for the cursor */
	struct log_cursor cursor;
	char since[LOGFILE_TIME_SIZE]; /* "" for all */
	int watch_fd;		       /* -1: not following */
	bool have;		       /* the event was not handed out yet */
	json_t *doc;		       /* the last event that was handed out */
	char *line;
	struct mvm_event event;
};

static void forget(struct mvm_event_stream *s)
{
	json_decref(TAKE_PTR(s->doc));
	free(TAKE_PTR(s->line));
}

/* Is a line's event older than those that are wanted?  Read without parsing, since most may be. Its
 * time is the last member, and nothing else in it can look like that. */
static bool is_old(const struct mvm_event_stream *s, const struct log_entry *entry)
{
	static const char key[] = "\"time\":";
	const char *at = entry->text, *end = at + entry->len, *time = NULL;
	if (!s->since[0])
		return false;
	while ((at = memmem(at, (size_t)(end - at), key, strlen(key))))
		time = at += strlen(key);
	while (time && time < end && (*time == ' ' || *time == '"'))
		time++;
	return time && (size_t)(end - time) > strlen(s->since) &&
	       memcmp(time, s->since, strlen(s->since)) < 0;
}

/* Parse a line.  Returns 1 for a wanted event.  Skips a damaged line, which a full disk leaves. */
static int parse(struct mvm_event_stream *s, const struct log_entry *entry)
{
	if (is_old(s, entry))
		return 0;
	s->line = strndup(entry->text, entry->len);
	if (!s->line)
		return -ENOMEM;
	if (json_read(s->line, entry->len, EVENTS_NAME, &s->doc, NULL) < 0)
		return 0;
	s->event = (struct mvm_event){
		.time = json_string_value(json_object_get(s->doc, "time")),
		.event = json_string_value(json_object_get(s->doc, "event")),
		.instance = json_string_value(json_object_get(s->doc, "instance")),
		.template_id = json_string_value(json_object_get(s->doc, "template_id")),
		.message = json_string_value(json_object_get(s->doc, "message")),
		.json = s->line,
	};
	return s->event.time && s->event.event && s->event.instance && s->event.template_id &&
	       strcmp(s->event.time, s->since) >= 0;
}

/* Read the next event.  Returns 1, 0 when there is none yet, or -errno. */
static int advance(struct mvm_event_stream *s)
{
	int r;
	while ((r = log_cursor_peek(&s->cursor)) > 0) {
		forget(s);
		r = parse(s, &s->cursor.entry);
		log_cursor_pop(&s->cursor);
		if (r != 0)
			break;
	}
	return r;
}

int mvm_event_stream_read(struct mvm_event_stream *s, const struct mvm_event **ret,
			  struct mvm_error *err)
{
	int r = s->have;
	s->have = false;
	while (r == 0) {
		r = advance(s);
		if (r != 0 || s->watch_fd < 0 || !watch_drain(s->watch_fd))
			break;
	}
	if (r < 0)
		return mvm_error_set(err, r, "cannot read the events: %s", strerror(-r));
	if (r == 0)
		return s->watch_fd >= 0 ? MVM_STREAM_WAIT : MVM_STREAM_END;
	*ret = &s->event;
	return MVM_STREAM_ITEM;
}

int mvm_event_stream_fd(const struct mvm_event_stream *s)
{
	return s->watch_fd;
}

void mvm_event_stream_close(struct mvm_event_stream *s)
{
	if (!s)
		return;
	forget(s);
	log_cursor_done(&s->cursor);
	auto_close(&s->watch_fd);
	auto_close(&s->logs_fd);
	free(s);
}

int event_stream_open(int logs_fd, const struct mvm_event_stream_options *options,
		      struct mvm_event_stream **ret, struct mvm_error *err)
{
	struct mvm_event_stream_options o;
	AUTO(mvm_event_stream) s = calloc(1, sizeof(*s)); /* too large for the stack */

	if (!s)
		return mvm_error_oom(err);
	s->watch_fd = -1;
	s->logs_fd = fcntl(logs_fd, F_DUPFD_CLOEXEC, 0);
	if (s->logs_fd < 0)
		return mvm_error_set(err, -errno, "events: %s", strerror(errno));
	int r = mvm_struct_take(&o, sizeof(o), STRUCT_END(struct mvm_event_stream_options, since),
				options, err);
	if (r == 0)
		r = logfile_parse_since(o.since, s->since, err);
	if (r == 0 && o.follow) /* watch before the first read, so that no event is missed */
		r = s->watch_fd = watch_folder(s->logs_fd, err);
	if (r < 0)
		return r;
	r = log_cursor_open(&s->cursor, s->logs_fd, EVENTS_NAME);
	if (r < 0)
		return mvm_error_set(err, r, "events: %s", strerror(-r));
	r = advance(s); /* here, so that no read takes long */
	if (r < 0)
		return mvm_error_set(err, r, "cannot read the events: %s", strerror(-r));
	s->have = r > 0;
	*ret = TAKE_PTR(s);
	return 0;
}

int events_read(int logs_fd, const struct mvm_event_stream_options *options, int cancel_fd,
		mvm_event_fn fn, void *arg, struct mvm_error *err)
{
	AUTO(mvm_event_stream) s = NULL;
	const struct mvm_event *event;
	int r = event_stream_open(logs_fd, options, &s, err);
	if (r < 0)
		return r;
	for (;;) {
		r = mvm_event_stream_read(s, &event, err);
		if (r < 0 || r == MVM_STREAM_END)
			return r < 0 ? r : 0;
		bool item = r == MVM_STREAM_ITEM;
		r = item ? fn(arg, event)
			 : wait_readable(mvm_event_stream_fd(s), cancel_fd, DEADLINE_NONE);
		if (!item && r == -ECANCELED)
			return 0;
		if (r < 0)
			return mvm_error_set(err, r, "events: %s", strerror(-r));
		if (r > 0) /* the callback wants no more */
			return 0;
	}
}
