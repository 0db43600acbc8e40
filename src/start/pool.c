/* SPDX-License-Identifier: Apache-2.0 */
#include "start/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/progress.h"
#include "codec/json.h"
#include "model/name.h"
#include "model/read.h"
#include "model/run.h"
#include "store/revision.h"

#define SIZE_SUFFIX	".json"
#define NOTE_SUFFIX	".note"
#define FILE_MAX	4096u
#define FILE_NAME_MAX	128
#define TAKE_ATTEMPTS	4 /* after so many unusable VMs, start the instance without the pool */
#define TEMPLATE_ID_MAX 63

#define TAKE_MS	    INT64_C(5000)  /* more than a restore takes */
#define WORKLOAD_MS INT64_C(10000) /* for starting a workload, besides its time to be healthy */

DEFINE_AUTO_DONE(mvm_template_spec, mvm_template_spec_done)

_Static_assert(MVM_POOL_SIZE_MAX <= UINT16_MAX, "sizes are small numbers");

/* Template ids have no dot, so the names of files and folders cannot be confused. */
static void file_name(const char *id, const char *suffix, char ret[FILE_NAME_MAX])
{
	snprintf(ret, FILE_NAME_MAX, "%.*s%s", TEMPLATE_ID_MAX, id, suffix);
}

void pool_key(const struct mvm_template_revision *rev, char ret[POOL_KEY_SIZE])
{
	const char *nonce = rev->has_snapshot
				    ? mvm_snapshot_info_compat(&rev->snapshot, "nonce_sha256")
				    : NULL;
	snprintf(ret, POOL_KEY_SIZE, "%s", nonce ? nonce : "");
}

int pool_size(int pool_fd, const char *id, uint32_t *ret, struct mvm_error *err)
{
	AUTO_FREE char *text = NULL;
	AUTO_JSON json_t *doc = NULL;
	struct json_at root;
	char path[sizeof("pool/") + FILE_NAME_MAX] = "pool/", *name = path + strlen("pool/");
	uint64_t size = 0;
	uint32_t schema;
	size_t len;

	*ret = 0;
	file_name(id, SIZE_SUFFIX, name);
	int r = file_read_at(pool_fd, name, FILE_MAX, &text, &len);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return mvm_error_set(err, r, "cannot read %s: %s", path, strerror(-r));
	r = json_read(text, len, path, &doc, err);
	if (r == 0) {
		json_root(&root, path, doc);
		r = read_schema_version(&root, &schema, err);
	}
	if (r >= 0)
		r = json_get_u64(&root, "size", 0, MVM_POOL_SIZE_MAX, JSON_REQUIRED, &size, err);
	if (r < 0)
		return r;
	*ret = (uint32_t)size;
	return 0;
}

int pool_ids(int pool_fd, struct strv *ret)
{
	AUTO_DONE(strv) names = { 0 };
	int r = dir_list(pool_fd, &names);
	for (size_t i = 0; i < names.n && r >= 0; i++) {
		char *dot = strrchr(names.v[i], '.');
		if (!str_eq(dot, SIZE_SUFFIX))
			continue;
		*dot = '\0';
		if (name_check(NAME_TEMPLATE, names.v[i], NULL) == 0)
			strv_add(ret, names.v[i]);
	}
	return r == 0 && ret->failed ? -ENOMEM : r;
}

bool pool_is_waiting(const char *name)
{
	return strspn(name, "0123456789abcdef") == POOL_KEY_SIZE - 1 &&
	       name[POOL_KEY_SIZE - 1] == '.' && name_valid(NAME_INSTANCE, name + POOL_KEY_SIZE);
}

