/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandboxes, their documents and their leases.
 *
 * A document is a JSON object: id, template, accessToken, trafficToken, metadata, envs, autoPause,
 * autoPauseMemory, autoResume, autoResumeSeconds, startedAt and endAt (seconds since 1970; 0 while
 * it is paused), onDisk, internet, network, publicTraffic.
 */
#include <errno.h>
#include <fcntl.h>
#include <mvm/instance.h>
#include <mvm/paths.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "codec/json.h"
#include "e2b/e2b.h"
#include "e2b/watch.h"
#include "server.h"
#include "worker.h"

#define DOCUMENT_MAX	((size_t)1024 * 1024)
#define SANDBOX_LETTERS "abcdefghijklmnopqrstuvwxyz012345"

static void on_lease(void *arg);

/* ---- the table ---- */

struct sandbox *sandbox_find(const struct e2b *e, const char *id)
{
	struct sandbox *s = e->sandboxes;
	while (s && strcmp(s->id, id) != 0)
		s = s->next;
	return s;
}

bool sandbox_runs(const struct sandbox *s)
{
	return s->end_ms && !s->ending;
}

bool sandbox_wakes(const struct sandbox *s)
{
	return json_is_true(json_object_get(s->doc, SANDBOX_AUTO_RESUME)) &&
	       !json_object_get(s->doc, SANDBOX_ON_DISK);
}

bool sandbox_is_id(const char *name)
{
	return name[0] == 'i' && strlen(name) == 1 + SANDBOX_RANDOM &&
	       strspn(name + 1, SANDBOX_LETTERS) == SANDBOX_RANDOM;
}

int sandbox_get(const struct e2b *e, const char *id, struct sandbox **ret, struct mvm_error *err)
{
	*ret = sandbox_find(e, id);
	return *ret ? 0 : mvm_error_set(err, -ENOENT, "sandbox '%s' does not exist", id);
}

void sandbox_use(struct sandbox *s, struct sandbox_use *use, void (*drop)(struct sandbox_use *use))
{
	use->drop = drop;
	use->next = s->uses;
	if (use->next)
		use->next->link = &use->next;
	use->link = &s->uses;
	s->uses = use;
}

void sandbox_unuse(struct sandbox_use *use)
{
	if (!use->link)
		return;
	*use->link = use->next;
	if (use->next)
		use->next->link = use->link;
	use->link = NULL;
}

void sandbox_drop_uses(struct sandbox *s)
{
	for (struct sandbox_use *use; (use = s->uses);) {
		sandbox_unuse(use);
		use->drop(use);
	}
}

json_t *sandbox_copy(const struct sandbox *s)
{
	return json_deep_copy(s->doc);
}

const char *sandbox_text(const json_t *doc, const char *key)
{
	return json_string_value(json_object_get(doc, key));
}

void sandbox_random(char *ret, size_t n)
{
	static const char letters[] = SANDBOX_LETTERS;
	uint8_t bytes[128];
	random_bytes(bytes, n < sizeof(bytes) ? n : sizeof(bytes));
	for (size_t i = 0; i < n; i++)
		ret[i] = letters[bytes[i % sizeof(bytes)] % 32];
	ret[n] = '\0';
}

static void remove_sandbox(struct e2b *e, struct sandbox *s)
{
	struct sandbox **at = &e->sandboxes;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	sandbox_drop_uses(s);
	json_decref(s->doc);
	free(s);
}

static void arm(struct e2b *e)
{
	int64_t soonest = 0, now_ms = clock_wall_ns() / 1000000;
	for (const struct sandbox *s = e->sandboxes; s; s = s->next) {
		if (s->end_ms && !s->due && (!soonest || s->end_ms < soonest))
			soonest = s->end_ms;
	}
	int64_t wait_ms = soonest > now_ms ? soonest - now_ms : 0;
	loop_source_arm(e->lease_timer, soonest ? clock_deadline_ns(wait_ms) : DEADLINE_NONE);
}

/* Take a document in place of the sandbox's; doc is taken over.  NULL: it is gone. */
static void put(struct e2b *e, const char *id, json_t *doc)
{
	struct sandbox *s = sandbox_find(e, id);
	if (!doc && s)
		remove_sandbox(e, s);
	if (doc && !s) {
		s = calloc(1, sizeof(*s));
		if (s) {
			snprintf(s->id, sizeof(s->id), "%s", id);
			s->next = e->sandboxes;
			e->sandboxes = s;
		}
	}
	if (doc && s) {
		json_decref(s->doc);
		s->doc = doc;
		s->end_ms = (int64_t)(json_number_value(json_object_get(doc, SANDBOX_END)) * 1000);
		if (!s->end_ms)
			sandbox_drop_uses(s);
	} else {
		json_decref(doc);
	}
	arm(e);
}

/* ---- news of workers ---- */

struct news {
	struct work work;
	struct e2b *e2b;
	char id[SANDBOX_ID_SIZE];
	json_t *doc;
};

static void on_news(struct work *work)
{
	struct news *n = (struct news *)work;
	put(n->e2b, n->id, n->doc);
	free(n);
}

void sandbox_post(struct e2b *e, const char *id, json_t *doc)
{
	struct news *n = calloc(1, sizeof(*n));
	if (!n) {
		json_decref(doc);
		return; /* the file has it, so that the next mvmd knows */
	}
	n->work.done = on_news;
	n->e2b = e;
	n->doc = doc;
	snprintf(n->id, sizeof(n->id), "%s", id);
	workers_post(e->server->workers[WORK_START], &n->work);
}

/* ---- files ---- */

static void file_name(const char *id, char ret[SANDBOX_ID_SIZE + 8])
{
	snprintf(ret, SANDBOX_ID_SIZE + 8, "%s.json", id);
}

int sandbox_save(struct e2b *e, const json_t *doc, struct mvm_error *err)
{
	char name[SANDBOX_ID_SIZE + 8];
	char *text = json_dumps(doc, JSON_COMPACT);
	AUTO_CLOSE int dir = dir_open_at(AT_FDCWD, e->folder);
	file_name(sandbox_text(doc, "id"), name);
	int r = text ? dir : -ENOMEM;
	if (r >= 0)
		r = file_replace_at(dir, dir, name, text, strlen(text), 0600);
	free(text);
	if (r >= 0)
		return 0;
	/* its folder is missing, not what the client asks for */
	return mvm_error_set(err, r == -ENOENT ? -EIO : r, "cannot write the sandbox's record: %s",
			     strerror(-r));
}

void sandbox_forget(struct e2b *e, const char *id)
{
	char name[SANDBOX_ID_SIZE + 8];
	AUTO_CLOSE int dir = dir_open_at(AT_FDCWD, e->folder);
	file_name(id, name);
	if (dir >= 0)
		unlinkat(dir, name, 0); /* gone already is fine; else the next start removes it */
}

/* Read a sandbox's file; NULL: it has none. */
static json_t *read_document(int dir, const char *name)
{
	AUTO_FREE char *text = NULL;
	size_t len = 0;
	if (file_read_at(dir, name, DOCUMENT_MAX, &text, &len) < 0)
		return NULL;
	return json_loadb(text, len, 0, NULL);
}

bool sandbox_is_on_disk(struct e2b *e, const json_t *doc)
{
	char name[SANDBOX_ID_SIZE + 8];
	if (json_object_get(doc, SANDBOX_ON_DISK))
		return true;
	AUTO_CLOSE int dir = dir_open_at(AT_FDCWD, e->folder);
	file_name(sandbox_text(doc, "id"), name);
	AUTO_JSON json_t *now = dir < 0 ? NULL : read_document(dir, name);
	return json_object_get(now, SANDBOX_ON_DISK);
}

int sandbox_mark_on_disk(struct e2b *e, const char *id, bool on_disk, struct mvm_error *err)
{
	char name[SANDBOX_ID_SIZE + 8];
	AUTO_CLOSE int dir = dir_open_at(AT_FDCWD, e->folder);
	file_name(id, name);
	AUTO_JSON json_t *doc = dir < 0 ? NULL : read_document(dir, name);
	if (!doc)
		return mvm_error_set(err, -ENOENT, "sandbox '%s' has no record", id);
	if (on_disk)
		json_object_set_new(doc, SANDBOX_ON_DISK, json_true());
	else
		json_object_del(doc, SANDBOX_ON_DISK);
	return sandbox_save(e, doc, err);
}

bool sandbox_is_over(const struct mvm_instance_info *info)
{
	return info->state == MVM_INSTANCE_EXITED || info->state == MVM_INSTANCE_FAILED;
}

/*
 * Is there a VM for this document, or may there be one?  One that has ended is removed, except that
 * of a sandbox that is paused without memory.
 *
 *   ret_paused  it has ended or is suspended
 *   ret_runs    it has not; neither: its record cannot be read now
 */
static bool has_instance(struct mvm *mvm, const char *id, bool on_disk, bool *ret_paused,
			 bool *ret_runs)
{
	struct mvm_instance_info *info = NULL;
	int r = mvm_instance_inspect(mvm, id, &info, NULL);
	bool over = r == 0 && sandbox_is_over(info), ended = over && !on_disk;
	*ret_paused = over || (r == 0 && info->state == MVM_INSTANCE_SUSPENDED);
	*ret_runs = r == 0 && !*ret_paused;
	mvm_instance_info_free(info);
	if (ended)
		mvm_instance_remove(mvm, id, true, NULL, NULL); /* `mvm rm` can, if this fails */
	return r != -ENOENT && !ended;
}