void pool_clear(int dir_fd)
{
	AUTO_DONE(strv) names = { 0 };
	struct stat st;
	if (dir_list(dir_fd, &names) < 0)
		return;
	for (size_t i = 0; i < names.n; i++) {
		if (pool_is_waiting(names.v[i]) &&
		    fstatat(dir_fd, names.v[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) && st.st_size == 0)
			unlinkat(dir_fd, names.v[i], 0);
	}
}

void pool_note(int pool_fd, const char *id, const char *text)
{
	char name[FILE_NAME_MAX];
	file_name(id, NOTE_SUFFIX, name);
	if (text) /* if this fails, only the note is missing */
		file_replace_unsynced_at(pool_fd, name, text, strlen(text), 0600);
	else
		unlinkat(pool_fd, name, 0);
}

/* ---- taking ---- */

/* Remove one file with that key from the pool's folder.  *ret: its instance's name.  1 or 0. */
static int claim(int dir_fd, const char *key, char **ret)
{
	AUTO_DONE(strv) names = { 0 };
	size_t len = strlen(key);
	if (dir_list(dir_fd, &names) < 0)
		return 0;
	for (size_t i = 0; i < names.n; i++) {
		const char *name = names.v[i];
		if (!str_starts(name, key) || name[len] != '.' ||
		    name_check(NAME_INSTANCE, name + len + 1, NULL) < 0 ||
		    unlinkat(dir_fd, name, 0) < 0)
			continue; /* another start was faster */
		*ret = strdup(name + len + 1);
		return *ret != NULL;
	}
	return 0;
}

static int open_waiting(struct mvm *mvm, const char *id)
{
	int root_fd = store_root(mvm->store);
	AUTO_CLOSE int pool_fd = root_fd < 0 ? -1 : dir_open_at(root_fd, "pool");
	return pool_fd < 0 ? -1 : dir_open_at(pool_fd, id);
}

/* Are the instance's name and ports free?  Otherwise an ordinary start reports the conflict. */
static bool is_possible(int instances_fd, struct record *rec)
{
	struct stat st;
	if (instance_check_ports(rec, NULL) < 0)
		return false;
	if (!rec->name)
		return instance_make_name(rec, NULL) == 0;
	return fstatat(instances_fd, rec->name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

/* The deadline for taking a waiting VM. */
static int64_t take_deadline_ns(const struct mvm_run *run)
{
	uint32_t timeout_s = run->health.timeout_s ? run->health.timeout_s : MVM_HEALTH_TIMEOUT_S;
	int64_t workload_ms = (int64_t)timeout_s * 1000 + WORKLOAD_MS;
	return clock_deadline_ns(run_starts_in_clone(run) ? workload_ms : TAKE_MS);
}

int pool_take(struct mvm *mvm, const struct start_request *q, const struct start_plan *plan,
	      const struct mvm_progress *progress, struct mvm_instance **ret)
{
	AUTO_DONE(record) rec = { 0 };
	const struct mvm_template_revision *rev = &q->revision->rev;
	const char *nonce = mvm_snapshot_info_compat(&rev->snapshot, "nonce_sha256");
	char key[POOL_KEY_SIZE];
	int64_t began_ns = clock_now_ns();
	/* waiting VMs share their memory, and are for a workload */
	bool wanted = plan->restore && !q->options->private_memory && !q->options->no_workload;
	AUTO_CLOSE int dir_fd = wanted ? open_waiting(mvm, q->revision->id) : -1;
	int instances_fd = store_dir(mvm->store, STORE_INSTANCES);

	struct mvm_error err = { 0 };

	if (dir_fd < 0 || instances_fd < 0 || !nonce ||
	    (q->options->n_forwards && !q->ops->forward) || start_record(q, plan, &rec, &err) < 0 ||
	    !is_possible(instances_fd, &rec))
		return 0;
	pool_key(rev, key);
	for (int attempt = 0; attempt < TAKE_ATTEMPTS; attempt++) {
		AUTO_FREE char *waiting = NULL;
		if (!claim(dir_fd, key, &waiting))
			return 0;
		if (instance_adopt(instances_fd, waiting, &rec, nonce, began_ns,
				   take_deadline_ns(&rev->run), ret, &err) == 0)
			return 1;
		if (err.code != -ENOENT && err.code != -ECONNREFUSED) /* else the server ended it */
			progress_note(progress, "discarding a VM of the pool: %s", err.text);
		/* a supervisor that was killed meanwhile may have left the name in use */
		AUTO_FREE char *why = NULL;
		instance_settle(instances_fd, rec.name, -1, &why, &err);
	}
	return 0;
}

/* ---- for the user ---- */

/* Remove the folder that a killed server has left.  A running server removes the folder itself. */
static void forget_folder(int pool_fd, const char *id)
{
	AUTO_CLOSE int dir_fd = dir_open_at(pool_fd, id);
	AUTO_CLOSE int lock_fd = dir_fd < 0 ? -1
					    : lock_take_at(pool_fd, POOL_LOCK, LOCK_NOWAIT,
							   "pool set", NULL);
	if (lock_fd < 0)
		return;
	pool_clear(dir_fd);
	unlinkat(pool_fd, id, AT_REMOVEDIR); /* fails if it holds other files */
}

int mvm_pool_set(struct mvm *mvm, const char *id, uint32_t size, struct mvm_error *err)
{
	AUTO_DONE(mvm_template_spec) spec = { 0 };
	char name[FILE_NAME_MAX], text[64];
	int r = name_check(NAME_TEMPLATE, id, err);
	if (r == 0 && size > MVM_POOL_SIZE_MAX)
		r = mvm_error_set(err, -EINVAL, "a pool has at most %u VMs", MVM_POOL_SIZE_MAX);
	if (r == 0 && size > 0)
		r = store_spec_load(mvm->store, id, &spec, err);
	if (r < 0)
		return r;
	r = need_agent(&spec.run, err);
	if (r < 0)
		return mvm_error_context(err, r, "template '%s'", id);
	int pool_fd = store_dir_get(mvm->store, STORE_POOL, err);
	if (pool_fd < 0)
		return pool_fd;
	file_name(id, SIZE_SUFFIX, name);
	if (size == 0) {
		r = unlinkat(pool_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
		pool_note(pool_fd, id, NULL);
		forget_folder(pool_fd, id);
	} else {
		snprintf(text, sizeof(text), "{\n  \"schema_version\": 1,\n  \"size\": %u\n}\n",
			 size);
		int tmp_fd = store_scratch(mvm->store, err);
		if (tmp_fd < 0)
			return tmp_fd;
		r = file_replace_at(tmp_fd, pool_fd, name, text, strlen(text), 0600);
	}
	if (r == -EROFS)
		return store_not_writable(mvm->store, r, err);
	if (r < 0)
		mvm_error_set(err, r, "cannot write pool/%s: %s", name, strerror(-r));
	return store_mend(mvm->store, r, err);
}

void mvm_pool_info_free(struct mvm_pool_info *info)
{
	if (!info)
		return;
	free(info->template_id);
	free(info->note);
	free(info);
}
DEFINE_AUTO(mvm_pool_info, mvm_pool_info_free)
DEFINE_LIST_FREE(mvm_pool_list_free, mvm_pool_info, mvm_pool_info_free)

static int describe(int pool_fd, const char *id, bool served, struct mvm_pool_info **ret,
		    struct mvm_error *err)
{
	AUTO_DONE(strv) waiting = { 0 };
	AUTO(mvm_pool_info) info = calloc(1, sizeof(*info));
	char name[FILE_NAME_MAX];

	if (!info)
		return mvm_error_oom(err);
	struct mvm_error why;
	int unread = pool_size(pool_fd, id, &info->size, &why);
	if (unread < 0 && unread != -EBADMSG) {
		if (err)
			*err = why;
		return unread;
	}
	int r;
	AUTO_CLOSE int dir_fd = dir_open_at(pool_fd, id);
	r = dir_fd < 0 ? dir_fd : dir_list(dir_fd, &waiting);
	if (r < 0 && r != -ENOENT)
		return mvm_error_set(err, r, "cannot read pool/%s: %s", id, strerror(-r));
	for (size_t i = 0; served && i < waiting.n; i++) /* VMs end with their server */
		info->ready += pool_is_waiting(waiting.v[i]);
	file_name(id, NOTE_SUFFIX, name);
	r = file_read_at(pool_fd, name, FILE_MAX, &info->note, NULL);
	if (unread < 0) { /* it is listed with that, not left out */
		free(info->note);
		info->note = strdup(why.text);
		r = info->note ? 0 : -ENOMEM;
	}
	info->template_id = strdup(id);
	if (r == -ENOMEM || !info->template_id)
		return mvm_error_oom(err);
	*ret = TAKE_PTR(info);
	return 0;
}

int mvm_pool_list(struct mvm *mvm, struct mvm_pool_info ***ret, size_t *ret_n,
		  char ret_server[LOCK_HOLDER_SIZE], struct mvm_error *err)
{
	AUTO_DONE(strv) ids = { 0 };
	bool served = false;
	int r = 0;

	ret_server[0] = '\0';
	int pool_fd = store_dir(mvm->store, STORE_POOL);
	if (pool_fd < 0 && pool_fd != -ENOENT) /* a read-only data folder may have none */
		return store_dir_failed(mvm->store, STORE_POOL, pool_fd, err);
	if (pool_fd >= 0) {
		r = pool_ids(pool_fd, &ids);
		AUTO_CLOSE int lock_fd = lock_take_at(pool_fd, POOL_LOCK, LOCK_SHARED | LOCK_NOWAIT,
						      NULL, ret_server);
		served = lock_fd == -EBUSY;
		if (!served)
			ret_server[0] = '\0';
	}
	if (r < 0)
		return mvm_error_set(err, r, "cannot list pools: %s", strerror(-r));
	struct mvm_pool_info **list = calloc(ids.n + 1, sizeof(*list));
	if (!list)
		return mvm_error_oom(err);
	size_t n = 0;
	for (size_t i = 0; i < ids.n && r == 0; i++) {
		r = describe(pool_fd, ids.v[i], served, &list[n], err);
		n += r == 0;
	}
	if (r < 0) {
		mvm_pool_list_free(list, n);
		return r;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}