static void load(struct e2b *e, int dir, const char *name)
{
	char id[SANDBOX_ID_SIZE] = "";
	size_t n = strcspn(name, ".");

	if (strcmp(name + n, ".json") != 0 || n >= sizeof(id))
		return;
	memcpy(id, name, n);
	json_t *doc = read_document(dir, name);
	if (!doc)
		return;
	const double now_s = (double)clock_wall_ns() / 1e9;
	const char *own = sandbox_text(doc, "id");
	bool paused = false, runs = false, on_disk = json_object_get(doc, SANDBOX_ON_DISK);
	if (!own || strcmp(own, id) != 0 ||
	    !has_instance(e->server->mvm, id, on_disk, &paused, &runs)) {
		unlinkat(dir, name, 0);
		json_decref(doc);
		return;
	}
	/* its mvmd may have ended amid a pause, or before: then the lease ends it anew */
	if (paused)
		json_object_set_new(doc, SANDBOX_END, json_integer(0));
	else if (runs && on_disk)
		json_object_set_new(doc, SANDBOX_END, json_real(now_s));
	else if (runs &&
		 json_number_value(json_object_get(doc, SANDBOX_END)) == 0) /* amid a resume */
		json_object_set_new(doc, SANDBOX_END, json_real(now_s + SANDBOX_WAKE_MIN_S));
	put(e, id, doc);
}

static int load_all(struct e2b *e, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };
	int r = dir_make_path(e->folder);
	AUTO_CLOSE int dir = r < 0 ? r : dir_open_at(AT_FDCWD, e->folder);
	if (dir >= 0)
		r = dir_list(dir, &names);
	else
		r = dir;
	if (r < 0)
		return mvm_error_set(err, r, "cannot read '%s': %s", e->folder, strerror(-r));
	for (size_t i = 0; i < names.n; i++)
		load(e, dir, names.v[i]);
	return 0;
}

/* ---- leases ---- */

void sandbox_lease_done(struct e2b *e, struct sandbox *s, int64_t again_ms)
{
	int64_t now_ms = clock_wall_ns() / 1000000;
	s->due = false;
	if (s->end_ms && s->end_ms <= now_ms)
		s->end_ms = now_ms + again_ms;
	arm(e);
}

static void on_lease(void *arg)
{
	struct e2b *e = arg;
	int64_t now_ms = clock_wall_ns() / 1000000;
	for (struct sandbox *s = e->sandboxes; s; s = s->next) {
		if (!s->end_ms || s->due || s->end_ms > now_ms)
			continue;
		if (!sandbox_end_lease(e, s))
			s->end_ms = now_ms + SANDBOX_AGAIN_MS;
	}
	arm(e);
}

/* ---- life ---- */

/* On a worker. */
static int on_wait(void *arg, const struct mvm_progress_event *event)
{
	struct e2b *e = arg;
	return event->kind == MVM_PROGRESS_WAIT && atomic_load(&e->gives_up);
}

int e2b_start(struct server *server, struct mvm_error *err)
{
	struct e2b *e = calloc(1, sizeof(*e));
	if (!e)
		return mvm_error_oom(err);
	server->e2b = e;
	e->server = server;
	e->ends = (struct mvm_progress){ .size = sizeof(e->ends), .fn = on_wait, .arg = e };
	AUTO_FREE char *data = mvm_data_dir(server->data_dir);
	e->folder = data ? str_printf("%s/service/e2b", data) : NULL;
	if (!e->folder)
		return mvm_error_oom(err);
	if (loop_add_timer(server->loop, DEADLINE_NONE, on_lease, e, &e->lease_timer) < 0)
		return mvm_error_oom(err);
	return load_all(e, err);
}

int e2b_of(const struct server *server, struct e2b **ret, struct mvm_error *err)
{
	if (!server->e2b)
		return mvm_error_set(err, -EOPNOTSUPP, "the e2b wire is not served");
	*ret = server->e2b;
	return 0;
}

void e2b_give_up(struct server *server)
{
	if (server->e2b)
		atomic_store(&server->e2b->gives_up, true);
}

void e2b_stop(struct server *server)
{
	struct e2b *e = server->e2b;
	if (!e)
		return;
	while (e->sandboxes)
		remove_sandbox(e, e->sandboxes);
	turns_free(e);
	watchers_free(e);
	loop_source_free(e->lease_timer);
	free(e->folder);
	free(e);
	server->e2b = NULL;
}
